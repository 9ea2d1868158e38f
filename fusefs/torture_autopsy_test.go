package fusefs

import (
	"os"
	"path/filepath"
	"strings"
)

// autopsy tells, where a torture has failed, whose fault it may be: it takes
// copies of the database from LiteFS's directory, from the lower mount and
// through the fenced mount, on both nodes, and asks SQLite what it thinks of
// each. Equal copies that are malformed were made so by a write; a copy that is
// malformed alone is a stale view.
func (x *torture) autopsy() {
	if !x.t.Failed() {
		return
	}
	dir, err := os.MkdirTemp("", "torture-autopsy-")
	if err != nil {
		return
	}
	x.t.Logf("evidence is left in %s", dir)
	for name, r := range map[string]*rig{"primary": x.p, "replica": x.q} {
		for view, from := range map[string]string{"data": filepath.Join(r.dir, "data", "dbs", "db"), "lower": r.lower, "mount": r.mount} {
			to := filepath.Join(dir, name+"-"+view)
			for copyName, file := range autopsyFiles(view) {
				if b, err := os.ReadFile(filepath.Join(from, file)); err == nil {
					_ = os.WriteFile(to+copyName, b, 0o600)
				}
			}
			out, err := shell(x.t, to, "PRAGMA integrity_check(5); SELECT count(*), max(seq) FROM t")
			x.t.Logf("%s, %s: %s (%v)", name, view, strings.ReplaceAll(out, "\n", "; "), err)
		}
		log, _ := os.ReadFile(filepath.Join(r.dir, "litefs.log"))
		_ = os.WriteFile(filepath.Join(dir, name+"-litefs.log"), log, 0o600)
		_ = os.WriteFile(filepath.Join(dir, name+"-fence.log"), []byte(r.logs.String()), 0o600)
	}
}

func autopsyFiles(view string) map[string]string {
	if view == "data" {
		return map[string]string{"": "database", "-journal": "journal", "-wal": "wal"}
	}
	return map[string]string{"": "db", "-journal": "db-journal", "-wal": "db-wal"}
}
