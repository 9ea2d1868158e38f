"""An application process: one order per line of JSON, one answer per line."""
import json
import sqlite3
import sys

conns = {}


def obey(order):
    op, name, arg = order["op"], order.get("conn"), order.get("arg")
    if op == "open":
        # isolation_level None: what is executed is what was ordered.
        conns[name] = sqlite3.connect(arg, timeout=5, isolation_level=None)
        return {}
    if op == "close":
        if name in conns:
            conns.pop(name).close()
        return {}
    rows = conns[name].execute(arg).fetchall()
    return {"rows": [[str(v) for v in row] for row in rows]}


for line in sys.stdin:
    try:
        answer = obey(json.loads(line))
    except sqlite3.Error as e:
        answer = {"err": f"{type(e).__name__}: {e}"}
    print(json.dumps(answer), flush=True)
