package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"

	"github.com/litefence/litefence/fusefs"
	"github.com/litefence/litefence/quorum"
)

// probes are what this node's health rests on, by its config. It must be called
// before the mount (prober).
func (d *daemon) probes() ([]quorum.Probe, error) {
	h := d.cfg.Policy.Health
	var all []quorum.Probe
	if h.MinFreeDisk > 0 {
		all = append(all, quorum.FreeDisk(h.MinFreeDisk, d.cfg.Quorum.DataDir, d.cfg.LiteFS.DataDir))
	}
	if h.MaxPressure > 0 {
		p, err := quorum.Pressure(h.MaxPressure)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	if len(h.Command) > 0 {
		if _, err := exec.LookPath(h.Command[0]); err != nil {
			return nil, fmt.Errorf("policy.health.command: %w; give a program that exits with 0 while this node is healthy", err)
		}
		p, err := d.prober("command", h.Command...)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	p, err := d.lowerProbe()
	return append(all, p), err
}

func (d *daemon) prober(name string, argv ...string) (quorum.Probe, error) {
	p, err := startProber(argv...)
	if err != nil {
		return quorum.Probe{}, err
	}
	d.defers(p.stop)
	return quorum.Probe{Name: name, Check: p.check}, nil
}

const probeLowerCommand = "probe-lower"

// lowerProbe asks LiteFS's mount from a process of its own: a request to a
// stopped LiteFS cannot be interrupted, not even by SIGKILL, and a thread of the
// daemon stuck in one would keep the daemon from ending, its ports and the fenced
// mount's /dev/fuse with it. Until the fenced mount is there, its absence is no
// illness: `run` waits for it and says so.
func (d *daemon) lowerProbe() (quorum.Probe, error) {
	p, err := d.prober("lower mount", "/proc/self/exe", probeLowerCommand, d.cfg.Fence.Lower)
	ask := p.Check
	p.Check = func(ctx context.Context) error {
		if d.mounted.Load() == nil {
			return nil
		}
		return ask(ctx)
	}
	return p, err
}

// probeLower is that process.
func probeLower(args []string) int {
	err := fmt.Errorf("usage: %s DIR", probeLowerCommand)
	if len(args) == 1 {
		if err = fusefs.CheckLower(args[0]); err == nil {
			_, err = os.ReadDir(args[0])
		}
	}
	if err != nil {
		fmt.Println(err)
		return exitFailed
	}
	return exitDone
}

// serveHealth is UpdateHealth for operators and applications.
func (d *daemon) serveHealth(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Healthy *bool  `json:"healthy"`
		Reason  string `json:"reason"`
	}
	err := decodeBody(r, &q)
	if err == nil && q.Healthy == nil {
		err = fmt.Errorf("healthy: missing")
	}
	if err != nil {
		refuse(w, bodyStatus(err), `want a JSON body like {"healthy":false,"reason":"replacing a disk"}: `+err.Error())
		return
	}
	if !*q.Healthy && q.Reason == "" {
		refuse(w, http.StatusBadRequest, "reason: missing; say why, for whoever looks at the status")
		return
	}
	d.node.UpdateHealth(*q.Healthy, q.Reason)
	answer(w, d.node.HealthStatus(), nil)
}
