package main

import (
	"io"
	"log/slog"

	"github.com/litefence/litefence/quorum"
)

func newLogger(c LogConfig, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo // the config's check lets only known levels pass
	}
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: readable}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// readable names the level above slog's own, and writes durations as the config
// does: in JSON they would be nanoseconds.
func readable(_ []string, a slog.Attr) slog.Attr {
	if l, ok := a.Value.Any().(slog.Level); ok && a.Key == slog.LevelKey && l >= quorum.LevelCritical {
		a.Value = slog.StringValue("CRITICAL")
	}
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}
