package report

import (
	"cmp"
	"embed"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/litefence/litefence/test/history"
)

//go:embed page.html parts.html plots.html style.css
var files embed.FS

var pageTemplate = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"number": number, "count": count, "repeat": repeat, "join": strings.Join,
}).ParseFS(files, "*.html"))

// page is what page.html shows.
type page struct {
	Style                 template.CSS
	Run                   Run
	Began, Took           string
	Verdict               verdict
	Figures               []figure
	Sum                   summary
	Curves                []curve
	Strips                strips
	Kinds                 []kind
	Modes                 []mode
	Controls, Comparisons []judged
	Anomalies             []anomalyRow
	Rounds                []roundView
	Rules                 []Rule
	Limits                []string
	Versions              []version
	Text                  map[string]string
}

// figure is one number of the headline.
type figure struct{ Name, Value, Note, Tone string }

// anomalyRow is an anomaly with its round.
type anomalyRow struct {
	history.Anomaly
	Round history.RoundInfo
	Tone  string
}

// roundView is a round as the page shows it.
type roundView struct {
	history.Result
	Open      bool
	Faults    []faultRow
	Anomalies []anomalyRow
	Picture   timeline
}

// faultRow is a fault in the table under a round's picture.
type faultRow struct{ Name, Targets, From, To, Outage string }

// HTML writes r as one page that needs no other file, and no script. An error is
// that of w.
func HTML(w io.Writer, r Run) error {
	style, err := files.ReadFile("style.css")
	if err != nil {
		return err
	}
	sum, kinds := summarize(r.Results), kindsOf(r.Results)
	mustFail, comparisons := split(r.Controls)
	p := page{
		Style: template.CSS(style), Run: r, Began: began(r.Began), Took: took(r.Took),
		Verdict: verdictOf(sum, mustFail), Figures: figuresOf(sum, r), Sum: sum,
		Curves: []curve{
			curveOf("Fence", "from a cut or stop of the primary to its last acknowledged write", sum.Fence),
			curveOf("Outage", "the longest time without an acknowledged write anywhere, for each fault", sum.Outage),
			curveOf("Until normal", "from the end of the last fault until one node writes and all others follow", sum.Back),
		},
		Strips: stripsOf(kinds), Kinds: kinds, Modes: modesOf(r.Results), Controls: mustFail, Comparisons: comparisons,
		Rules: Rules(), Limits: limits, Versions: versionsOf(r),
		Text: map[string]string{"done": whatWasDone, "lost": lostMeans, "where": lostWhere, "modes": modeMeans, "outage": outageMeans, "controls": controlMeans, "comparisons": comparisonMeans},
	}
	for _, res := range r.Results {
		v := viewOf(res)
		p.Rounds = append(p.Rounds, v)
		p.Anomalies = append(p.Anomalies, v.Anomalies...)
	}
	slices.SortStableFunc(p.Rounds, func(a, b roundView) int { return cmp.Compare(rank(a), rank(b)) })
	return pageTemplate.Execute(w, p)
}

// rank puts rounds with anomalies first.
func rank(v roundView) int {
	if v.Open {
		return 0
	}
	return 1
}

func viewOf(r history.Result) roundView {
	v := roundView{Result: r, Open: len(r.Anomalies) > 0, Picture: timelineOf(r)}
	c := clockOf(r)
	for i, f := range r.Faults {
		row := faultRow{Name: f.Name, Targets: strings.Join(f.Targets, " "), From: c.seconds(f.Start), To: c.seconds(f.End), Outage: "–"}
		if i < len(r.Outages) {
			row.Outage = seconds(r.Outages[i]) + " s"
		}
		v.Faults = append(v.Faults, row)
	}
	for _, a := range r.Anomalies {
		tone := "bad"
		if !breaks(a) {
			tone = "warn"
		}
		v.Anomalies = append(v.Anomalies, anomalyRow{Anomaly: a, Round: r.Round, Tone: tone})
	}
	return v
}

// figuresOf is the headline.
func figuresOf(s summary, r Run) []figure {
	broken := figure{"Broken promises", number(s.Broken), "in " + count(s.BrokenRounds, "round", "rounds"), "ok"}
	if s.Broken > 0 {
		broken.Tone = "bad"
	} else if s.Rounds == 0 {
		broken.Tone = "off"
	}
	unjudged := ""
	if s.UnjudgedRounds > 0 {
		unjudged = number(s.UnjudgedRounds) + " not judged in full"
	}
	return []figure{
		{"Rounds", number(s.Rounds), unjudged, ""},
		broken,
		{"Writes acknowledged", number(s.Counts.Acked), "", ""},
		{"Writes refused", number(s.Counts.Refused), number(s.Counts.Unknown) + " of unknown outcome", ""},
		{"Acknowledged, then lost", number(s.Counts.Lost), "to asynchronous replication", ""},
		{"Reads", number(s.Counts.Reads), number(s.Counts.ReadErrors) + " failed", ""},
		{"Faults", number(s.Faults), "", ""},
		{"Time", took(r.Took), "", ""},
	}
}
