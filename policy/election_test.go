package policy

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func at(txid, sum uint64) Positions { return Positions{"db": {TXID: txid, Checksum: sum}} }

func node(name string, p Positions, marker OpenRef) Report {
	return Report{Node: name, HasLiteFS: true, Eligible: true, Positions: p, Marker: marker}
}

var open7 = OpenRef{Index: 7, ID: "seven"}

func TestElect(t *testing.T) {
	l := Lineage{Open: open7, Held: at(5, 55), Opened: at(3, 33)}
	for name, c := range map[string]struct {
		l       Lineage
		reports []Report
		want    ElectionResult
	}{
		"most transactions of those in step": {l, []Report{
			node("a", at(5, 55), open7), node("b", at(6, 66), open7),
		}, ElectionResult{Winner: "b"}},
		"a deposed node's transactions do not count": {l, []Report{
			node("a", at(9, 99), OpenRef{Index: 4, ID: "four"}), node("b", at(5, 55), open7),
		}, ElectionResult{Winner: "b"}},
		"unmarked but equal to what is held": {l, []Report{
			node("a", at(5, 55), OpenRef{}),
		}, ElectionResult{Winner: "a"}},
		"an old copy is behind": {l, []Report{
			node("a", at(3, 33), open7),
		}, ElectionResult{}},
		"a wiped node never becomes an empty primary": {l, []Report{
			node("a", Positions{}, OpenRef{}),
		}, ElectionResult{}},
		"nor after an Open of a primary without data, which has written since": {Lineage{Open: open7, Held: Positions{}, Opened: Positions{}, Used: true}, []Report{
			node("a", Positions{}, OpenRef{}), node("b", Positions{"db": {}}, OpenRef{}),
		}, ElectionResult{}},
		"but after one that died before its gate opened": {Lineage{Open: open7, Held: Positions{}, Opened: Positions{}}, []Report{
			node("a", Positions{}, OpenRef{}), node("b", Positions{"db": {}}, OpenRef{}),
		}, ElectionResult{Winner: "a"}},
		"an empty node that follows that primary may": {Lineage{Open: open7}, []Report{
			node("a", Positions{}, open7),
		}, ElectionResult{Winner: "a"}},
		"the same index of another cluster's log": {l, []Report{
			node("a", at(5, 54), OpenRef{Index: 7, ID: "other"}),
		}, ElectionResult{}},
		"among equals the leader itself": {l, []Report{
			node("a", at(5, 55), open7), node("self", at(5, 55), open7), node("z", at(5, 55), open7),
		}, ElectionResult{Winner: "self"}},
		"among other equals the first by name": {l, []Report{
			node("c", at(6, 66), open7), node("b", at(6, 66), open7), node("self", at(5, 55), open7),
		}, ElectionResult{Winner: "b"}},
		"one transaction with two contents": {l, []Report{
			node("a", at(6, 66), open7), node("b", at(6, 67), open7),
		}, ElectionResult{Conflict: "db", Between: [2]string{"a", "b"}}},
		"first start waits for every voter": {Lineage{}, []Report{
			node("a", at(5, 55), OpenRef{}),
		}, ElectionResult{Missing: true}},
		"first start takes the most advanced": {Lineage{}, []Report{
			node("a", at(5, 55), OpenRef{}), node("b", at(6, 66), OpenRef{}), node("self", Positions{}, OpenRef{}),
		}, ElectionResult{Winner: "b"}},
		"a fenced node is passed over": {l, []Report{
			{Node: "a", HasLiteFS: true, Positions: at(9, 99), Marker: open7}, node("b", at(5, 55), open7),
		}, ElectionResult{Winner: "b"}},
		"a witness holds nothing": {l, []Report{{Node: "w"}, node("b", at(5, 55), open7)}, ElectionResult{Winner: "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, Elect("self", 3, c.l, c.reports))
		})
	}
}

// The choice does not depend on the order of the answers, and whoever wins
// qualifies and lacks nothing that a majority is known to hold.
func TestElectWinnerQualifies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Lineage{Open: open7, Held: at(3, 3), Opened: at(2, 2)}
		var reports []Report
		for _, n := range []string{"a", "b", "c", "d"} {
			if !rapid.Bool().Draw(t, "reports") {
				continue
			}
			r := node(n, at(rapid.Uint64Range(0, 5).Draw(t, "txid"), rapid.Uint64Range(1, 5).Draw(t, "sum")),
				rapid.SampledFrom([]OpenRef{{}, open7, {Index: 6, ID: "six"}}).Draw(t, "marker"))
			r.Eligible = rapid.Bool().Draw(t, "eligible")
			reports = append(reports, r)
		}
		res := Elect("a", 4, l, reports)
		require.Equal(t, res, Elect("a", 4, l, rapid.Permutation(reports).Draw(t, "order")))
		for _, r := range reports {
			if r.Node == res.Winner {
				require.True(t, r.Qualifies(l))
				require.False(t, r.Positions.Behind(l.Held))
			}
		}
	})
}

func TestMajorityHolds(t *testing.T) {
	own := Positions{"db": {TXID: 9, Checksum: 9}, "new": {TXID: 1, Checksum: 1}}
	others := []Positions{at(7, 7), at(4, 4)}
	require.Equal(t, at(7, 7), MajorityHolds(own, others, 2), "new is held by one of three")
	require.Equal(t, at(4, 4), MajorityHolds(own, others, 3))
	require.Empty(t, MajorityHolds(own, nil, 2))
	require.Equal(t, own, MajorityHolds(own, []Positions{{"db": {TXID: 12, Checksum: 1}, "new": own["new"]}}, 2),
		"a replica read later counts as holding what was read of this node")
}

// Where it is known who has every acknowledged transaction, only they and the
// opener may become primary, and only by their mark: positions equal what is held
// where the data is gone and on its way again.
func TestElectCopies(t *testing.T) {
	held := Positions{"db": {TXID: 4, Checksum: 4}}
	l := Lineage{Open: OpenRef{Index: 7, ID: "o"}, Held: held, Copied: true, Copies: []string{"b"}, Opener: "a"}
	r := func(id string, marked bool) Report {
		r := Report{Node: id, ID: id, HasLiteFS: true, Eligible: true, Positions: held}
		if marked {
			r.Marker = l.Open
		}
		return r
	}
	require.Equal(t, "a", Elect("", 3, l, []Report{r("a", true)}).Winner)
	require.Equal(t, "b", Elect("", 3, l, []Report{r("b", true), r("c", true)}).Winner)
	res := Elect("", 3, l, []Report{r("c", true)})
	require.Empty(t, res.Winner)
	require.True(t, res.Uncopied)
	require.Empty(t, Elect("", 3, l, []Report{r("b", false)}).Winner)
	l.Copied = false
	require.Equal(t, "b", Elect("", 3, l, []Report{r("b", false)}).Winner)
}
