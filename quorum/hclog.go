package quorum

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// bridge makes raft's logger write to log, one level lower than raft says:
// litefence reports by itself what an operator should know. While a peer is
// silent raft says so with every heartbeat and every election; after the first
// time that is for debugging only.
func bridge(log *slog.Logger, name string) hclog.Logger {
	return &hclogBridge{log: log.With("component", name), name: name, said: &saidOnce{at: map[string]time.Time{}}}
}

type hclogBridge struct {
	log  *slog.Logger
	name string
	args []any
	said *saidOnce
}

const (
	// saidAgain is how long the same line is not said again.
	saidAgain = 5 * time.Minute
	maxSaid   = 256
)

// saidOnce remembers which lines were said, and when.
type saidOnce struct {
	mu sync.Mutex
	at map[string]time.Time
}

// again reports whether the line was said within saidAgain, and notes it if not.
func (s *saidOnce) again(line string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if at, ok := s.at[line]; ok && now.Sub(at) < saidAgain {
		return true
	}
	if len(s.at) >= maxSaid {
		clear(s.at)
	}
	s.at[line] = now
	return false
}

// attrs makes slog's of raft's arguments. A key that slog has for itself would
// stand twice in a line: raft says "time" of a duration.
func attrs(args []any) []any {
	out := slices.Clone(args)
	for i, a := range out {
		switch v := a.(type) {
		case hclog.Format:
			if len(v) > 0 {
				out[i] = v[0]
			}
		case string:
			if i%2 == 1 {
				continue
			}
			switch v = strings.ReplaceAll(v, " ", "_"); v {
			case slog.TimeKey, slog.LevelKey, slog.MessageKey, "component":
				v = "raft_" + v
			}
			out[i] = v
		}
	}
	return out
}

// about is what a line of raft's is about: its text and the peer that it names,
// without times, ports and counts, which differ each time.
func about(msg string, args []any) string {
	for i := 0; i+1 < len(args); i += 2 {
		switch args[i] {
		case "peer", "server-id", "target", "id":
			msg += fmt.Sprintf(" %v", args[i+1])
		}
	}
	return msg
}

var _ hclog.Logger = (*hclogBridge)(nil)

func slogLevel(l hclog.Level) slog.Level {
	switch l {
	case hclog.Error, hclog.Warn:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

func (b *hclogBridge) Log(l hclog.Level, msg string, args ...any) {
	lv := slogLevel(l)
	if lv > slog.LevelDebug && b.said.again(about(msg, args)) {
		lv = slog.LevelDebug
	}
	if !b.log.Enabled(context.Background(), lv) {
		return
	}
	b.log.Log(context.Background(), lv, msg, attrs(args)...)
}

func (b *hclogBridge) Trace(msg string, args ...any) { b.Log(hclog.Trace, msg, args...) }
func (b *hclogBridge) Debug(msg string, args ...any) { b.Log(hclog.Debug, msg, args...) }
func (b *hclogBridge) Info(msg string, args ...any)  { b.Log(hclog.Info, msg, args...) }
func (b *hclogBridge) Warn(msg string, args ...any)  { b.Log(hclog.Warn, msg, args...) }
func (b *hclogBridge) Error(msg string, args ...any) { b.Log(hclog.Error, msg, args...) }

func (b *hclogBridge) IsTrace() bool { return b.IsDebug() }
func (b *hclogBridge) IsDebug() bool {
	return b.log.Enabled(context.Background(), slog.LevelDebug)
}
func (b *hclogBridge) IsInfo() bool  { return b.IsDebug() }
func (b *hclogBridge) IsWarn() bool  { return b.log.Enabled(context.Background(), slog.LevelInfo) }
func (b *hclogBridge) IsError() bool { return b.IsWarn() }

func (b *hclogBridge) ImpliedArgs() []any { return b.args }
func (b *hclogBridge) With(args ...any) hclog.Logger {
	return &hclogBridge{log: b.log.With(attrs(args)...), name: b.name, args: append(b.args, args...), said: b.said}
}
func (b *hclogBridge) Name() string { return b.name }
func (b *hclogBridge) Named(name string) hclog.Logger {
	return &hclogBridge{log: b.log.With("sub", name), name: b.name + "." + name, args: b.args, said: b.said}
}
func (b *hclogBridge) ResetNamed(name string) hclog.Logger {
	return &hclogBridge{log: b.log.With("sub", name), name: name, args: b.args, said: b.said}
}
func (b *hclogBridge) SetLevel(hclog.Level) {}
func (b *hclogBridge) GetLevel() hclog.Level {
	if b.IsDebug() {
		return hclog.Debug
	}
	return hclog.Info
}
func (b *hclogBridge) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(b.log.Handler(), slog.LevelDebug)
}
func (b *hclogBridge) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return b.StandardLogger(nil).Writer()
}
