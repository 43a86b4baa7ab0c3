#!/usr/bin/env python3
"""What an operator asks for over HTTP, and what he may look at: jobs, checkpoints, tables, events,
clients, limits."""

import json
import os
import shutil

from quernd import Server, equal, main, request, test, until
from v1 import fill, get, is_problem, put


def look(w, what):
    r = w.ask("GET", f"/v1/admin/{what}")
    equal((r.status, r.fields["content-type"], r.fields["cache-control"]), (200, "application/json", "no-store"), r)
    return json.loads(r.body)


def ended(w, place):
    until(lambda: json.loads(w.ask("GET", place).body)["state"] in ("done", "failed"), "the job ends")
    return json.loads(w.ask("GET", place).body)


@test
def jobs_are_told_of_while_they_run_and_after():
    with Server("--durability", "os") as s, s.connect() as w:
        fill(w, 3000)
        equal(look(w, "levels")["memdb"]["entries"], 3000)
        for kind in ("flush", "compact", "verify"):
            r = w.ask("POST", f"/v1/admin/{kind}")
            equal(r.status, 202, r)
            place = r.fields["location"]
            equal(place, f"/v1/admin/jobs/{json.loads(r.body)['id']}")
            told = ended(w, place)
            equal((told["kind"], told["state"]), (kind, "done"))
            assert told["queued_at"] <= told["started_at"] <= told["ended_at"]
            assert told["done_bytes"] == told["total_bytes"] or kind == "compact", told
            r = w.ask("POST", f"/v1/admin/{kind}?wait=true")
            equal((r.status, json.loads(r.body)["state"]), (200, "done"), r)
            equal(w.ask("GET", r.fields["location"]).body, r.body)
        levels = look(w, "levels")
        equal((levels["memdb"]["entries"], sum(x["entries"] for x in levels["levels"])), (0, 3000))
        jobs = look(w, "jobs")["jobs"]
        equal([(j["id"], j["kind"]) for j in jobs], [(6, "verify"), (5, "verify"), (4, "compact"), (3, "compact"), (2, "flush"), (1, "flush")])
        result = jobs[0]["result"]
        equal((result["sound"], result["damage_count"], result["damages"]), (True, 0, []))
        assert result["entries"] == 3000 and jobs[2]["result"]["table_bytes_after"] > 0
        told = json.loads(w.ask("POST", "/v1/admin/compact?wait&prefix=k00").body)
        equal((told["state"], told["db"], told["prefix"]), ("done", 0, "k00"))
        told = json.loads(w.ask("POST", "/v1/admin/compact?wait&db=3").body)
        equal((told["state"], told["db"], told.get("prefix")), ("done", 3, None))
        for i in range(70):
            equal(w.ask("POST", "/v1/admin/flush?wait=1").status, 200)
        equal([j["id"] for j in look(w, "jobs")["jobs"]], list(range(78, 14, -1)))
        for place in ("7", "0", "-1", "x", "", "078", "99999999999999999999"):
            is_problem(w.ask("GET", f"/v1/admin/jobs/{place}"), 404, "no_such_job")
        for target, code in (("flush?prefix=k", "unknown_parameter"), ("verify?prefix=k", "unknown_parameter"), ("flush?wait=maybe", "bad_parameter"),
                             ("compact?prefix=%zz", "bad_percent_encoding"), ("compact?db=16", "bad_parameter"), ("compact?wait&wait", "duplicate_parameter")):
            is_problem(w.ask("POST", f"/v1/admin/{target}"), 400, code)


