package policy

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var dbNames = []string{"x", "y", "z"}

func drawPositions(t *rapid.T, label string) Positions {
	p := Positions{}
	for _, db := range dbNames {
		if rapid.Bool().Draw(t, label+db) {
			p[db] = Pos{TXID: rapid.Uint64Range(0, 3).Draw(t, label+"txid"), Checksum: rapid.Uint64Range(1, 2).Draw(t, label+"sum")}
		}
	}
	return p
}

// The same questions, asked of every database one by one.
func TestPositionsAgreeWithTheOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q := drawPositions(t, "p"), drawPositions(t, "q")
		equal, behind, conflict := true, "", ""
		for i := len(dbNames) - 1; i >= 0; i-- {
			db := dbNames[i]
			a, b := p[db], q[db]
			absent := a.TXID == 0 && b.TXID == 0
			equal = equal && (absent || a == b)
			if a.TXID < b.TXID {
				behind = db
			}
			if a.TXID == b.TXID && !absent && a.Checksum != b.Checksum {
				conflict = db
			}
			require.Equal(t, max(a.TXID, b.TXID), p.Newest(q)[db].TXID)
		}
		require.Equal(t, equal, p.Equal(q))
		require.Equal(t, behind, p.behindIn(q))
		require.Equal(t, conflict, p.Conflicts(q))
	})
}

func drawReports(t *rapid.T) (reports []Report) {
	for _, n := range []string{"a", "b", "c"} {
		r := node(n, drawPositions(t, n), rapid.SampledFrom([]OpenRef{{}, open7}).Draw(t, n+"marker"))
		r.Eligible = rapid.Bool().Draw(t, n+"eligible")
		r.HasLiteFS = rapid.IntRange(0, 3).Draw(t, n+"litefs") > 0
		reports = append(reports, r)
	}
	return reports
}

// mayWin is the rule for one node, written down without regard to the others.
func mayWin(r Report, l Lineage) bool {
	if !r.HasLiteFS || !r.Eligible {
		return false
	}
	empty := true
	for _, db := range dbNames {
		if r.Positions[db].TXID < l.Held[db].TXID || r.Positions[db].TXID < l.Known[db].TXID {
			return false
		}
		empty = empty && r.Positions[db].TXID == 0
	}
	if l.Open.IsZero() || r.Marker == l.Open {
		return true
	}
	return !(empty && l.Used) && (r.Positions.Equal(l.Held) || r.Positions.Equal(l.Opened))
}

// Over several databases: who wins may win, nobody who may has more, nobody is
// passed over without a reason, and with an acceptance somebody in step still
// goes first.
func TestElectAgreesWithTheOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Lineage{Held: drawPositions(t, "held"), Opened: drawPositions(t, "opened")}
		if rapid.Bool().Draw(t, "open") {
			l.Open = open7
		}
		l.Used = rapid.Bool().Draw(t, "used")
		if rapid.Bool().Draw(t, "synced") {
			l.Known = drawPositions(t, "known")
		}
		reports := drawReports(t)
		plain := Elect("a", withLiteFS(reports), l, reports)
		require.Equal(t, plain, Elect("a", withLiteFS(reports), l, rapid.Permutation(reports).Draw(t, "order")))
		may := map[string]Report{}
		for _, r := range reports {
			if mayWin(r, l) {
				may[r.Node] = r
			}
		}
		switch {
		case plain.Winner != "":
			require.Contains(t, may, plain.Winner)
			for _, r := range may {
				require.LessOrEqual(t, r.Positions.Sum(), may[plain.Winner].Positions.Sum())
				if l.Open.IsZero() {
					require.False(t, may[plain.Winner].Positions.Behind(r.Positions), "%s had what the winner lacks", r.Node)
				}
			}
		case plain.Conflict == "":
			require.Empty(t, may)
		}

		pick := reports[rapid.IntRange(0, 2).Draw(t, "accepted")]
		l.Accepted = Acceptance{Node: pick.Node, ID: pick.ID, Positions: pick.Positions}
		res := Elect("a", withLiteFS(reports), l, reports)
		switch {
		case plain.Winner != "":
			require.Equal(t, plain, res)
		case pick.HasLiteFS && pick.Eligible:
			require.Equal(t, ElectionResult{Winner: pick.Node, Accepted: true}, res)
		default:
			require.Equal(t, plain, res)
		}
	})
}

func TestMajorityHoldsAgreesWithTheOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		own := drawPositions(t, "own")
		var others []Positions
		for range rapid.IntRange(0, 4).Draw(t, "others") {
			others = append(others, drawPositions(t, "o"))
		}
		k := rapid.IntRange(1, 5).Draw(t, "k")
		held := MajorityHolds(own, others, k)
		for _, db := range dbNames {
			have := 0
			for _, p := range append([]Positions{own}, others...) {
				if held[db].TXID != 0 && p[db].TXID >= held[db].TXID {
					have++
				}
			}
			if held[db].TXID != 0 {
				require.GreaterOrEqual(t, have, k)
				require.LessOrEqual(t, held[db].TXID, own[db].TXID)
			}
			more := 0
			for _, p := range append([]Positions{own}, others...) {
				if min(p[db].TXID, own[db].TXID) > held[db].TXID {
					more++
				}
			}
			require.Less(t, more, k, "a majority holds more than that")
		}
	})
}

func TestFirstStartPositionsThatExcludeEachOther(t *testing.T) {
	a := node("a", Positions{"x": {5, 5}, "y": {2, 2}}, OpenRef{})
	b := node("b", Positions{"x": {4, 4}, "y": {3, 3}}, OpenRef{})
	require.Equal(t, ElectionResult{Conflict: "x", Between: [2]string{"a", "b"}}, Elect("b", 2, Lineage{}, []Report{a, b}))
	b.Positions = Positions{"z": {1, 1}}
	require.NotEmpty(t, Elect("b", 2, Lineage{}, []Report{a, b}).Conflict, "each has a database that the other lacks")
	b.Positions = Positions{"x": {4, 4}}
	require.Equal(t, "a", Elect("b", 2, Lineage{}, []Report{a, b}).Winner)
}

func TestRequireSynced(t *testing.T) {
	l := Lineage{Open: open7, Held: at(5, 5), Known: at(7, 7)}
	a := node("a", at(6, 6), open7)
	require.Equal(t, ElectionResult{Unsynced: true}, Elect("a", 3, l, []Report{a}))
	require.Equal(t, "b", Elect("a", 3, l, []Report{a, node("b", at(7, 7), open7)}).Winner)
	l.Accepted = Acceptance{Node: "a", Positions: a.Positions}
	require.Equal(t, ElectionResult{Winner: "a", Accepted: true}, Elect("a", 3, l, []Report{a}))
}

func TestAcceptedDataMustBeTheSame(t *testing.T) {
	l := Lineage{Open: open7, Held: at(5, 5), Accepted: Acceptance{Node: "a", Positions: at(3, 3)}}
	require.Equal(t, "a", Elect("a", 3, l, []Report{node("a", at(3, 3), OpenRef{})}).Winner)
	require.Empty(t, Elect("a", 3, l, []Report{node("a", at(2, 2), OpenRef{})}).Winner, "not what the operator was shown")
	again := node("a", at(3, 3), OpenRef{})
	again.ID = "a-2"
	require.Empty(t, Elect("a", 3, l, []Report{again}).Winner, "another node under the same name")
	back := node("b", at(5, 5), open7)
	require.Equal(t, "b", Elect("a", 3, l, []Report{node("a", at(3, 3), OpenRef{}), back}).Winner, "who is in step goes first")
}
