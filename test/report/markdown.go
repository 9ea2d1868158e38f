package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// mostAnomalies are listed in Markdown; the page has them all.
const mostAnomalies = 100

// Markdown writes r as a page for docs/: the figures of HTML in tables, without
// the pictures. An error is that of w.
func Markdown(w io.Writer, r Run) error {
	sum := summarize(r.Results)
	mustFail, comparisons := split(r.Controls)
	d := &document{}
	d.head(r, sum, verdictOf(sum, mustFail))
	d.anomalies(r)
	d.modes(r)
	d.faults(r, sum)
	d.lost(sum)
	d.controls(mustFail)
	d.comparisons(comparisons)
	d.reading()
	d.made(r)
	_, err := io.WriteString(w, d.String())
	return err
}

// document is Markdown in the making.
type document struct{ strings.Builder }

func (d *document) section(title string) { fmt.Fprintf(d, "\n## %s\n", title) }
func (d *document) para(text string)     { fmt.Fprintf(d, "\n%s\n", text) }
func (d *document) table(head []string, rows [][]string) {
	fmt.Fprintf(d, "\n%s", mdTable(head, rows))
}

func (d *document) head(r Run, s summary, v verdict) {
	d.WriteString("# What the torture showed\n")
	d.para("**" + v.Title + ".** " + v.Text)
	d.para(whatWasDone)
	rows := [][]string{
		{"rounds", number(s.Rounds)},
		{"clusters", s.Sizes.String()},
		{"journal modes", s.Journals.String()},
		{"faults", number(s.Faults)},
		{"broken promises", number(s.Broken) + " in " + count(s.BrokenRounds, "round", "rounds")},
		{"rounds not judged in full", number(s.UnjudgedRounds)},
		{"writes acknowledged", number(s.Counts.Acked)},
		{"writes refused", number(s.Counts.Refused)},
		{"writes of unknown outcome", number(s.Counts.Unknown)},
		{"acknowledged, then lost to asynchronous replication", number(s.Counts.Lost)},
		{"reads (failed)", fmt.Sprintf("%s (%s)", number(s.Counts.Reads), number(s.Counts.ReadErrors))},
		{"fence", s.Fence.All()},
		{"outage", s.Outage.All()},
		{"from the last fault until normal", s.Back.All()},
		{"rounds that never became normal", number(s.NeverNormal)},
	}
	if at := began(r.Began); at != "" {
		rows = append(rows, []string{"begun", at})
	}
	d.table([]string{"", ""}, append(rows, []string{"took", took(r.Took)}))
}

func (d *document) anomalies(r Run) {
	var rows [][]string
	left := 0
	for _, res := range r.Results {
		for _, a := range res.Anomalies {
			if len(rows) == mostAnomalies {
				left++
				continue
			}
			rows = append(rows, []string{strconv.Itoa(res.Round.Number), a.Rule, a.Text, repeat(res.Round)})
		}
	}
	if len(rows) == 0 {
		return
	}
	d.section("Anomalies")
	d.table([]string{"round", "rule", "what was seen", "again"}, rows)
	if left > 0 {
		d.para(count(left, "more is", "more are") + " in the HTML page.")
	}
}

func (d *document) modes(r Run) {
	modes := modesOf(r.Results)
	if len(modes) == 0 {
		return
	}
	d.section("By quorum.confirm")
	d.para(modeMeans)
	var rows [][]string
	for _, m := range modes {
		c := m.Sum.Counts
		rows = append(rows, []string{m.Name, number(m.Sum.Rounds), number(c.Acked), number(c.Lost), number(c.Refused), number(c.Unknown),
			m.Sum.Commit.Median(), m.Sum.Commit.P99(), m.Sum.Commit.Worst(), m.Sum.Outage.Median(), m.Sum.Outage.P99(), m.Sum.Outage.Worst()})
	}
	d.table([]string{"quorum.confirm", "rounds", "acknowledged", "of these lost", "refused", "unknown", "commit: median", "p99", "worst", "outage: median", "p99", "worst"}, rows)
}

func (d *document) faults(r Run, s summary) {
	kinds := kindsOf(r.Results)
	if len(kinds) == 0 {
		return
	}
	d.section("By fault")
	d.para(outageMeans)
	var rows [][]string
	for _, k := range kinds {
		rows = append(rows, []string{k.Name, number(k.Times), k.Outage.Median(), k.Outage.P99(), k.Outage.Worst(),
			number(k.Fence.N()), k.Fence.Median(), k.Fence.P99(), k.Fence.Worst(), number(k.Lost)})
	}
	rows = append(rows, []string{"all", number(s.Faults), s.Outage.Median(), s.Outage.P99(), s.Outage.Worst(),
		number(s.Fence.N()), s.Fence.Median(), s.Fence.P99(), s.Fence.Worst(), number(s.Counts.Lost)})
	d.table([]string{"fault", "times", "outage: median", "p99", "worst", "fence: times", "median", "p99", "worst", "lost"}, rows)
}

func (d *document) lost(s summary) {
	d.section("Lost writes")
	d.para(fmt.Sprintf("%s of %s acknowledged writes are not there in the end, in %s. %s", number(s.Counts.Lost), number(s.Counts.Acked),
		count(len(s.Lost), "round", "rounds"), lostMeans))
	if len(s.Lost) == 0 {
		return
	}
	d.para(lostWhere)
	var rows [][]string
	for _, l := range s.Lost {
		rows = append(rows, []string{strconv.Itoa(l.Round.Number), strconv.FormatUint(l.Round.Seed, 10), number(l.Lost), number(l.Acked), l.Nodes.String()})
	}
	d.para("<details><summary>Round by round</summary>")
	d.table([]string{"round", "seed", "lost", "of acknowledged", "by the primary that had acknowledged them"}, rows)
	d.para("</details>")
}

func (d *document) controls(controls []judged) {
	if len(controls) == 0 {
		return
	}
	d.section("Controls: with a rule taken out")
	d.para(controlMeans)
	var rows [][]string
	for _, j := range controls {
		rows = append(rows, []string{j.Name, j.What, number(j.Sum.Rounds), number(j.Sum.BrokenRounds), j.Sum.Rules.String(), j.Seed(), j.Verdict()})
	}
	d.table([]string{"taken out", "", "rounds", "broken in", "rules", "first seed", "result"}, rows)
}

func (d *document) comparisons(comparisons []judged) {
	if len(comparisons) == 0 {
		return
	}
	d.section("Comparisons")
	d.para(comparisonMeans)
	var rows [][]string
	for _, j := range comparisons {
		rows = append(rows, []string{j.Name, j.What, number(j.Sum.Rounds), number(j.Sum.BrokenRounds), j.Sum.Rules.String(), j.Seed(),
			number(j.Sum.Counts.Acked), number(j.Sum.Counts.Lost), j.Sum.Outage.Median(), j.Sum.Outage.Worst(), number(j.Sum.NeverNormal)})
	}
	d.table([]string{"what ran", "", "rounds", "broken in", "rules", "first seed", "acknowledged", "lost", "outage: median", "worst", "never normal"}, rows)
}