@test
def a_job_holds_no_loop_and_a_second_of_its_kind_is_not_begun():
    with Server("--durability", "os", "--loops", "1", "--compact-interval", "3600s") as s, s.connect() as w, s.connect() as other:
        fill(w, 20000, "v" * 400)
        w.ask("POST", "/v1/admin/flush?wait")
        # Pipelined, so that the second is asked while the first is at work or queued behind another.
        w.send(request("POST", "/v1/admin/verify") + request("POST", "/v1/admin/compact") * 2 + request("GET", "/v1/kv/k000007"))
        replies = [w.read() for _ in range(4)]
        equal([r.status for r in replies], [202, 202, 409, 200])
        is_problem(replies[2], 409, "job_running")
        equal(replies[2].fields["location"], replies[1].fields["location"])
        equal(get(other, "k000007").status, 200)
        equal(ended(w, replies[1].fields["location"])["state"], "done")
        # One that waits does not keep its connection's other requests from their turn, behind it.
        w.send(request("POST", "/v1/admin/compact?wait") + request("GET", "/healthz"))
        equal([w.read().status for _ in range(2)], [200, 200])
        # A client that does not wait for the end of what it waits for.
        with s.connect() as gone:
            gone.send(request("POST", "/v1/admin/verify?wait"))
        equal(get(w, "k000007").status, 200)
        equal(s.stop(), 0)
    with Server("--durability", "os") as s:  # the end of the server is the end of what is queued
        with s.connect() as w:
            fill(w, 8000, "v" * 400)
            w.send(request("POST", "/v1/admin/compact") + request("POST", "/v1/admin/verify") + request("POST", "/v1/admin/flush?wait"))
            equal(s.stop(), 0)
        assert "all data is safe on disk" in s.stdout()


@test
def a_checkpoint_lies_beside_the_store_and_opens():
    with Server("--durability", "os") as s, s.connect() as w:
        fill(w, 100)
        put(w, "k", b"before")
        r = w.ask("POST", "/v1/admin/checkpoint?dir=one")
        equal(r.status, 201, r)
        told = json.loads(r.body)
        place = told["result"]["dir"]
        equal(place, os.path.realpath(s.data) + ".checkpoints/one")
        equal((told["kind"], told["state"]), ("checkpoint", "done"))
        put(w, "k", b"after")
        is_problem(w.ask("POST", "/v1/admin/checkpoint?dir=one"), 409, "checkpoint_exists")
        equal(look(w, "jobs")["jobs"][0]["state"], "failed")
        for name in ("", ".", "..", "../x", "a/b", "/etc/x", ".hidden", "-x", "a%00b", "a+b", "a%2Fb", "%FF", "x" * 65, "a%5Cb", "a%0A"):
            is_problem(w.ask("POST", f"/v1/admin/checkpoint?dir={name}"), 400, "bad_parameter")
        is_problem(w.ask("POST", "/v1/admin/checkpoint"), 400, "missing_parameter")
        equal(w.ask("POST", "/v1/admin/checkpoint?dir=" + "x" * 64).status, 201)
        equal(w.ask("POST", "/v1/admin/checkpoint?dir=a..b").status, 201)
        equal(sorted(os.listdir(os.path.dirname(place))), ["a..b", "one", "x" * 64])
        with Server("--durability", "os", data=place) as copy, copy.connect() as v:
            equal(get(v, "k").body, b"before")
        equal(get(w, "k").body, b"after")
        shutil.rmtree(os.path.dirname(place))


