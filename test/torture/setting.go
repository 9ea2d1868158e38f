package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/history"
	"github.com/litefence/litefence/test/nemesis"
)

// setting is everything of a round that its seed decides.
type setting struct {
	seed      uint64
	nodes     int
	journal   string
	heartbeat time.Duration
	lease     time.Duration
	ttl       time.Duration
	confirm   string
	tls       bool
	plan      nemesis.Plan
}

// newSetting draws the round of seed. confirm, where given, is its
// quorum.confirm, and all else stays as the seed has it.
func newSetting(seed uint64, l nemesis.Limits, confirm string) setting {
	rng := rand.New(rand.NewPCG(seed, 0))
	s := setting{seed: seed, nodes: 3, heartbeat: 600 * time.Millisecond, lease: 300 * time.Millisecond, ttl: 200 * time.Millisecond}
	if rng.IntN(5) == 0 {
		s.nodes = 5
	}
	s.journal = []string{"wal", "wal", "delete", "truncate", "persist"}[rng.IntN(5)]
	if rng.IntN(5) == 0 {
		s.heartbeat, s.lease, s.ttl = 300*time.Millisecond, 150*time.Millisecond, 100*time.Millisecond
	}
	if rng.IntN(5) == 0 {
		s.confirm = history.Quorum
	}
	if confirm != "" {
		s.confirm = confirm
	}
	s.tls = rng.IntN(5) == 0
	s.plan = nemesis.NewPlan(seed, s.nodes, l)
	return s
}

func (s setting) options(sub subject) cluster.Options {
	o := cluster.Options{
		Nodes: s.nodes, Litefence: sub.litefence, LiteFS: sub.litefs, RunFlags: sub.flags,
		Heartbeat: s.heartbeat, Lease: s.lease, TTL: s.ttl, Confirm: s.confirm, TLS: s.tls,
	}
	if sub.alone {
		o.OwnLease = func(n *cluster.Node) string {
			return fmt.Sprintf("{type: static, candidate: %v, advertise-url: \"http://10.213.7.1:20202\", hostname: n1}", n.Name == "n1")
		}
	}
	if s.plan.NeedsDisks() {
		o.Disks = 384 << 20 // above policy.health.min-free-disk
	}
	return o
}

// plain is what comparisons run with: the defaults, and three nodes; a longer
// lease makes room for what a missing rule lets happen.
func (s *setting) plain(lease time.Duration) {
	s.nodes, s.journal, s.confirm, s.tls = 3, "wal", "", false
	s.heartbeat, s.lease, s.ttl = 600*time.Millisecond, 300*time.Millisecond, 200*time.Millisecond
	if lease != 0 {
		s.heartbeat, s.lease = 2*lease, lease
	}
}
