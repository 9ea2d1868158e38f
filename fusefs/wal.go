package fusefs

import "encoding/binary"

// https://sqlite.org/fileformat.html, "The Write-Ahead Log".
const (
	walHeaderSize   = 32
	frameHeaderSize = 24
)

// walState follows the frames of the one open WAL transaction, to know the
// write that completes its commit frame. Pure: it sees writes and answers
// questions. LiteFS decides what a transaction is (db.go, buildTxFrameOffsets);
// this only has to know when to ask it.
type walState struct {
	pageSize int64
	start    int64 // first frame of the open transaction; 0 = none yet
	commit   int64 // its commit frame, complete; 0 = none
	end      int64 // end of the last frame that LiteFS has published in this hold of WRITE; 0 = none
	seq      uint64

	cur frame // the frame being written
}

// frame collects one frame from writes that may be split anywhere: SQLite
// splits at a sync point where the disk may tear sectors (wal.c, walWriteToLog).
type frame struct {
	at   int64 // offset; 0 = none
	have int64 // contiguous bytes present, from its first
	hdr  [frameHeaderSize]byte
}

func (w *walState) frameSize() int64 { return w.pageSize + frameHeaderSize }

// begin forgets the last holder of WRITE.
func (w *walState) begin(seq uint64) {
	*w = walState{pageSize: w.pageSize, seq: seq}
}

// note records a write that LiteFS has taken. It reports whether LiteFS may
// have a complete transaction now.
func (w *walState) note(off int64, data []byte) (ask bool) {
	if off == 0 {
		if len(data) >= walHeaderSize {
			*w = walState{pageSize: int64(binary.BigEndian.Uint32(data[8:])), seq: w.seq}
		}
		return false
	}
	for len(data) > 0 && w.pageSize > 0 && off >= walHeaderSize {
		in := (off - walHeaderSize) % w.frameSize()
		n := min(int64(len(data)), w.frameSize()-in)
		ask = w.part(off-in, in, data[:n]) || ask
		off, data = off+n, data[n:]
	}
	return ask
}

// part records a piece of the frame at offset at, in bytes into it.
func (w *walState) part(at, in int64, data []byte) (ask bool) {
	if w.start == 0 || at < w.start {
		w.start = at
	}
	if at == w.commit {
		return w.rewritten(in, data)
	}
	if at != w.cur.at || in > w.cur.have {
		w.cur = frame{at: at}
		if in != 0 {
			return false // an older frame's page, overwritten in place (wal.c, walFrames)
		}
	}
	if in < frameHeaderSize {
		copy(w.cur.hdr[in:], data)
	}
	w.cur.have = max(w.cur.have, in+int64(len(data)))
	if w.cur.have < w.frameSize() || binary.BigEndian.Uint32(w.cur.hdr[4:]) == 0 {
		return false
	}
	w.commit = at
	return true
}

// rewritten takes a change of the complete commit frame. Its header comes last
// when SQLite makes the checksums anew (wal.c, walRewriteChecksums).
func (w *walState) rewritten(in int64, data []byte) (ask bool) {
	if in == 0 && len(data) >= 8 && binary.BigEndian.Uint32(data[4:]) == 0 {
		w.commit = 0
		w.cur = frame{at: w.start, have: int64(len(data))}
		return false
	}
	return true
}

// published records that LiteFS has the transaction up to the commit frame.
func (w *walState) published() {
	w.end = w.commit + w.frameSize()
	w.start, w.commit, w.cur = 0, 0, frame{}
}

// cancelled records that the open transaction is void.
func (w *walState) cancelled() { w.start, w.commit, w.cur = 0, 0, frame{} }

// maxFrame is the number of the last published frame: what a wal-index header
// must cover.
func (w *walState) maxFrame() uint32 {
	if w.end == 0 || w.pageSize == 0 {
		return 0
	}
	return uint32((w.end - walHeaderSize) / w.frameSize())
}

// walSum is the running checksum of the WAL (fileformat.html, "Checksum
// Algorithm").
func walSum(order binary.ByteOrder, s1, s2 uint32, b []byte) (uint32, uint32) {
	for ; len(b) >= 8; b = b[8:] {
		s1 += order.Uint32(b) + s2
		s2 += order.Uint32(b[4:]) + s1
	}
	return s1, s2
}
