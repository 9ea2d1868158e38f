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
	var seeds []string
	for _, res := range r.Results {
		seeds = append(seeds, strconv.FormatUint(res.Round.Seed, 10))
	}
	d.para("A round is repeated with `make torture SEED=… ROUNDS=1`: the same faults at the same times, though not the same interleaving. Seeds, in the order of the rounds: " + strings.Join(seeds, ", ") + ".")
}
