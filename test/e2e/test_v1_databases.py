#!/usr/bin/env python3
"""db=N over HTTP: each database by every route, one data model with the other door."""

import json

from quernd import Server, equal, main, request, test
from v1 import batch, is_problem, lines_of


def ask_all(w, asks):
    for method, target, body, status in asks:
        r = w.ask(method, target, body)
        equal(r.status, status, (method, target, r))
    return r


@test
def what_one_door_writes_into_a_database_the_other_reads_there_and_nowhere_else():
    with Server("--durability", "os") as s, s.connect() as w, s.resp() as r:
        for n in (0, 3, 15):
            db = f"db={n}"
            ask_all(w, [("PUT", f"/v1/kv/put?{db}", b"%d" % n, 201), ("POST", f"/set?key=plain&value={n}&{db}", None, 200),
                        ("POST", f"/v1/kv/incr?op=incr&by={n + 1}&{db}", None, 200), ("POST", f"/v1/kv/app?op=append&{db}", b"x%d" % n, 200),
                        ("POST", f"/v1/kv/gs?op=getset&{db}", b"g%d" % n, 204), ("POST", f"/v1/kv/gs?op=touch&ttl=1h&{db}", None, 200)])
            equal(batch(w, {"op": "check", "key": "b", "exists": False}, {"op": "put", "key": "b", "value": f"b{n}"}, more=f"?{db}").status, 200)
            equal(batch(w, {"op": "check", "key": "b", "exists": False}, more=f"?{db}").status, 409)
            found = json.loads(batch(w, {"op": "get", "key": "b"}, more=f"?{db}").body)["results"][0]["item"]["value"]
            equal(found, f"b{n}")
        for n in range(16):
            equal(r.call("SELECT", n), "OK")
            want = [b"%d" % n, b"%d" % n, b"%d" % (n + 1), b"x%d" % n, b"g%d" % n, b"b%d" % n] if n in (0, 3, 15) else [None] * 6
            equal(r.call("MGET", "put", "plain", "incr", "app", "gs", "b"), want, n)
            r.call("SET", "theirs", n)
            equal(w.ask("GET", f"/v1/kv/theirs?db={n}").body, b"%d" % n)
            equal(w.ask("GET", f"/get?key=theirs&db={n}").body, b"%d" % n)
        ask_all(w, [("DELETE", "/v1/kv/put?db=3", None, 204), ("DELETE", "/v1/kv/put?db=3", None, 404), ("DELETE", "/del?key=plain&db=3", None, 200),
                    ("DELETE", "/del?key=plain&db=3", None, 404), ("GET", "/v1/kv/put", None, 200), ("GET", "/v1/kv/put?db=15", None, 200),
                    ("GET", "/get?key=plain", None, 200)])
        r = w.ask("PUT", "/v1/kv/new%20one?db=7", b"v")
        equal((r.status, r.fields["location"]), (201, "/v1/kv/new%20one?db=7"))
        equal(w.ask("GET", r.fields["location"]).body, b"v")
        equal(w.ask("PUT", "/v1/kv?key=..&db=7", b"v").fields["location"], "/v1/kv?key=..&db=7")


@test
def pipelined_writes_go_each_to_its_own_database():
    with Server("--durability", "os") as s, s.connect() as w:
        w.send(b"".join(request("POST", f"/set?key=k&value={n}&db={n}") + request("DELETE", f"/del?key=gone&db={n}") for n in range(16)))
        for n in range(16):
            equal((w.read().status, w.read().status), (200, 404))
        for n in range(16):
            equal(w.ask("GET", f"/get?key=k&db={n}").body, b"%d" % n)


@test
def what_lies_on_disk_is_fetched_from_its_own_database():
    with Server("--durability", "os", "--memory", "1M") as s, s.connect() as w:
        for n in (0, 5):
            for at in range(0, 4000, 500):
                equal(batch(w, *({"op": "put", "key": f"k{i:05}", "value": f"{n}" * 1000} for i in range(at, at + 500)), more=f"?db={n}").status, 200)
        equal(w.ask("POST", "/v1/admin/flush?wait").status, 200)
        for i in range(0, 4000, 97):
            for n in (5, 0):
                equal(w.ask("GET", f"/v1/kv/k{i:05}?db={n}").body, b"%d" % n * 1000)
                equal(w.ask("PUT", f"/v1/kv/k{i:05}?db={n}", b"%d" % n * 1000).status, 204)
                equal(w.ask("POST", f"/v1/kv/k{i:05}?op=append&db={n}", b"").status, 200)


