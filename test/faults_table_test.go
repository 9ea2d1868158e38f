package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const faultsIntro = `# What faults cost

Made by ` + "`make faults`" + `: three nodes with real LiteFS on one machine of two cores, an application on each that tries to write a row every 10 ms, WAL. The fault befalls the primary. Times are seconds, median and worst of the rounds; all are seen from the applications.

- **fence**: from the fault to the last write acknowledged on the old primary, where another node took over. 0 = none was acknowledged since.
- **elsewhere**: to the first write acknowledged on another node. "stays" = the primary got over it.
- **outage**: the longest time without an acknowledged write anywhere.
- **stale**: writes acknowledged on the old primary after the first one elsewhere. Zero, or the test fails.
- **lost**: acknowledged rows that are not there in the end. LiteFS replicates after the commit; all of them were acknowledged before another node wrote, or the test fails.
- **reads**: on the old primary while the fault lasted, and how many of them failed.
- **back**: from the end of the fault until every node may become primary again.

Meanwhile the status of every node is asked for and compared: who leads, in which term, how much lease is left, why a node is fenced.
`

// faultsTable renders what was measured, in the order in which it was.
func faultsTable(all []outcome) string {
	var b strings.Builder
	b.WriteString(faultsIntro)
	for _, at := range timings {
		fmt.Fprintf(&b, "\n## %s: heartbeat %v, lease %v, LiteFS's ttl %v\n\n", at.name, at.heartbeat, at.lease, at.ttl)
		b.WriteString("| fault | rounds | fence | elsewhere | outage | stale | refused | lost | reads (failed) | back |\n|---|---|---|---|---|---|---|---|---|---|\n")
		var done []string
		for _, o := range all {
			if o.timing == at.name && !slices.Contains(done, o.fault) {
				done = append(done, o.fault)
				b.WriteString(faultsRow(all, o.fault, at.name))
			}
		}
	}
	return b.String()
}

func faultsRow(all []outcome, name, timing string) string {
	var fence, elsewhere, outage, back []time.Duration
	var sum outcome
	rounds, moved := 0, 0
	for _, o := range all {
		if o.fault != name || o.timing != timing {
			continue
		}
		rounds++
		outage, back = append(outage, o.outage), append(back, o.back)
		if o.moved {
			moved++
			fence, elsewhere = append(fence, o.fence), append(elsewhere, o.elsewhere)
		}
		sum.stale, sum.refused, sum.lost = sum.stale+o.stale, sum.refused+o.refused, sum.lost+o.lost
		sum.reads, sum.failed = sum.reads+o.reads, sum.failed+o.failed
	}
	fenced, where := "", "stays"
	if moved > 0 {
		fenced, where = spread(fence), spread(elsewhere)
		if moved < rounds {
			where += fmt.Sprintf(" (%d of %d)", moved, rounds)
		}
	}
	return fmt.Sprintf("| %s | %d | %s | %s | %s | **%d** | %d | %d | %d (%d) | %s |\n",
		name, rounds, fenced, where, spread(outage), sum.stale, sum.refused, sum.lost, sum.reads, sum.failed, spread(back))
}

// spread is median and worst, in seconds.
func spread(d []time.Duration) string {
	slices.Sort(d)
	median, worst := d[len(d)/2].Seconds(), d[len(d)-1].Seconds()
	if len(d) == 1 {
		return fmt.Sprintf("%.2f", worst)
	}
	return fmt.Sprintf("%.2f, %.2f", median, worst)
}

func TestFaultsTable(t *testing.T) {
	rows := faultsTable([]outcome{
		{fault: "a", timing: "default", moved: true, fence: 250 * time.Millisecond, elsewhere: 1500 * time.Millisecond, outage: 1300 * time.Millisecond, refused: 7, lost: 2, reads: 9, back: time.Second},
		{fault: "a", timing: "default", outage: 200 * time.Millisecond, back: 2 * time.Second, failed: 1, reads: 3},
		{fault: "b", timing: "fast", outage: 100 * time.Millisecond},
	})
	require.Contains(t, rows, "| a | 2 | 0.25 | 1.50 (1 of 2) | 1.30, 1.30 | **0** | 7 | 2 | 12 (1) | 2.00, 2.00 |\n")
	require.Contains(t, rows, "| b | 1 |  | stays | 0.10 | **0** | 0 | 0 | 0 (0) | 0.00 |\n")
}
