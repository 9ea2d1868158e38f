package report

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/litefence/litefence/test/history"
	"github.com/stretchr/testify/require"
)

func markdownOf(t *testing.T, r Run) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, Markdown(&b, r))
	return b.String()
}

var cellEnd = regexp.MustCompile(`(?:^|[^\\])\|`)

// tablesOf checks that all rows of a table have the same cells, and that an empty
// line stands before and after it.
func tablesOf(t *testing.T, text string) (tables int) {
	t.Helper()
	columns, before := 0, ""
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "|") {
			n := len(cellEnd.FindAllString(line, -1))
			if columns == 0 {
				require.Empty(t, before, "before %s", line)
				columns = n
				tables++
			}
			require.Equal(t, columns, n, line)
		} else {
			require.True(t, columns == 0 || line == "", "after a table: %s", line)
			columns = 0
		}
		before = line
	}
	return tables
}

func TestMarkdownTables(t *testing.T) {
	r := sampleRun(40, true)
	text := markdownOf(t, r)
	require.Equal(t, 8, tablesOf(t, text))
	for _, res := range r.Results {
		require.Contains(t, text, strconv.FormatUint(res.Round.Seed, 10))
	}
	for _, heading := range []string{"Anomalies", "By quorum.confirm", "By fault", "Lost writes", "Controls: with a rule taken out", "Comparisons", "How to read this", "Made by"} {
		require.Contains(t, text, "\n\n## "+heading+"\n\n")
	}
	require.Contains(t, text, "FAILED: nothing was noticed")
	require.Contains(t, text, "\n    make torture ROUNDS=40 SEED=1\n")
	require.Less(t, strings.Index(text, "| litefence |"), strings.Index(text, "| LiteFS |"))
	require.Less(t, strings.Index(text, "| cores |"), strings.Index(text, "| a tool |"))
	for _, rule := range Rules() {
		require.Contains(t, text, "- `"+rule.Name+"`: ")
	}
}

// The number of lost writes stands in the report whatever else is known of them.
func TestLostWritesAreNeverHidden(t *testing.T) {
	r := Run{Results: []history.Result{{Counts: history.Counts{Acked: 1000, Lost: 17}}}}
	text := markdownOf(t, r)
	require.Contains(t, text, "17 of 1,000 acknowledged writes are not there in the end, in 1 round.")
	require.Contains(t, text, "| acknowledged, then lost to asynchronous replication | 17 |")
	require.Regexp(t, `(?m)^\| \(no fault\) \|.*\| 17 \|$`, text)
	require.Contains(t, htmlOf(t, r), "<dd>17<small>to asynchronous replication</small></dd>")
}

func TestMarkdownOfNothing(t *testing.T) {
	text := markdownOf(t, Run{})
	require.Contains(t, text, "**Nothing was run.**")
	require.Equal(t, 1, tablesOf(t, text))
	text = markdownOf(t, sampleRun(3, false))
	require.Contains(t, text, "**No promise was broken.**")
	require.NotContains(t, text, "## Anomalies")
}

func TestMarkdownListsSoManyAnomalies(t *testing.T) {
	r := Run{Results: []history.Result{{}}}
	for range mostAnomalies + 2 {
		r.Results[0].Anomalies = append(r.Results[0].Anomalies, history.Anomaly{Rule: "bank", Text: "a sum"})
	}
	text := markdownOf(t, r)
	require.Equal(t, mostAnomalies, strings.Count(text, "| bank | a sum |"))
	require.Contains(t, text, "2 more are in the HTML page.")
}

func TestTextIsNoMarkdown(t *testing.T) {
	require.Equal(t, `a \| b \[x\](y) &lt;b&gt; \*\_\`+"`"+` \\ &amp;`, plain("a |\n b [x](y) <b> *_` \\ &"))
	table := mdTable([]string{"a", "b"}, [][]string{{"x|y\nz"}, {`ends in \`, "1", "too many"}})
	require.Equal(t, 1, tablesOf(t, "\n"+table+"\n"))
	require.NotContains(t, table, "too many")
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestErrorsOfTheWriterAreReturned(t *testing.T) {
	require.ErrorContains(t, HTML(full{}, Run{}), "no space")
	require.ErrorContains(t, Markdown(full{}, Run{}), "no space")
}