@test
def a_range_is_listed_counted_and_deleted_in_its_database():
    with Server("--durability", "os") as s, s.connect() as w:
        for n in (0, 9):
            for i in range(30):
                w.ask("PUT", f"/v1/kv/{n}-{i:02}?db={n}", b"v")
        page = json.loads(w.ask("GET", "/v1/keys?db=9&limit=20").body)
        equal([i["key"] for i in page["items"]], [f"9-{i:02}" for i in range(20)])
        page = json.loads(w.ask("GET", f"/v1/keys?db=9&cursor={page['cursor']}").body)
        equal([i["key"] for i in page["items"]], [f"9-{i:02}" for i in range(20, 30)])
        equal(json.loads(w.ask("GET", "/v1/keys?db=8&count").body)["count"], 0)
        snapshot = json.loads(w.ask("POST", "/v1/snapshots").body)["id"]
        equal(json.loads(w.ask("DELETE", "/v1/keys?db=9&all=true").body)["deleted"], 30)
        equal(json.loads(w.ask("GET", "/v1/keys?db=9&count").body)["count"], 0)
        equal(json.loads(w.ask("GET", "/v1/keys?count").body)["count"], 30)
        equal(json.loads(w.ask("GET", f"/v1/keys?db=9&count&snapshot={snapshot}").body)["count"], 30)
        equal(w.ask("GET", f"/v1/kv/9-00?db=9&snapshot={snapshot}").status, 200)


@test
def all_databases_are_exported_as_a_dump_and_imported_each_to_its_place():
    with Server("--durability", "os") as s, s.connect() as w:
        for n in (0, 2, 15):
            for i in range(1000):
                w.send(request("POST", f"/set?key={n}-{i}&value={n}&db={n}"))
            for i in range(1000):
                equal(w.read().status, 200)
        dump = w.ask("GET", "/v1/export?all=true")
        lines = lines_of(dump)
        equal([line.get("database", 0) for line in lines[:-1]], [0] * 1000 + [2] * 1000 + [15] * 1000)
        equal(lines[-1]["count"], 3000)
        one = lines_of(w.ask("GET", "/v1/export?db=2"))
        equal((len(one), {line.get("database") for line in one[:-1]}), (1001, {2}))
        equal(len(lines_of(w.ask("GET", "/v1/export"))), 1001)
        with Server("--durability", "os") as other, other.connect() as o:
            told = lines_of(o.ask("POST", "/v1/import", dump.body))
            equal((told[-1]["imported"], told[-1]["errors"], told[-1]["verified"]), (3000, 0, True))
            equal(o.ask("GET", "/v1/export?all=true").body.splitlines()[:-1], dump.body.splitlines()[:-1])
            o.ask("POST", "/v1/import?db=4", dump.body)
            equal(json.loads(o.ask("GET", "/v1/keys?count&db=4").body)["count"], 3000)


@test
def a_database_that_is_none_is_refused_before_anything_is_done():
    with Server("--durability", "os") as s, s.connect() as w:
        for db in ("16", "-1", "x", "", "+1", "01", "1&db=2"):
            for method, target in (("PUT", "/v1/kv/k?"), ("GET", "/v1/keys?"), ("DELETE", "/v1/keys?prefix=k&"), ("GET", "/v1/export?"), ("POST", "/set?key=k&value=v&")):
                with s.connect() as one:
                    r = one.ask(method, f"{target}db={db}", b"v" if method == "PUT" else None)
                equal(r.status, 400, (method, target, db, r))
        is_problem(w.ask("GET", "/v1/export?all=true&db=1"), 400, "bad_parameter")
        is_problem(w.ask("GET", "/v1/admin/limits?db=1"), 400, "unknown_parameter")
        equal(w.ask("GET", "/v1/kv/k").status, 404)


if __name__ == "__main__":
    main()
