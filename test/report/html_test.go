package report

import (
	"encoding/xml"
	"errors"
	"fmt"
	"html"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/litefence/litefence/test/history"
	"github.com/stretchr/testify/require"
)

func htmlOf(t *testing.T, r Run) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, HTML(&b, r))
	return b.String()
}

// wellFormed reads the page as XML, which is stricter than any browser, and
// counts its elements.
func wellFormed(t *testing.T, page string) map[string]int {
	t.Helper()
	elements := map[string]int{}
	d := xml.NewDecoder(strings.NewReader(page))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return elements
		}
		require.NoError(t, err)
		if start, ok := token.(xml.StartElement); ok {
			elements[start.Name.Local]++
			seen := map[string]bool{}
			for _, a := range start.Attr {
				require.False(t, seen[a.Name.Local], "%s twice in <%s>", a.Name.Local, start.Name.Local)
				seen[a.Name.Local] = true
			}
		}
	}
}

func TestHTMLShowsEveryRound(t *testing.T) {
	r := sampleRun(40, true)
	page := htmlOf(t, r)
	elements := wellFormed(t, page)
	require.Equal(t, 40, elements["details"])
	for _, res := range r.Results {
		require.Contains(t, page, fmt.Sprintf("<b>Round %d</b><span class=\"muted\">seed %d ·", res.Round.Number, res.Round.Seed))
		require.Contains(t, page, html.EscapeString(repeat(res.Round)))
		for _, a := range res.Anomalies {
			require.Contains(t, page, `<span class="tag `+map[bool]string{true: "bad", false: "warn"}[breaks(a)]+`">`+a.Rule+"</span>")
		}
	}
	require.NotContains(t, page, "ZgotmplZ", "the template refused a value")
	require.NotContains(t, page, "NaN")
}

func TestRoundsWithAnomaliesComeFirstAndAreOpen(t *testing.T) {
	page := htmlOf(t, sampleRun(40, true))
	order := regexp.MustCompile(`<details id="round-(\d+)"( open="open")?>`).FindAllStringSubmatch(page, -1)
	require.Len(t, order, 40)
	for i, want := range []struct{ number, open string }{{"7", ` open="open"`}, {"21", ` open="open"`}, {"1", ""}, {"2", ""}} {
		require.Equal(t, want.number, order[i][1])
		require.Equal(t, want.open, order[i][2])
	}
}

func TestTextIsNoMarkup(t *testing.T) {
	const evil = `<script>alert("1")</script>'&`
	r := sampleRun(3, false)
	r.Command = evil
	r.Versions[evil] = evil
	r.Controls[0].Name, r.Controls[0].What = evil, evil
	r.Results[1].Anomalies = []history.Anomaly{{Rule: evil, Text: evil, At: r.Results[1].Round.Start + 1}}
	r.Results[1].Faults[0].Name, r.Results[1].Faults[0].Targets = evil, []string{evil}
	r.Results[1].Round.Journal, r.Results[1].Round.Nodes[0] = evil, evil
	page := htmlOf(t, r)
	require.Zero(t, wellFormed(t, page)["script"])
	require.NotContains(t, page, "<script")
	require.GreaterOrEqual(t, strings.Count(page, "&lt;script&gt;"), 10)
}

func TestHTMLLoadsNothing(t *testing.T) {
	page := htmlOf(t, sampleRun(5, false))
	for _, bad := range []string{"http:", "https:", "src=", "@import", "url(", "<script", "style=", "onload", "//"} {
		require.NotContains(t, page, bad)
	}
	for _, href := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		require.Regexp(t, `^(#|data:,$)`, href[1])
	}
}

func TestHTMLOfNothingAndOfOddRounds(t *testing.T) {
	page := htmlOf(t, Run{})
	require.Contains(t, page, "Nothing was run")
	require.Zero(t, wellFormed(t, page)["details"])

	odd := Run{Results: []history.Result{{}, {Faults: []history.Fault{{Name: "cut"}}, Fence: []time.Duration{-1}, Outages: []time.Duration{0}}}}
	page = htmlOf(t, odd)
	require.NotContains(t, page, "NaN")
	require.NotContains(t, page, "Inf")
	require.Equal(t, 2, wellFormed(t, page)["details"])
}

func TestHTMLOfARunWithoutAnomalies(t *testing.T) {
	page := htmlOf(t, sampleRun(10, false))
	wellFormed(t, page)
	require.Contains(t, page, "<h1>No promise was broken</h1>")
	require.NotContains(t, page, `id="anomalies"`)
	require.NotContains(t, page, "FAILED")
	require.NotContains(t, page, " open=")
}

func TestBlindControlIsShownAsAFailure(t *testing.T) {
	page := htmlOf(t, sampleRun(30, true))
	require.Contains(t, page, `<span class="tag bad">FAILED: nothing was noticed</span>`)
	require.Contains(t, page, `<span class="tag ok">noticed</span>`)
}

func TestReportsAreTheSameEachTime(t *testing.T) {
	page, text := htmlOf(t, sampleRun(10, false)), markdownOf(t, sampleRun(10, false))
	for range 5 {
		require.Equal(t, page, htmlOf(t, sampleRun(10, false)))
		require.Equal(t, text, markdownOf(t, sampleRun(10, false)))
	}
}
