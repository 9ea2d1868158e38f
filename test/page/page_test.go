package page

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Scratch: screenshots of the fake, to look at while the page is worked on.
func TestSketch(t *testing.T) {
	dir := os.Getenv("PAGE_SKETCH")
	if dir == "" {
		t.Skip("PAGE_SKETCH is not set")
	}
	b := open(t)
	five := primary()
	var peers []any
	for i, n := range []string{"eu-west-1-db-a", "n3", "n4", "w"} {
		p := maps.Clone(five["peers"].([]any)[0].(object))
		p["node"], p["hears"] = n, object{"n1": 1.0, "n3": 12.2, "n4": 2.3, "w": nil, "eu-west-1-db-a": 4.1}
		p["rtt_ms"] = 0.4 * float64(i+1) * 7
		if n == "w" {
			p["witness"], p["positions"], p["reason"] = true, nil, "witness"
		}
		if n == "n4" {
			p["positions"] = object{"app.db": "00000000000003ff/8000000000000001", "sessions.db": "0000000000000007/8000000000000009"}
		}
		if n == "n3" {
			p["health_status"], p["health"] = "degraded", object{"reason": "behind n1 for 12 s; policy.health.max-lag is 10 s"}
		}
		peers = append(peers, p)
	}
	five["peers"], five["insecure"] = peers, true
	five["problem"] = "no primary: nobody that answers is in step with the last one; start a node that is, or run `litefence accept-loss` on the node that shall go on without it"
	fenced := primary()
	maps.Copy(fenced, object{"writable": false, "fenced": true, "reason": "manual", "fence_reason": "disk is replaced", "role": "replica", "leader": "n2", "is_leader": false, "lease_left_ms": 0, "has_quorum": false, "follows_leader": true})
	fenced["peers"].([]any)[0].(object)["fenced"] = false
	for name, s := range map[string]object{"healthy": primary(), "partitioned": cutOff(primary()), "five": five, "fenced": fenced} {
		f := newFake(t, s)
		for i, e := range []object{
			{"kind": "leader", "message": "n1 leads in term 4."},
			{"kind": "role", "message": "LiteFS is primary."},
			{"kind": "lifted", "message": "Writes pass: n1 is the primary, and a majority vouches for it."},
			{"kind": "stale-leader", "reason": "stale-leader", "message": "Split brain: this node is a stale leader; writes are refused."},
			{"kind": "state", "state": "split_brain_detected", "message": "The state is split_brain_detected."},
			{"kind": "fenced", "reason": "no-leader", "message": "Writes are refused: no leader is known."},
		} {
			maps.Copy(e, object{"id": i + 1, "time": time.Now().Add(time.Duration(i*i*i-300) * time.Second), "term": 4, "node": "n1"})
			f.event(e)
		}
		for look, l := range map[string]look{"light-desktop": desktop, "dark-desktop": desktop.darkened(), "light-phone": phone, "dark-phone": phone.darkened()} {
			p := b.visit(t, f.url(), l)
			p.await("document.body.dataset.link === 'live'")
			p.await("lease.shown > 250 || !last.writable")
			p.shoot(filepath.Join(dir, name+"-"+look+".png"))
		}
	}
}
