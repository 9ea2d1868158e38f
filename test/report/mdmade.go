package report

import (
	"strconv"
	"strings"
)

func (d *document) reading() {
	d.section("How to read this")
	d.para("The rules, each by the name that an anomaly carries:")
	d.WriteString("\n")
	for _, r := range Rules() {
		d.WriteString("- `" + r.Name + "`: " + r.Says)
		if r.Unjudged {
			d.WriteString(" Not a broken promise, but not proof either.")
		}
		d.WriteString("\n")
	}
	d.para("What such a run cannot show:")
	d.WriteString("\n")
	for _, l := range limits {
		d.WriteString("- " + l + "\n")
	}
}

func (d *document) made(r Run) {
	d.section("Made by")
	if r.Command != "" {
		d.para("    " + strings.Join(strings.Fields(r.Command), " "))
	}
	var rows [][]string
	for _, v := range versionsOf(r) {
		rows = append(rows, []string{v.Name, v.Text})
	}
	if len(rows) > 0 {
		d.table([]string{"", ""}, rows)
	}
	if len(r.Results) == 0 {
		return
	}
	d.para("A round is repeated with `make torture SEED=… ROUNDS=1` and the TORTUREFLAGS above: the same faults at the same times, though not the same interleaving. Seeds, in the order of the rounds: " + seedsOf(r) + ".")
}

// seedsOf lists the seeds; a long row of successive ones by its ends.
func seedsOf(r Run) string {
	var parts []string
	for i := 0; i < len(r.Results); {
		first := r.Results[i].Round.Seed
		n := 1
		for i+n < len(r.Results) && r.Results[i+n].Round.Seed == first+uint64(n) {
			n++
		}
		part := strconv.FormatUint(first, 10)
		if n > 1 {
			part += " to " + strconv.FormatUint(first+uint64(n)-1, 10)
		}
		parts = append(parts, part)
		i += n
	}
	return strings.Join(parts, ", ")
}
