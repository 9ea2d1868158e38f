package main

import (
	"strings"

	"github.com/litefence/litefence/test/cluster"
)

// A variant is one way to the database. Each has databases of its own with the
// same content: SQLite on the LiteFS mount and SQLite on the fenced mount must
// never meet on one, because the fenced mount has its own -shm.
type variant struct {
	name  string
	mount func(*cluster.Node) string
}

// baseline is what all others are divided by.
const baseline = "lower"

var variants = []variant{
	{baseline, (*cluster.Node).Lower},
	{"again", (*cluster.Node).Lower}, // the baseline once more: what it differs by is noise
	{"fenced", (*cluster.Node).Fenced},
	{"bindfs", bindfsMount},
}

// writerMount is where another process writes this variant's database. bindfs
// is only read through: it cannot write in every journal mode.
func (v variant) writerMount(n *cluster.Node) string {
	if v.name == "bindfs" {
		return n.Lower()
	}
	return v.mount(n)
}

// A workload is one row of the table.
type workload struct {
	Name   string // side/mode/what
	op     string // see ops
	flags  []string
	apps   int     // processes at once; 1 where it is 0
	busy   bool    // the primary writes meanwhile
	Target float64 // least ratio that is asked for; 0 = none
}

func (w workload) side() string { return strings.Split(w.Name, "/")[0] }
func (w workload) mode() string { return strings.Split(w.Name, "/")[1] }

// database of this workload and variant. Those that are written are not those
// that are read, so that no reader meets a WAL that a round before left behind.
func (w workload) database(v variant) string {
	kind := "read"
	if w.op == "write" {
		kind = "write"
	}
	return strings.ToLower(w.mode()) + "-" + kind + "-" + v.name + ".db"
}

var workloads = []workload{
	{Name: "primary/WAL/write NORMAL", op: "write", flags: []string{"-sync", "NORMAL"}, Target: 0.95},
	{Name: "primary/WAL/write FULL", op: "write", flags: []string{"-sync", "FULL"}, Target: 0.95},
	{Name: "primary/WAL/write NORMAL, checkpoint every 20 pages", op: "write", flags: []string{"-sync", "NORMAL", "-checkpoint", "20"}},
	{Name: "primary/DELETE/write FULL", op: "write", flags: []string{"-sync", "FULL"}, Target: 0.95},
	{Name: "primary/WAL/point", op: "point", Target: 1},
	{Name: "primary/WAL/point, 4 readers", op: "point", apps: 4},
	{Name: "primary/WAL/scan", op: "scan", Target: 0.95},
	{Name: "primary/WAL/open-query-close", op: "open", flags: []string{"-keep"}, Target: 1},
	{Name: "primary/WAL/open-query-close alone", op: "open"},
	{Name: "primary/DELETE/point", op: "point", Target: 2},
	{Name: "primary/DELETE/point, 4 readers", op: "point", apps: 4},
	{Name: "primary/DELETE/scan", op: "scan", Target: 0.95},
	{Name: "primary/DELETE/open-query-close", op: "open", flags: []string{"-keep"}, Target: 1},
	{Name: "replica/WAL/point", op: "point", Target: 0.8},
	{Name: "replica/WAL/scan", op: "scan", Target: 0.95},
	{Name: "replica/WAL/open-query-close", op: "open", flags: []string{"-keep"}, Target: 0.8},
	{Name: "replica/WAL/point, primary writes", op: "point", busy: true},
	{Name: "replica/WAL/scan, primary writes", op: "scan", busy: true},
	{Name: "replica/DELETE/point", op: "point", Target: 0.8},
	{Name: "replica/DELETE/scan", op: "scan", Target: 0.95},
	{Name: "replica/DELETE/open-query-close", op: "open", flags: []string{"-keep"}, Target: 0.8},
	{Name: "replica/DELETE/point, primary writes", op: "point", busy: true},
	{Name: "replica/DELETE/scan, primary writes", op: "scan", busy: true},
}
