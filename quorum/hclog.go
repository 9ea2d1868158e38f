package quorum

import (
	"context"
	"io"
	"log"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// bridge makes raft's logger write to log. Raft repeats some lines with every
// heartbeat while a peer is silent; litefence reports that itself, once, so
// raft's warnings and errors are logged one level lower than it says.
func bridge(log *slog.Logger, name string) hclog.Logger {
	return &hclogBridge{log: log.With("component", name), name: name}
}

type hclogBridge struct {
	log  *slog.Logger
	name string
	args []any
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
	if !b.log.Enabled(context.Background(), lv) {
		return
	}
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			args[i] = f[0]
		}
	}
	b.log.Log(context.Background(), lv, msg, args...)
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
	return &hclogBridge{log: b.log.With(args...), name: b.name, args: append(b.args, args...)}
}
func (b *hclogBridge) Name() string { return b.name }
func (b *hclogBridge) Named(name string) hclog.Logger {
	return &hclogBridge{log: b.log.With("sub", name), name: b.name + "." + name, args: b.args}
}
func (b *hclogBridge) ResetNamed(name string) hclog.Logger {
	return &hclogBridge{log: b.log.With("component", name), name: name, args: b.args}
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
