package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

func TestEventsKeepsTheLast(t *testing.T) {
	h := newEvents(nil)
	for i := range keptEvents + 50 {
		h.publish(policy.Event{Message: strconv.Itoa(i)})
	}
	kept, w := h.watch(0)
	require.Len(t, kept, keptEvents)
	require.Equal(t, uint64(51), kept[0].ID)
	for i, e := range kept {
		require.Equal(t, uint64(51+i), e.ID)
		require.Equal(t, strconv.Itoa(50+i), e.Message)
		require.False(t, e.Time.IsZero())
	}
	h.publish(policy.Event{Message: "new"})
	require.Equal(t, "new", (<-w.C).Message)
	h.leave(w)
	h.leave(w)
	_, open := <-w.C
	require.False(t, open)

	after := func(id uint64) int {
		kept, w := h.watch(id)
		defer h.leave(w)
		return len(kept)
	}
	require.Equal(t, 1, after(keptEvents+50))
	require.Equal(t, 0, after(keptEvents+51))
	require.Equal(t, keptEvents, after(3), "older than what is kept")
	require.Equal(t, keptEvents, after(99999), "of an earlier process")
}

// Nobody is waited for: a watcher that does not read is dropped.
func TestEventsDropsTheSlow(t *testing.T) {
	h := newEvents(nil)
	_, slow := h.watch(0)
	_, quick := h.watch(0)
	for range watcherBacklog + 1 {
		h.publish(policy.Event{})
		<-quick.C
	}
	n := 0
	for range slow.C {
		n++
	}
	require.Equal(t, watcherBacklog, n, "and its channel ends")
	watching, dropped, last := h.count()
	require.Equal(t, 1, watching)
	require.Equal(t, uint64(1), dropped)
	require.Equal(t, uint64(watcherBacklog+1), last)
	h.close()
	_, open := <-quick.C
	require.False(t, open)
	_, w := h.watch(0)
	require.Nil(t, w)
}

// A real daemon's stream: the status first, the kept events, then each change as
// it comes, and the status at least once a second.
func TestServeEvents(t *testing.T) {
	d := startLive(t)
	require.Eventually(t, func() bool { return d.glance().HasQuorum }, 20*time.Second, 10*time.Millisecond)
	resp := d.watch("")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	in := eventsOf(resp.Body)
	first := <-in
	require.Equal(t, "status", first.event)
	require.Equal(t, "w", fromJSON[statusReply](t, first.data).Node)
	e := fromJSON[policy.Event](t, next(t, in, "change").data)
	require.Equal(t, uint64(1), e.ID, "kept since the start")
	require.Equal(t, "w", e.Node)

	began := time.Now()
	d.node.UpdateHealth(false, "a test")
	for e.Kind != policy.EventHealth {
		got := next(t, in, "change")
		e = fromJSON[policy.Event](t, got.data)
		require.Equal(t, strconv.FormatUint(e.ID, 10), got.id)
	}
	require.Less(t, time.Since(began), time.Second)
	require.Equal(t, "this node is unhealthy, was healthy: a test", e.Message)
	for s := "healthy"; s == "healthy"; {
		s = string(fromJSON[statusReply](t, next(t, in, "status").data).HealthStatus)
	}
	require.Less(t, time.Since(began), time.Second, "the status follows")
	for range 3 {
		began = time.Now()
		next(t, in, "status")
		require.Less(t, time.Since(began), statusEvery+500*time.Millisecond)
	}

	again := eventsOf(d.watch(strconv.FormatUint(e.ID-1, 10)).Body)
	require.Equal(t, e.ID, fromJSON[policy.Event](t, next(t, again, "change").data).ID, "what came after Last-Event-ID")
	bad := d.watch("yesterday")
	require.Equal(t, http.StatusBadRequest, bad.StatusCode)
	d.stop() // ends the streams
	for range in {
	}
}

// Many changes at once do not make as many statuses.
func TestServeEventsIsPaced(t *testing.T) {
	d := startLive(t)
	in := eventsOf(d.watch("").Body)
	next(t, in, "status")
	began, statuses, changes := time.Now(), 0, 0
	for i := range 40 {
		d.events.publish(policy.Event{Message: fmt.Sprint("burst ", i)})
	}
	for changes < 40 || statuses < 2 {
		e := <-in
		if e.event == "status" {
			statuses++
		} else if fromJSON[policy.Event](t, e.data).Kind == "" {
			changes++
		}
	}
	require.LessOrEqual(t, statuses, 2+int(time.Since(began)/statusPause))
}

func TestServeEventsIsBounded(t *testing.T) {
	d := startLive(t)
	for range maxWatchers {
		require.Equal(t, http.StatusOK, d.watch("").StatusCode)
	}
	one := d.watch("")
	require.Equal(t, http.StatusServiceUnavailable, one.StatusCode)
	text, err := io.ReadAll(one.Body)
	require.NoError(t, err)
	require.Contains(t, string(text), "64 clients watch already")
	require.NotEmpty(t, one.Header.Get("Retry-After"))
}

// A client that takes no bytes is dropped, by the time it may take for them.
func TestServeEventsDropsWhoDoesNotRead(t *testing.T) {
	d := startLive(t)
	c, err := net.Dial("tcp", d.cfg.Admin.Listen)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.(*net.TCPConn).SetReadBuffer(4096))
	fmt.Fprintf(c, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
	watching := func() int { n, _, _ := d.events.count(); return n }
	require.Eventually(t, func() bool { return watching() == 1 }, 5*time.Second, 5*time.Millisecond)
	big := policy.Event{Message: string(make([]byte, 200<<10))}
	for range watcherBacklog / 2 { // fewer than it may be behind
		d.events.publish(big)
	}
	require.Eventually(t, func() bool { return watching() == 0 }, adminWriteLimit-2*time.Second, 10*time.Millisecond)
	_, dropped, _ := d.events.count()
	require.Zero(t, dropped)
}

// Those who watch share one status, but never one from before the newest event.
func TestSharedStatus(t *testing.T) {
	d := startLive(t)
	require.Eventually(t, func() bool { return d.glance().HasQuorum }, 20*time.Second, 10*time.Millisecond)
	_, _, last := d.events.count()
	require.NotContains(t, string(d.sharedStatus(t.Context())), "a test")
	d.node.UpdateHealth(false, "a test")
	require.Eventually(t, func() bool { _, _, now := d.events.count(); return now > last }, 5*time.Second, time.Millisecond)
	require.Contains(t, string(d.sharedStatus(t.Context())), "a test")
}
