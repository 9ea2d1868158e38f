package fusefs

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// dumbWAL is a -wal of which every byte knows when it was written. It answers
// by reading the whole file anew.
type dumbWAL struct {
	b     []byte
	when  []int // 0: not since the transaction was begun
	clock int
	first int64 // lowest frame written to; 0 = none
	frame int64 // size of a frame with its header
}

func (d *dumbWAL) write(off int64, data []byte) {
	for int64(len(d.b)) < off+int64(len(data)) {
		d.b, d.when = append(d.b, 0), append(d.when, 0)
	}
	d.clock++
	for i, b := range data {
		at := off + int64(i)
		d.b[at], d.when[at] = b, d.clock
		if at >= walHeaderSize {
			if f := at - (at-walHeaderSize)%d.frame; d.first == 0 || f < d.first {
				d.first = f
			}
		}
	}
}

// forget begins a new transaction.
func (d *dumbWAL) forget() {
	clear(d.when)
	d.first = 0
}

// complete returns the commit frame of the complete transaction that the file
// holds, 0 if it holds none: whole frames from the first on, up to one with a
// database size.
func (d *dumbWAL) complete() int64 {
	if d.first == 0 {
		return 0
	}
	for at := d.first; at+d.frame <= int64(len(d.b)); at += d.frame {
		if !d.whole(at) {
			return 0
		}
		if binary.BigEndian.Uint32(d.b[at+4:]) != 0 {
			return at
		}
	}
	return 0
}

// whole reports whether the frame was written to its end after its header was.
func (d *dumbWAL) whole(at int64) bool {
	for i := at; i < at+d.frame; i++ {
		if d.when[i] == 0 || d.when[i] < d.when[at] {
			return false
		}
	}
	return true
}

// present reports whether each byte of the frame was written.
func (d *dumbWAL) present(at int64) bool {
	return at+d.frame <= int64(len(d.when)) && !slices.Contains(d.when[at:at+d.frame], 0)
}

// A walScript is a byte string read as what SQLite does to a -wal (wal.c,
// walFrames): whole frames, each in pieces that follow one another, and pages
// of older frames overwritten in place.
type walScript struct {
	t    *testing.T
	data []byte
	w    walState
	d    dumbWAL
	next int64 // where the next frame goes
}

func (s *walScript) byte() byte {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return b
}

// write passes one write on to both, and compares.
func (s *walScript) write(off int64, data []byte) {
	was := s.d.complete()
	s.d.write(off, data)
	ask := s.w.note(off, data)
	now := s.d.complete()
	if now != 0 && was == 0 {
		require.True(s.t, ask, "the transaction is complete with the frame at %d, and LiteFS would not be asked", now)
	}
	if ask {
		// Over an older frame it may come early: LiteFS sees by the checksum that
		// the page is the old one's, and is asked again.
		require.True(s.t, s.d.present(s.w.commit), "asked too early")
		require.NotZero(s.t, binary.BigEndian.Uint32(s.d.b[s.w.commit+4:]), "asked for no commit frame")
	}
	if now != 0 {
		require.NotZero(s.t, s.w.commit, "LiteFS would commit at the unlock what nobody could cancel")
	}
	require.Equal(s.t, s.d.first, s.w.start, "where the transaction begins")
}

func (s *walScript) frame(commit bool) []byte {
	f := make([]byte, s.d.frame)
	for i := range f {
		f[i] = s.byte()
	}
	size := uint32(0)
	if commit {
		size = 1 + uint32(s.byte())
	}
	binary.BigEndian.PutUint32(f[4:], size)
	return f
}

// pieces writes data in up to three pieces, or only the first ones.
func (s *walScript) pieces(off int64, data []byte, killed bool) {
	cuts := []int64{int64(s.byte()) % int64(len(data)), int64(s.byte()) % int64(len(data)), int64(len(data))}
	at := int64(0)
	for _, cut := range cuts {
		if cut > at && !(killed && cut == int64(len(data))) {
			s.write(off+at, data[at:cut])
			at = cut
		}
	}
}

func (s *walScript) header() {
	h := make([]byte, walHeaderSize)
	binary.BigEndian.PutUint32(h[8:], uint32(s.d.frame-frameHeaderSize))
	s.d.forget()
	s.d.write(0, h)
	require.False(s.t, s.w.note(0, h))
	s.next = walHeaderSize
}

// older returns the place of a frame written before, 0 if there is none.
func (s *walScript) older() int64 {
	n := (s.next - walHeaderSize) / s.d.frame
	if n == 0 {
		return 0
	}
	return walHeaderSize + int64(s.byte())%n*s.d.frame
}