@test
def damage_is_what_a_verify_finds_and_no_failure_of_it():
    with Server("--durability", "os") as s, s.connect() as w:
        fill(w, 5000)
        w.ask("POST", "/v1/admin/flush?wait")
        tables = look(w, "files")["tables"]
        name = os.path.join(s.data, tables[0]["file"])
        with open(name, "r+b") as f:
            f.seek(tables[0]["bytes"] // 2)
            f.write(b"damage")
        r = w.ask("POST", "/v1/admin/verify?wait")
        told = json.loads(r.body)
        equal((r.status, told["state"], told["result"]["sound"]), (200, "done", False))
        assert told["result"]["damage_count"] >= 1
        found = told["result"]["damages"][0]
        equal((found["file"], found["lost"]), (tables[0]["file"], True))
        assert found["offset"] > 0 and found["what"]


@test
def tables_and_events_are_told():
    with Server("--durability", "os") as s, s.connect() as w:
        fill(w, 2000)
        put(w, b"\xff\xfe", b"x", "?ttl=1h")
        w.ask("DELETE", "/v1/kv/k000001")
        equal(look(w, "files"), {"tables": []})
        w.ask("POST", "/v1/admin/flush?wait")
        tables = look(w, "files")["tables"]
        equal((len(tables), tables[0]["first_key"], tables[0]["last_key_b64"], tables[0]["expiring"]), (1, "k000000", "//4=", 1))
        assert os.path.getsize(os.path.join(s.data, tables[0]["file"])) == tables[0]["bytes"]
        equal((tables[0]["first_database"], tables[0]["last_database"]), (0, 0))
        equal((tables[0]["entries"], tables[0]["tombstones"]), (2000, 0))
        level = look(w, "levels")["levels"][tables[0]["level"]]
        equal((level["tables"], level["bytes"], level["entries"]), (1, tables[0]["bytes"], tables[0]["entries"]))
        events = look(w, "events")["events"]
        equal([e["id"] for e in events], list(range(1, len(events) + 1)))
        equal(events[0]["kind"], "opened")
        flushed = [e for e in events if e["kind"] == "flushed"]
        assert len(flushed) == 1 and flushed[0]["bytes_out"] > 0 and "entries" in flushed[0]["text"], events
        for _ in range(300):
            put(w, "again", b"x")
            w.ask("POST", "/v1/admin/flush?wait")
        events = look(w, "events")["events"]
        equal(len(events), 256)
        equal([e["id"] for e in events], list(range(events[0]["id"], events[0]["id"] + 256)))


@test
def clients_of_all_loops_and_doors_are_told():
    with Server("--durability", "os", "--loops", "3") as s:
        many = [s.connect() for _ in range(7)]
        redis = s.resp()
        equal(redis.call("PING"), "PONG")
        for w in many:
            equal(w.ask("GET", "/healthz").status, 200)
        clients = look(many[0], "clients")["clients"]
        equal(len(clients), 8)
        equal({c["peer"] for c in clients}, {"127.0.0.1:%d" % w.socket.getsockname()[1] for w in [*many, redis]})
        equal(sorted(c["protocol"] for c in clients), ["http"] * 7 + ["resp"])
        equal({c["loop"] for c in clients}, {0, 1, 2})
        # Asked by all at once, and by some that do not wait for the answer.
        for w in many:
            w.send(request("GET", "/v1/admin/clients") * 5 + request("GET", "/healthz"))
        many.pop().socket.close()
        for w in many:
            for _ in range(5):
                assert len(json.loads(w.read().body)["clients"]) >= 7
            equal(w.read().body, b"ok\n")
        for w in [*many, redis]:
            w.socket.close()


@test
def limits_are_those_that_hold():
    with Server("--max-value", "1K", "--max-connections", "50", "--header-timeout", "3s", "--idle-timeout", "4s", "--drain-timeout", "5s") as s:
        with s.connect() as w:
            told = look(w, "limits")
            equal((told["value_bytes_max"], told["connections_max"], told["header_timeout_ms"], told["idle_timeout_ms"], told["drain_timeout_ms"]),
                  (1024, 50, 3000, 4000, 5000))
            equal(put(w, "k", b"x" * told["value_bytes_max"]).status, 201)
        with s.connect() as w:
            is_problem(put(w, "k", b"x" * (told["value_bytes_max"] + 1)), 413, "value_too_large")
        with s.connect() as w:
            most = told["request_line_bytes_max"]
            equal(w.ask("GET", "/v1/kv/" + "k" * (most - len("GET /v1/kv/ HTTP/1.1"))).status, 404)
            equal(w.ask("GET", "/v1/kv/" + "k" * (most - len("GET /v1/kv/ HTTP/1.1") + 1)).status, 414)
        with s.connect() as w:
            equal(w.ask("GET", f"/v1/keys?limit={told['page_entries_max']}&max_scan_ms={told['scan_ms_max']}").status, 200)
            equal(w.ask("GET", f"/v1/keys?limit={told['page_entries_max'] + 1}").status, 400)
            equal(w.ask("GET", f"/v1/keys?max_scan_ms={told['scan_ms_max'] + 1}").status, 400)
            ops = [{"op": "delete", "key": "k"}] * (told["batch_ops_max"] + 1)
            equal(w.ask("POST", "/v1/batch", json.dumps({"ops": ops[1:]}).encode()).status, 200)
            equal(w.ask("POST", "/v1/batch", json.dumps({"ops": ops}).encode()).status, 422)
            w.send(request("POST", "/v1/batch", fields=[("Content-Length", told["batch_bytes_max"] + 1)]))
            equal(w.read().status, 413)


@test
def the_root_tells_what_there_is():
    with Server() as s, s.connect() as w:
        told = json.loads(w.ask("GET", "/").body)
        equal((told["name"], told["api"]), ("quernd", "/v1/openapi.json"))
        equal(told["routes"]["/v1/kv/{key}"], ["GET", "HEAD", "PUT", "DELETE", "POST"])
        equal(w.ask("DELETE", "/").status, 405)


if __name__ == "__main__":
    main()
