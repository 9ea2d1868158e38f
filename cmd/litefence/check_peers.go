package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/litefence/litefence/quorum"
)

const (
	peerAnswers = 3 * time.Second
	// allowedSkew is by how much two nodes' wall clocks may differ before their
	// logs mislead. Nothing else rests on them.
	allowedSkew = time.Second
)

func (d *doctor) lookPeers(ctx context.Context) (found []finding, skipped string) {
	const check = "peers"
	if len(d.cfg.Quorum.Peers) == 1 {
		return nil, "this node is alone"
	}
	secure, err := secureTransport(d.cfg, silentLog())
	if err != nil {
		return nil, "without certificates that fit no peer can be asked"
	}
	ctx, cancel := context.WithTimeout(ctx, peerAnswers)
	defer cancel()
	refused := 0
	for _, x := range quorum.Examine(ctx, d.asPeer(), d.cfg.Quorum.Peers, secure, silentLog()) {
		switch {
		case x.Err == nil:
			found = append(found, d.judgePeer(x)...)
		case errors.Is(x.Err, syscall.ECONNREFUSED) && !d.runs():
			refused++ // its machine is there; nothing has been started yet
		default:
			f := broken(check, fmt.Errorf("%s does not answer: %w", x.Name, x.Err))
			f.Severity = severityWarning
			if f.Mend == "" {
				f.Mend = "see whether it runs, and whether the network lets " + x.Address + " through"
			}
			found = append(found, f)
		}
	}
	if refused > 0 {
		skipped = fmt.Sprintf("%d peers do not run yet", refused)
	}
	return found, skipped
}

// asPeer is what this node would say of itself.
func (d *doctor) asPeer() quorum.PeerState {
	q := d.cfg.Quorum
	s := quorum.PeerState{Name: d.cfg.Node, Version: version(), Heartbeat: q.HeartbeatTimeout, Lease: q.Lease, Mode: d.cfg.LiteFS.Mode}
	if d.witness {
		s.Mode = ""
	}
	if d.runs() {
		s.Cluster = d.daemon.status.Cluster
	}
	return s
}

func (d *doctor) judgePeer(x quorum.Examined) (found []finding) {
	const check = "peers"
	if x.Mismatch != nil {
		found = append(found, broken(check, x.Mismatch))
	}
	if x.State.Version != version() {
		found = append(found, d.warn(check, "run the same version on all nodes, once the change of versions is over", "%s runs version %s, this program is %s", x.Name, x.State.Version, version()))
	}
	if skew, sure := x.Skew.Abs(), x.Skew.Abs()-x.RTT/2; sure > allowedSkew {
		ahead := "ahead"
		if x.Skew < 0 {
			ahead = "behind"
		}
		found = append(found, d.warn(check, "set both clocks by NTP", "the wall clock of %s is %.1f s %s of this machine's: logs and times cannot be compared", x.Name, skew.Seconds(), ahead))
	}
	for _, name := range sortedKeys(d.cfg.Quorum.Peers) {
		here, there := d.cfg.Quorum.Peers[name], x.State.Addresses[name]
		switch {
		case there == "":
			found = append(found, d.warn(check, "make quorum.peers equal on all nodes", "quorum.peers: %s does not know %s", x.Name, name))
		case here != there:
			found = append(found, d.warn(check, "make quorum.peers equal on all nodes", "quorum.peers: %s is at %s here, at %s for %s", name, here, there, x.Name))
		}
	}
	for _, name := range sortedKeys(x.State.Addresses) {
		if d.cfg.Quorum.Peers[name] == "" {
			found = append(found, d.warn(check, "make quorum.peers equal on all nodes", "quorum.peers: %s knows %s at %s, which is missing here", x.Name, name, x.State.Addresses[name]))
		}
	}
	return found
}
