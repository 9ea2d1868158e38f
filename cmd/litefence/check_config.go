package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/litefence/litefence/quorum/litefs"
)

// leastDrift is what ordinary clocks that are disciplined by NTP may differ by:
// the kernel lets it slew them by 500 ppm each.
const leastDrift = 0.001

// read parses the config, and reads LiteFS's own where its path is known; what is
// wrong with that one is lookLiteFSConfig's.
func (d *doctor) read(data []byte) error {
	dir, err := filepath.Abs(filepath.Dir(d.path))
	if err != nil {
		return err
	}
	if d.cfg, err = parseConfig(data, dir); err != nil {
		d.cfg = nil
		return err
	}
	// As a witness's, a config without sections of data may be meant for `run`
	// only where it names no LiteFS at all.
	d.witness = d.cfg.data == nil
	l := &d.cfg.LiteFS
	if l.Config == "" {
		l.Config = configFlag(l.Command)
	}
	if s, err := litefs.ReadConfig(l.Config); l.Config != "" && err == nil {
		d.litefs, l.static = &s, s.Static
		if l.DataDir == "" {
			l.DataDir = s.DataDir
		}
	}
	return nil
}

func (d *doctor) lookConfig(context.Context) (found []finding, skipped string) {
	const check = "config"
	if d.cfg.Quorum.Insecure {
		found = append(found, d.warn(check, "issue certificates (`litefence ca`) and set quorum.tls", "quorum.insecure: true: whoever reaches %s can take part and be given the data", d.cfg.Quorum.Listen))
	}
	if d.cfg.Quorum.ClockDrift < leastDrift {
		found = append(found, d.warn(check, "set it to 0.1% at least, or leave it out (1%)", "quorum.clock-drift: %g%% is less than what NTP may make of two good clocks", d.cfg.Quorum.ClockDrift*100))
	}
	if d.witness {
		return found, ""
	}
	if !d.cfg.Fence.Enforce {
		found = append(found, d.warn(check, "delete the line once you trust what it reports", "fence.enforce: false: only observing, no write is refused"))
	}
	return found, ""
}

func (d *doctor) lookLiteFSConfig(context.Context) (found []finding, skipped string) {
	const check = "litefs-config"
	l := d.cfg.LiteFS
	if l.Config == "" {
		if l.DataDir == "" {
			found = append(found, d.err(check, "give LiteFS's config file as litefs.config", "litefs.data-dir: missing"))
		}
		return append(found, d.warn(check, "name it with litefs.config", "LiteFS's config is not known: nothing says that it asks us for its lease, and backs nothing up behind our back")), ""
	}
	look := litefs.CheckConfig
	if l.follows() {
		look = litefs.CheckOwnLease
	}
	_, err := look(l.Config, "http://"+l.LeaseListen)
	for _, e := range apart(err) {
		found = append(found, d.litefsFinding(e))
	}
	if d.litefs != nil {
		for _, e := range apart(d.cfg.fits(*d.litefs)) {
			found = append(found, broken(check, e))
		}
	}
	return found, ""
}

// litefsFinding names the file: its keys could be ours.
func (d *doctor) litefsFinding(err error) finding {
	f := broken("litefs-config", err)
	if errors.Is(err, os.ErrNotExist) {
		f.Mend = "correct litefs.config"
		return f
	}
	// What is wrong and what to do stand together there: "KEY: [is X, ]do Y".
	f.Message = fmt.Sprintf("%s: %s", d.cfg.LiteFS.Config, f.Message)
	return f
}

// apart takes joined errors apart, also inside of one that names their file.
func apart(err error) []error {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if j, ok := e.(interface{ Unwrap() []error }); ok {
			return j.Unwrap()
		}
	}
	if err == nil {
		return nil
	}
	return []error{err}
}
