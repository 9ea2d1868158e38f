# The application of the torture in Python: its own build of SQLite, its own
# way of opening and closing. One job of JSON a line in, one answer a line out;
# the Go half and the meaning of the fields: torture_worker_test.go.
import json
import sqlite3
import sys

# Before Python 3.11 an error has no code, only SQLite's words for it.
WORDS = {"locked": 5, "readonly": 8, "disk I/O": 10, "malformed": 11, "unable to open": 14, "not a database": 26}


def code(err):
    n = getattr(err, "sqlite_errorcode", None)
    if n is not None:
        return n
    return next((c for w, c in WORDS.items() if w in str(err)), 1)


def run(con, job, ans):
    for ans["at"], stmt in enumerate(job["stmts"]):
        rows = con.execute(stmt).fetchall()
        if rows:
            ans["rows"].append(["" if v is None else str(v) for v in rows[0]])


def serve(job, con):
    ans = {"at": -1, "rows": [], "code": 0, "errno": 0, "err": ""}
    try:
        if con is None:
            con = sqlite3.connect(job["db"], timeout=job["busy"] / 1000, isolation_level=None)
            for stmt in job.get("setup") or []:
                con.execute(stmt).fetchall()
        run(con, job, ans)
    except sqlite3.Error as err:
        ans["code"], ans["err"] = code(err), str(err)
        try:
            con.execute("ROLLBACK")
        except (sqlite3.Error, AttributeError):
            pass
    if con is not None and not job.get("keep"):
        con.close()
        con = None
    return ans, con


con = None
for line in sys.stdin:
    answer, con = serve(json.loads(line), con)
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
