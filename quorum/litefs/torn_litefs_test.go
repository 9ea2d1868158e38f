package litefs

import (
	"encoding/binary"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// A primary that ends its stream between the size of a chunk and its bytes, as
// if it were a clean end, must not leave half a transaction in LiteFS's data.
func TestLiteFSGetsNoTornTransaction(t *testing.T) {
	noLeaks(t)
	source := newPrimary(t)
	files, newest, err := readLTXDir(filepath.Join(source.data(), "dbs", "db", "ltx"))
	require.NoError(t, err)
	require.EqualValues(t, 2, newest)
	ltx, err := os.ReadFile(filepath.Join(source.data(), "dbs", "db", "ltx", files[1]))
	require.NoError(t, err)

	half := ltx[:len(ltx)-ltxTrailerSize]
	frame := binary.BigEndian.AppendUint32(nil, 1)  // client.go, StreamFrameTypeLTX
	frame = binary.BigEndian.AppendUint64(frame, 0) // size, unused
	frame = append(binary.BigEndian.AppendUint32(frame, 2), "db"...)
	frame = append(binary.BigEndian.AppendUint16(frame, uint16(len(half))), half...)
	frame = binary.BigEndian.AppendUint16(frame, ltxTrailerSize)
	var asked atomic.Int64
	url := fakeLiteFS(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		_, _ = w.Write(frame)
		_ = http.NewResponseController(w).Flush()
	})
	p := newPair(t, url)
	e, _ := newEndpoint(t, p.replica.URL(), &script{primary: "node-a"})
	l := newLiteFS(t, "node-b", "http://"+e.Addr().String())
	eventually(t, func() bool { return asked.Load() > 3 }, "LiteFS tries again: %s", l.out)
	torn, err := filepath.Glob(filepath.Join(l.data(), "dbs", "db", "ltx", "*.ltx"))
	require.NoError(t, err)
	require.Empty(t, torn, l.out)
	l.kill()
	l.start() // it could not, with the torn one
	require.Zero(t, l.positions().Sum())
}
