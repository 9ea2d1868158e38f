package report

import (
	"testing"

	"github.com/litefence/litefence/test/history"
	"github.com/stretchr/testify/require"
)

func TestTimelinePutsThingsWhereTheyWere(t *testing.T) {
	const start, s = int64(1e12), int64(1e9)
	r := history.Result{
		Round: history.RoundInfo{Nodes: []string{"n1", "n2"}, Start: start, Healed: start + 6*s, Normal: start + 8*s, End: start + 10*s},
		Faults: []history.Fault{
			{Name: "cut off", Targets: []string{"n2", "n2", "gone"}, Start: start + 2*s, End: start + 6*s, Cuts: true},
			{Name: "never mended", Targets: []string{"n1"}, Start: start + 9*s, End: history.Forever, Stops: []string{"n1"}},
		},
		Epochs: []history.Epoch{
			{Node: "n1", First: start, Last: start + 2*s, Acked: 9, LostHere: 2},
			{Node: "n3", First: start + 4*s, Last: start + 10*s},
		},
		Anomalies: []history.Anomaly{{Rule: "bank", At: start + 5*s}, {Rule: "diverged"}},
	}
	p := timelineOf(r)
	require.Equal(t, []string{"n1", "n2", "n3"}, []string{p.Rows[0].Name, p.Rows[1].Name, p.Rows[2].Name}, "who wrote has a row")
	require.InDelta(t, 20, p.Rows[0].Bars[0].End, 1e-9)
	require.Equal(t, 2, p.Rows[0].Bars[0].Lost)
	require.Empty(t, p.Rows[1].Bars)
	require.Equal(t, []int{p.Rows[1].Y}, p.Lanes[0].Across)
	require.InDelta(t, 20, p.Lanes[0].X, 1e-9)
	require.InDelta(t, 40, p.Lanes[0].W, 1e-9)
	require.InDelta(t, 10, p.Lanes[1].W, 1e-9, "within the picture")
	require.Equal(t, []string{"calm", "warn"}, []string{p.Lanes[0].Tone, p.Lanes[1].Tone})
	require.Len(t, p.Marks, 3, "an anomaly without an instant has no mark")
	require.Equal(t, mark{50, "bad", "bank 5.00 s"}, p.Marks[2])
	require.Equal(t, label{80, headHeight - 6, "end", "last fault ends 6.00 s, normal 8.00 s"}, p.Note)

	r.Round.Normal = 0
	require.Contains(t, timelineOf(r).Note.Text, "never normal")
}

// Names of faults on one lane never run into each other, nor out of the picture.
func TestFaultsOnALaneDoNotCollide(t *testing.T) {
	var used, shared int
	for number := range 300 {
		r := sampleRound(number)
		byY := map[int][]lane{}
		for _, l := range timelineOf(r).Lanes {
			from, to := l.extent()
			require.GreaterOrEqual(t, from, -1e-9)
			require.LessOrEqual(t, to, 100.5, "a band has a least width")
			require.False(t, collides(l, byY[l.Y]), "round %d: %s", number, l.Title)
			if byY[l.Y] = append(byY[l.Y], l); len(byY[l.Y]) > 1 {
				shared++
			}
			used++
		}
	}
	require.Greater(t, shared, used/20, "lanes are used again")
}
