package quorum

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The first primary loses its role after its LiteFS has put a cluster id and
// before that is confirmed. Where its LiteFS has it on disk it is the cluster's:
// another one would lock that node out for good.
func TestClusterIDPutBeforeHolds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		onDisk string
		holds  bool
	}{
		"on disk": {"LFSC1", true},
		"lost":    {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			cl := newCluster(t, 3, nil)
			w := cl.writer()
			none := ""
			for _, l := range cl.lites {
				l.id.Store(&none)
			}
			cl.others(w)[0].lite.id.Store(&c.onDisk)
			require.NoError(t, w.SetClusterID(t.Context(), "LFSC1"))
			require.Empty(t, w.ClusterID(), "it is on no disk of the primary's")
			err := w.SetClusterID(t.Context(), "LFSC2")
			if c.holds {
				require.ErrorContains(t, err, cl.others(w)[0].name+" has put cluster id LFSC1 before")
				require.Equal(t, "LFSC1", w.ClusterID())
				return
			}
			require.NoError(t, err)
			w.lite.id.Store(new("LFSC2"))
			eventually(t, "the new one is confirmed", func() bool { return w.ClusterID() == "LFSC2" })
		})
	}
}
