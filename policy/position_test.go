package policy

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPosRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Pos{TXID: rapid.Uint64().Draw(t, "txid"), Checksum: rapid.Uint64().Draw(t, "sum")}
		got, err := ParsePos(p.String() + "\n")
		require.NoError(t, err)
		require.Equal(t, p, got)
		b, err := json.Marshal(p)
		require.NoError(t, err)
		var back Pos
		require.NoError(t, json.Unmarshal(b, &back))
		require.Equal(t, p, back)
	})
}

func TestParsePosRefuses(t *testing.T) {
	for _, s := range []string{"", "1/2", "0000000000000001", "0000000000000001/000000000000000g", "0000000000000001/00000000000000022"} {
		_, err := ParsePos(s)
		require.ErrorContains(t, err, "16 hex digits", s)
	}
}

func FuzzParsePos(f *testing.F) {
	f.Add("0000000000000001/8000000000000002\n")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParsePos(s); err == nil {
			again, err := ParsePos(p.String())
			require.NoError(t, err)
			require.Equal(t, p, again)
		}
	})
}

func TestAbsentAndEmptyDatabasesAreTheSame(t *testing.T) {
	require.True(t, Positions{"x": {}}.Equal(Positions{}))
	require.True(t, Positions{}.Behind(at(1, 1)))
	require.False(t, at(1, 1).Equal(Positions{}))
}
