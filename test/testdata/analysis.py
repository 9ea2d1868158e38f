"""A program against the split-brain analysis: it knows its ports, its JSON and
its metrics by their names, and nothing else of litefence. Standard library only.

    analysis.py watch BASE       what the node at BASE says, a line of JSON for each
                                 change and one a second, until it is ended
    analysis.py fence DIR        .primary -> .primary.blocked in the mount DIR
    analysis.py framework DB N   N connections with a web framework's habits
"""
import json
import os
import re
import sqlite3
import sys
import time
import urllib.error
import urllib.request


def get(url):
    """Status and text; an error status is an answer, too."""
    try:
        with urllib.request.urlopen(url, timeout=2) as r:
            return r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


class SplitBrainDetectorPort:
    def __init__(self, base):
        self.base = base

    def status(self):
        return json.loads(get(self.base + "/v1/status")[1])

    def has_quorum(self):
        return self.status()["has_quorum"]

    def can_commit_writes(self):
        return self.status()["can_commit_writes"]

    def detect_stale_leadership(self):
        return self.status()["stale_leadership"]

    def last_heartbeat_from(self, node):
        age = self.status()["last_heartbeat_from"].get(node)
        return float("inf") if age is None else age


class HealthStatePort:
    KEYS = {"node_id", "is_leader", "is_primary", "node_state", "has_quorum", "can_commit_writes",
            "split_brain_detected", "state", "health_status", "health", "error"}

    def __init__(self, base):
        self.base = base

    def health(self):
        code, text = get(self.base + "/health/status")
        if code != 200:
            raise SystemExit("/health/status answered %d: a detector would not read it" % code)
        h = json.loads(text)
        if set(h) != self.KEYS or set(h["health"]) != {"is_healthy", "last_check", "reason"}:
            raise SystemExit("/health/status has other keys: %s" % sorted(h))
        if h["node_state"] not in ("PRIMARY", "REPLICA") or h["state"] not in (
                "healthy", "split_brain_detected", "resolved", "failed"):
            raise SystemExit("/health/status: %s" % text)
        return h

    def ready(self):
        code, text = get(self.base + "/health/ready")
        r = json.loads(text)
        if (code == 503) != (not r["is_ready"]) or code not in (200, 503):
            raise SystemExit("/health/ready: %d %s" % (code, text))
        return r

    def live(self):
        code, text = get(self.base + "/health/live")
        return code == 200 and json.loads(text)["is_live"]


def metrics(base):
    """The four of the analysis; the histogram by its count."""
    code, text = get(base + "/metrics")
    if code != 200:
        raise SystemExit("/metrics answered %d" % code)
    found = {}
    for name, value in re.findall(r"^(litefs_\w+)(?:\{[^}]*\})? (\S+)$", text, re.M):
        if not name.endswith(("_bucket", "_sum")):
            found[name] = found.get(name, 0) + float(value)
    return found


def watch(base):
    detector, reporter = SplitBrainDetectorPort(base), HealthStatePort(base)
    last, said = None, 0
    while True:
        asked = time.monotonic()
        try:
            h = reporter.health()
            now = {k: h[k] for k in ("node_id", "is_primary", "node_state", "has_quorum",
                                     "can_commit_writes", "split_brain_detected", "state")}
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)  # not up yet
            continue
        if now != last or time.monotonic() - said > 1:
            s = detector.status()
            ready = reporter.ready()
            line = dict(now, asked=asked, answered=time.monotonic(), live=reporter.live(), is_ready=ready["is_ready"],
                        can_accept_writes=ready["can_accept_writes"], stale=s["stale_leadership"],
                        heartbeats=s["last_heartbeat_from"], metrics=metrics(base))
            print(json.dumps(line), flush=True)
            last, said = now, time.monotonic()
        time.sleep(0.01)


def fence(mount):
    """fence_write_access() as the analysis has it."""
    os.rename(os.path.join(mount, ".primary"), os.path.join(mount, ".primary.blocked"))
    if os.path.exists(os.path.join(mount, ".primary")):
        raise SystemExit(".primary is still there")
    print(open(os.path.join(mount, ".primary.blocked")).read(), end="")


def framework(path, n):
    """Each new connection sets its journal mode, tries whether it could write, and
    then only reads."""
    for _ in range(n):
        c = sqlite3.connect(path, timeout=5, isolation_level=None)
        mode = c.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise SystemExit("journal_mode is " + mode)
        c.execute("BEGIN IMMEDIATE")
        c.execute("COMMIT")
        rows = c.execute("SELECT count(*) FROM acked").fetchone()[0]
        if c.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
            raise SystemExit("integrity_check")
        c.close()
    print(rows)


if __name__ == "__main__":
    if sys.argv[1] == "watch":
        watch(sys.argv[2])
    elif sys.argv[1] == "fence":
        fence(sys.argv[2])
    elif sys.argv[1] == "framework":
        framework(sys.argv[2], int(sys.argv[3]))
