package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Small commits, briefly: what is asked for is measured, rqlite where it has been
// built, and nothing is left.
func TestCommitsAreMeasured(t *testing.T) {
	if os.Getenv("LONG") == "" {
		t.Skip("long: runs with LONG=1; `make bench` is the same with figures")
	}
	r, o := measured(t, "-only", "^commit", "-rqlite", "../../bin/rqlited")
	require.Len(t, r.Commits, len(commitLoads))
	for _, row := range r.Commits {
		for _, name := range row.Variants {
			f := row.Figures[name]
			if name == "rqlite" && len(f.Fails) > 0 {
				t.Logf("%s: rqlite: %v", row.Name, f.Fails)
				continue
			}
			require.Empty(t, f.Fails, "%s: %s", row.Name, name)
			require.Len(t, f.Rates, o.rounds, "%s: %s", row.Name, name)
			require.GreaterOrEqual(t, f.Commits, o.rounds*commitTurns*row.writers, "%s: %s", row.Name, name)
			require.Greater(t, f.Median, time.Duration(0), "%s: %s", row.Name, name)
		}
	}
}

func TestCommitsSelected(t *testing.T) {
	there := filepath.Join(t.TempDir(), "rqlited")
	require.NoError(t, os.WriteFile(there, nil, 0o755))
	for _, c := range []struct {
		rqlite, only string
		commits      []string
		want         [][]string
	}{
		{there, "", nil, nil},
		{there, "^primary", []string{"lease"}, nil},
		{there, "1 writer", []string{"lease", "rqlite"}, [][]string{{alone, "lease", "rqlite"}}},
		{there, "8 databases", []string{"lease", "rqlite"}, [][]string{{alone, "lease"}}},
		{there + "-not", "1 writer", []string{"rqlite", "again"}, [][]string{{alone, "again"}}},
	} {
		o := options{rqlite: c.rqlite, only: regexp.MustCompile(c.only), commits: c.commits}
		var got [][]string
		for _, l := range o.selectedCommits() {
			got = append(got, l.Variants)
		}
		require.Equal(t, c.want, got, "%+v", c)
	}
}

func TestEveryCommitVariantHasItsOwnDatabases(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range commitLoads {
		for _, v := range []string{alone, "again", "lease"} {
			names := l.allDatabases(v)
			require.Len(t, names, l.databases)
			for _, n := range names {
				require.False(t, seen[n], n)
				seen[n] = true
			}
			for w := range l.writers {
				require.Contains(t, names, l.database(v, w))
			}
		}
	}
}

func TestCommitRatiosAreOfOneRound(t *testing.T) {
	r := newCommitRow(commitLoad{Variants: []string{alone, "lease"}})
	ms := func(v ...time.Duration) (out []time.Duration) {
		for _, d := range v {
			out = append(out, d*time.Millisecond)
		}
		return out
	}
	require.Equal(t, "-\t-\t-\t-\t-", r.Figures["lease"].line())
	r.add(map[string]commitRoundSum{alone: {100, ms(2, 4, 6)}, "lease": {50, ms(8, 7, 9)}})
	r.add(map[string]commitRoundSum{alone: {10, ms(40)}, "lease": {8, ms(60, 10, 60)}})
	r.add(map[string]commitRoundSum{"lease": {1, ms(100)}}) // LiteFS alone failed
	f := r.Figures["lease"]
	require.Equal(t, []float64{50, 8, 1}, f.Rates)
	require.Equal(t, []float64{0.5, 0.8}, f.Ratios)
	require.Equal(t, []float64{2, 1.5}, f.TimeRatios)
	require.Equal(t, 7, f.Commits)
	require.Equal(t, 10*time.Millisecond, f.Median)
	require.Equal(t, 100*time.Millisecond, f.P99)
	f.Fails = []string{"EIO"}
	require.Equal(t, "8\t0.65 (0.50..0.80)\t10.00 ms\t1.75 (1.50..2.00)\t100.00 ms\tfails (EIO) 1x", f.line())

	var out bytes.Buffer
	printCommits(&out, []*commitRow{r})
	require.Regexp(t, `(?m)^LiteFS alone +55 +1\.00 \(1\.00\.\.1\.00\) +4\.00 ms `, out.String())
	require.ErrorContains(t, (&report{Commits: []*commitRow{r}}).failed(), "lease fails 1 times: EIO")
	r.Figures[alone].Fails, f.Fails = []string{"EIO"}, nil
	require.NoError(t, (&report{Commits: []*commitRow{r}}).failed(), "what LiteFS alone does is not ours")
}

// In a short turn not one commit may have ended.
func TestNoRatioToNothing(t *testing.T) {
	r := newCommitRow(commitLoad{Variants: []string{alone, "lease"}})
	r.add(map[string]commitRoundSum{alone: {0, []time.Duration{9}}, "lease": {5, []time.Duration{1}}})
	require.Empty(t, r.Figures["lease"].Ratios)
	require.NoError(t, (&report{Commits: []*commitRow{r}}).writeJSON(filepath.Join(t.TempDir(), "json")))
}

func TestDoneWithin(t *testing.T) {
	require.Equal(t, 0, doneWithin(10, nil))
	require.Equal(t, 0, doneWithin(10, []time.Duration{11, 1}))
	require.Equal(t, 2, doneWithin(10, []time.Duration{4, 6, 1}))
	require.Equal(t, 3, doneWithin(10, []time.Duration{1, 1, 1}))
}

func TestQuantile(t *testing.T) {
	require.Equal(t, time.Duration(0), quantile(nil, 0.5))
	v := []time.Duration{5, 1, 4, 2, 3}
	require.Equal(t, time.Duration(1), quantile(v, 0))
	require.Equal(t, time.Duration(3), quantile(v, 0.5))
	require.Equal(t, time.Duration(4), quantile(v, 0.8))
	require.Equal(t, time.Duration(5), quantile(v, 0.99))
	require.Equal(t, []time.Duration{5, 1, 4, 2, 3}, v, "sorted in place")
}

// rqlite tells of what SQL refused with status 200.
func TestExecuteSeesRefusals(t *testing.T) {
	status, answer, asked := 200, "", ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		asked = r.Method + " " + r.URL.Path + " " + string(b)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	defer s.Close()
	for _, c := range []struct {
		status       int
		answer, want string
	}{
		{200, `{"results":[{"last_insert_id":1,"rows_affected":1}]}`, ""},
		{200, `{"results":[{"error":"no such table: log"}]}`, "no such table: log"},
		{200, `{"results":[]}`, "rqlite says"},
		{200, `leader`, "rqlite says"},
		{503, `leader not found`, "503 Service Unavailable"},
	} {
		status, answer = c.status, c.answer
		err := execute(s.Client(), s.URL, "INSERT")
		if c.want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, c.want)
		}
		require.Equal(t, `POST /db/execute ["INSERT"]`, asked)
	}
}