func (s *walScript) step() {
	if s.w.commit != 0 {
		s.committed()
		return
	}
	op := s.byte()
	switch op % 8 {
	case 0, 1, 6: // a frame, perhaps a commit
		s.pieces(s.next, s.frame(op%2 == 1), false)
		s.next += s.d.frame
	case 2: // two frames in one write
		s.write(s.next, append(s.frame(op&16 != 0), s.frame(op&8 != 0)...))
		s.next += 2 * s.d.frame
	case 3: // the writer is killed in a frame
		s.pieces(s.next, s.frame(true), true)
		s.ended()
	case 4: // a page that was spilled is changed again
		if at := s.older(); at != 0 {
			s.write(at+frameHeaderSize, s.frame(false)[frameHeaderSize:])
		}
	case 5: // ROLLBACK TO: a frame takes the place of an older one
		if at := s.older(); at != 0 {
			s.next = at
			s.pieces(at, s.frame(op&8 != 0), false)
			s.next += s.d.frame
		}
	case 7:
		s.header()
	}
}

// committed is what may follow the commit frame in the same hold of WRITE.
func (s *walScript) committed() {
	at := s.w.commit
	switch s.byte() % 4 {
	case 0: // LiteFS has it
		s.w.published()
		require.EqualValues(s.t, (at-walHeaderSize)/s.d.frame+1, s.w.maxFrame())
		s.d.forget()
	case 1: // the gate was shut
		s.w.cancelled()
		s.d.forget()
		if s.byte()%2 == 0 {
			s.ended()
		}
	case 2: // padding: the commit frame again
		s.write(s.next, s.d.b[at:at+s.d.frame])
		s.next += s.d.frame
	case 3: // checksums are made anew, the commit frame's last (walRewriteChecksums)
		from := s.w.start + int64(s.byte())%((at-s.w.start)/s.d.frame+1)*s.d.frame
		for ; from <= at; from += s.d.frame {
			ask := s.w.note(from, s.d.b[from:from+frameHeaderSize])
			require.Equal(s.t, from == at, ask, "the header of the frame at %d of %d", from, at)
			require.Equal(s.t, at, s.w.commit)
		}
	}
}

// ended is the end of a hold of WRITE.
func (s *walScript) ended() {
	s.d.forget()
	s.w.begin(s.w.seq + 1)
}

func FuzzWALState(f *testing.F) {
	f.Add([]byte{0})
	f.Add([]byte{0, 0, 1, 0})
	f.Add([]byte("\x08\x01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x02\x05\x09\x00bbbb"))
	frame := strings.Repeat("p", frameHeaderSize+8)
	for _, after := range []string{"\x00", "\x01\x00", "\x01\x01", "\x02\x02\x00", "\x03\x00\x00", "\x03\x01\x02\x00"} {
		f.Add([]byte("\x00\x00" + frame + "\x04\x09\x01" + frame + "\x07\x19\x01" + after + "\x01" + frame + "\x01\x00\x00\x00"))
	}
	f.Add([]byte("\x00\x00" + frame + "\x04\x09\x04\x00" + frame + "\x0d\x00" + frame + "\x01\x05\x06\x00"))
	f.Add([]byte("\x00\x03" + frame + "\x01\x04\x09\x0a" + frame + frame + "\x01\x00\x07"))
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		script := make([]byte, random.IntN(600))
		for i := range script {
			script[i] = byte(random.Uint32())
		}
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &walScript{t: t, data: data}
		s.d.frame = frameHeaderSize + 8 + int64(s.byte()%16) // small pages, for short scripts
		s.header()
		for steps := 0; len(s.data) > 0 && steps < 64; steps++ {
			s.step()
		}
	})
}

// Writes that no SQLite makes must not bring the daemon down.
func FuzzWALNote(f *testing.F) {
	f.Add([]byte{}, int64(0), int64(32), int64(-1))
	f.Add(make([]byte, 32), int64(0), int64(32), int64(40))
	f.Add([]byte("0123456789abcdef0123456789abcdef"), int64(0), int64(1)<<62, int64(33))
	f.Fuzz(func(t *testing.T, data []byte, a, b, c int64) {
		var w walState
		for _, off := range []int64{0, a, b, c} {
			w.note(off, data)
			w.note(off, data[:len(data)/2])
		}
		require.GreaterOrEqual(t, w.cur.have, int64(0))
		_ = w.maxFrame()
		w.published()
		_ = w.maxFrame()
	})
}
