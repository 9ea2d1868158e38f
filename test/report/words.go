package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/litefence/litefence/test/history"
)

// seconds writes d with two digits, without a unit.
func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', 2, 64)
}

// number groups n by thousands.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

// took rounds a long time to what one wants to know of it.
func took(d time.Duration) string {
	d = d.Round(time.Second)
	if h, m := int(d.Hours()), int(d.Minutes())%60; h > 0 {
		return fmt.Sprintf("%d h %d min", h, m)
	}
	if m := int(d.Minutes()); m > 0 {
		return fmt.Sprintf("%d min %d s", m, int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d s", int(d.Seconds()))
}

func began(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

// tally counts names and writes them as "a 2, b 1", in order of the names.
type tally map[string]int

func (t tally) String() string {
	var parts []string
	for _, name := range sorted(t) {
		parts = append(parts, name+" "+number(t[name]))
	}
	return strings.Join(parts, ", ")
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

type version struct{ Name, Text string }

// versionsOf brings r.Versions into order.
func versionsOf(r Run) (list []version) {
	first := []string{"litefence", "LiteFS", "SQLite", "Go", "kernel", "cores"}
	for _, name := range first {
		if text, ok := r.Versions[name]; ok {
			list = append(list, version{name, text})
		}
	}
	for _, name := range sorted(r.Versions) {
		if !slices.Contains(first, name) {
			list = append(list, version{name, r.Versions[name]})
		}
	}
	return list
}

// repeat is the command that runs a round again.
func repeat(r history.RoundInfo) string {
	s := "make torture SEED=" + strconv.FormatUint(r.Seed, 10) + " ROUNDS=1"
	if r.Flags != "" {
		s += " TORTUREFLAGS='" + r.Flags + "'"
	}
	return s
}
