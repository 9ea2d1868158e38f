package main

import (
	"context"
	"errors"
	"fmt"
	"os"
)

func witnessMain(fs *cli) int {
	path := fs.String("config", "", "config `file` (default /etc/litefence.yml, then ./litefence.yml)")
	if _, code, ok := fs.parse(); !ok {
		return code
	}
	if isInit() {
		return asInit()
	}
	cfg, err := LoadConfig(*path)
	if err == nil && cfg.data != nil {
		err = fmt.Errorf("config: %w", cfg.data)
	}
	if err == nil && fs.NArg() > 0 {
		err = errors.New("witness: it starts no application; there is no mount for one")
	}
	if err != nil {
		return fail(exitUsage, err)
	}
	d := &daemon{cfg: cfg, witness: true, log: newLogger(cfg.Log, os.Stderr)}
	return d.untilSignal()
}

// dataSections are the parts of a config that a node without LiteFS and mount
// has no use for.
var dataSections = []string{"fence", "litefs", "policy"}

// noteData remembers the first of them, for a witness to refuse: whoever starts
// one on a node that was meant to hold data should hear of it.
func (d *configDecoder) noteData() {
	for _, key := range dataSections {
		if line := d.lines[key]; line != 0 && (d.c.data == nil || line < d.c.data.line) {
			d.c.data = &configError{line, key, fmt.Errorf("a witness has neither LiteFS nor a mount; delete the section, or start this node with `litefence run`")}
		}
	}
}

// startWitness is the wiring of a voter without data.
func (d *daemon) startWitness(context.Context) error {
	d.announce()
	if err := d.openNode(nil, nil); err != nil {
		return err
	}
	if err := d.takePart(nil); err != nil {
		return err
	}
	d.log.Info("witness: a vote, no data", "node", d.cfg.Node)
	return nil
}

func (d *daemon) waitWitness(ctx context.Context) (int, error) {
	select {
	case <-ctx.Done():
		return exitDone, nil
	case err := <-d.node.Fatal():
		return 0, fatalError(err)
	}
}
