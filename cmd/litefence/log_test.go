package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/quorum"
)

func TestLogFormats(t *testing.T) {
	var text, lines bytes.Buffer
	for _, l := range []*slog.Logger{newLogger(LogConfig{Level: "info", Format: "text"}, &text), newLogger(LogConfig{Level: "info", Format: "json"}, &lines)} {
		l.Debug("hidden")
		l.Log(context.Background(), quorum.LevelCritical, "split-brain: x", "term", 7)
		l.Error("an error", "took", 1500*time.Millisecond)
	}
	require.Contains(t, lines.String(), `"took":"1.5s"`)
	require.Contains(t, text.String(), `level=CRITICAL msg="split-brain: x" term=7`)
	require.Contains(t, text.String(), `level=ERROR msg="an error" took=1.5s`)
	require.NotContains(t, text.String(), "hidden")
	dec := json.NewDecoder(&lines)
	for _, want := range []string{"CRITICAL", "ERROR"} {
		var l struct {
			Level, Msg string
			Term       int
		}
		require.NoError(t, dec.Decode(&l))
		require.Equal(t, want, l.Level)
	}
	require.False(t, dec.More())
}

// At each level what is above passes; critical always does.
func TestLogLevels(t *testing.T) {
	for level, want := range map[string]int{"debug": 5, "info": 4, "warn": 3, "error": 2} {
		var b bytes.Buffer
		l := newLogger(LogConfig{Level: level, Format: "json"}, &b)
		for _, at := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError, quorum.LevelCritical} {
			l.Log(context.Background(), at, "x")
		}
		require.Equal(t, want, bytes.Count(b.Bytes(), []byte("\n")), level)
	}
}
