#!/usr/bin/env python3
"""What is longer than memory should hold: exports, imports, listings as lines, and the snapshots that
keep them of one moment."""

import json
import os
import socket
import subprocess
import tempfile

from quernd import Server, equal, is_watched, main, quote, request, seeded, test, until
from v1 import LINES, bytes_of, figures, fill, get, is_problem, lines_of, list_all, put

# ---------------------------------------------------------------- export


@test
def an_export_is_a_dump_of_one_moment_that_proves_itself():
    rng = seeded()
    with Server("--durability", "os") as s, s.connect() as w:
        keep = {rng.randbytes(rng.randint(1, 20)): rng.randbytes(rng.choice([0, 3, 50, 3000])) for _ in range(800)}
        keep |= {b"plain": b"text\n\"quoted\"", "grün".encode(): "€".encode()}
        for key, value in keep.items():
            put(w, key, value)
        put(w, "ends", b"", "?expires_at=2100-01-02T03:04:05.678Z")
        r = w.ask("GET", "/v1/export")
        told = lines_of(r)
        equal(told[-1]["end"], True)
        equal((told[-1]["count"], str(told[-1]["rev"])), (len(keep) + 1, r.fields["quern-rev"]))
        got = {bytes_of(x, "key"): bytes_of(x, "value") for x in told[:-1]}
        equal(got, {**keep, b"ends": b""})
        equal([bytes_of(x, "key") for x in told[:-1]], sorted(got))
        equal([x["expires_ms"] for x in told if "expires_ms" in x], [4102542245678])
        equal(w.ask("HEAD", "/v1/export").status, 200)
        equal(w.ask("GET", "/healthz").status, 200, "the connection goes on")
        # The command takes it for a dump, and so does another server.
        with tempfile.TemporaryDirectory(prefix="quern-e2e-") as there:
            done = subprocess.run([os.environ["QUERN"], "--db", f"{there}/copy", "load", "-"], input=r.body, check=False,
                                  capture_output=True)
            equal((done.returncode, done.stderr), (0, b""))
            done = subprocess.run([os.environ["QUERN"], "--db", f"{there}/copy", "dump"], check=True, capture_output=True)
            equal(done.stdout.splitlines()[:-1], r.body.splitlines()[:-1])
            equal(json.loads(done.stdout.splitlines()[-1])["xxh3"], told[-1]["xxh3"])
            with Server("--durability", "os") as other, other.connect() as v:
                end = lines_of(v.ask("POST", "/v1/import", done.stdout))[-1]
                equal((end["imported"], end["errors"], end["verified"]), (len(got), 0, True))
                equal(v.ask("GET", "/v1/export").body.splitlines()[:-1], r.body.splitlines()[:-1])
        # Parts of it.
        some = sorted(got)[100:200]
        told = lines_of(w.ask("GET", f"/v1/export?start={quote(some[0])}&end={quote(some[-1])}"))
        equal([bytes_of(x, "key") for x in told[:-1]], some[:-1])
        told = lines_of(w.ask("GET", "/v1/export?prefix=plain"))
        equal(([x["key"] for x in told[:-1]], told[-1]["count"]), (["plain"], 1))
        equal(lines_of(w.ask("GET", "/v1/export?prefix=none"))[-1]["count"], 0)
        for query, code in (("limit=1", "unknown_parameter"), ("prefix=%zz", "bad_percent_encoding")):
            is_problem(w.ask("GET", f"/v1/export?{query}"), 400, code)
        # For a client of old the end of the connection is the end.
        w.send(b"GET /v1/export?prefix=plain HTTP/1.0\r\n\r\n")
        r = w.read()
        equal((r.fields["connection"], len(r.body.splitlines())), ("close", 2))


@test
def an_export_is_of_the_moment_it_began():
    with Server("--durability", "os", "--loops", "2") as s, s.connect() as w, s.connect() as reader:
        fill(w, 40000)
        reader.send(request("GET", "/v1/export"))
        assert reader._more()
        for i in range(0, 40000, 1000):
            put(w, f"k{i:06}", b"changed")
            w.ask("DELETE", f"/v1/kv/k{i + 1:06}")
        told = lines_of(reader.read())
        equal((told[-1]["count"], len(told)), (40000, 40001))
        equal({x["value"] for x in told[:-1]}, {"v" * 50})
        equal(lines_of(w.ask("GET", "/v1/export"))[-1]["count"], 40000 - 40)


@test
def a_client_that_does_not_read_holds_a_page_and_no_more():
    with Server("--durability", "os", "--loops", "1") as s, s.connect() as w:
        fill(w, 20000, "v" * 2000)
        idle = [s.connect() for _ in range(16)]
        for one in idle:
            one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            one.send(request("GET", "/v1/export"))
        for one in idle:
            assert one.socket.recv(1)
        before = s.memory_kib()
        sent = figures(w)["server"]["bytes_out"]
        for _ in range(200):  # the others are served all the while
            equal(get(w, "k000007").status, 200)
        until(lambda: json.loads(w.ask("GET", "/v1/admin/clients").body) and True, "it answers")
        after = s.memory_kib()
        assert is_watched() or after - before < 40 << 10, (before, after)
        # Per connection: what the kernel took, and two pages.
        assert sent < 16 * (8 << 20), sent
        clients = json.loads(w.ask("GET", "/v1/admin/clients").body)["clients"]
        equal(sum(c["streaming"] for c in clients), 16)
        assert max(c["output_bytes"] for c in clients) < 2 * (131072 + 4096), clients
        for one in idle:
            one.socket.close()
        until(lambda: figures(w)["store"]["snapshots"] == 0 and figures(w)["store"]["iterators"] == 0, "all is given back")


@test
def of_long_replies_there_are_so_many_at_once():
    with Server("--durability", "os", "--loops", "2") as s, s.connect() as w:
        fill(w, 5000, "v" * 4000)
        most = json.loads(w.ask("GET", "/v1/admin/limits").body)["streams_max"]
        idle = [s.connect() for _ in range(most)]
        for i, one in enumerate(idle):
            one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            one.send(request("GET", "/v1/export" if i % 2 else "/v1/keys?values", fields=LINES))
        for one in idle:
            assert one.socket.recv(1)
        r = w.ask("GET", "/v1/export")
        is_problem(r, 503, "busy")
        equal(r.fields["retry-after"], "1")
        is_problem(w.ask("GET", "/v1/keys", None, LINES), 503, "busy")
        equal(w.ask("GET", "/v1/keys").status, 200)
        for one in idle:
            one.socket.close()
        until(lambda: w.ask("GET", "/v1/export?prefix=none").status == 200, "there is room again")


@test
def a_shutdown_ends_long_replies_and_imports():
    for sending in (False, True):
        with Server("--durability", "os", "--drain-timeout", "1s") as s:
            with s.connect() as w:
                fill(w, 5000, "v" * 4000)
            with s.connect() as one:
                one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
                if sending:
                    one.send(request("POST", "/v1/import", fields=[("Content-Length", 1 << 40)]) + b'{"key":"a","value":"b"}\n')
                else:
                    one.send(request("GET", "/v1/export"))
                    assert one.socket.recv(1)
                equal(s.stop(), 0)
            assert "all data is safe on disk" in s.stdout()


# ---------------------------------------------------------------- import


def sum_of(lines):
    """The XXH3 of these lines, as an export of them tells it."""
    with Server("--durability", "os") as other, other.connect() as v:
        v.ask("POST", "/v1/import", lines)
        return json.loads(v.ask("GET", "/v1/export").body.splitlines()[-1])["xxh3"].encode()


@test
def an_import_tells_of_each_line_that_is_wrong_and_takes_the_others():
    with Server("--max-value", "1K") as s, s.connect() as w:
        good = b'{"key":"a","value":"1"}\n'
        bad = [b"{", b"7", b"[]", b"{}", b'{"key":"b"}', b'{"value":""}', b'{"key":"","value":""}', b'{"key":"b","value":7}',
               b'{"key":"b","value":"","x":1}', b'{"key_b64":"A","value":""}', b'{"key":"b","key_b64":"AA==","value":""}',
               b'{"key":"b","value":"","ttl":5}', b'{"key":"b","value":"","expires_at":"soon"}', b'{"key":"b","value":"","database":16}', b'\xff', b'{"key":"b","value":"%s"}' % (b"x" * 1025)]
        body = good + b"".join(line + b"\n" for line in bad) + b'\n{"key_b64":"/w==","value_b64":"AP8=","expires_at":"2100-01-01T00:00:00Z"}'
        r = w.ask("POST", "/v1/import", body)
        told = lines_of(r)
        equal([x["line"] for x in told[:-1]], list(range(2, 2 + len(bad))))
        equal({x["code"] for x in told[:-2]}, {"bad_line"})
        equal(told[-2]["code"], "value_too_large")
        equal(told[-1], {"end": True, "imported": 2, "errors": len(bad), "rev": 1})
        equal((r.fields["quern-rev"], r.fields["quern-durability"]), ("1", "synced"))
        equal((get(w, "a").body, get(w, b"\xff").body, get(w, "b").status), (b"1", b"\0\xff", 404))
        equal(get(w, b"\xff").fields["quern-expires-at"], "2100-01-01T00:00:00.000Z")
        equal(w.ask("POST", "/v1/import?sync=os", good).fields["quern-durability"], "buffered")
        # The last of two lines on a key wins, as in a dump that was edited.
        equal(lines_of(w.ask("POST", "/v1/import", good + good.replace(b'"1"', b'"2"')))[-1]["imported"], 2)
        equal(get(w, "a").body, b"2")
        # Nothing that could be taken is a failure, nothing at all is none.
        is_problem(w.ask("POST", "/v1/import", b"key,value\n1,2\n"), 400, "bad_import")
        equal(lines_of(w.ask("POST", "/v1/import", b""))[-1], {"end": True, "imported": 0, "errors": 0, "rev": 0})
        is_problem(w.ask("POST", "/v1/import"), 400, "missing_parameter")
        for query, code in (("sync=never", "bad_parameter"), ("prefix=a", "unknown_parameter")):
            with s.connect() as one:
                is_problem(one.ask("POST", f"/v1/import?{query}", good), 400, code)
        # An end line is held against the lines.
        end = b'{"end":true,"count":1,"xxh3":"%s"}\n' % sum_of(good)
        for lines, verified, errors in ((good, True, 0), (good + good, False, 1), (b"", False, 1)):
            told = lines_of(w.ask("POST", "/v1/import", b'{"key":"z","value":""}\n' * (lines == b"") + lines + end))
            equal((told[-1]["verified"], told[-1]["errors"]), (verified, errors), lines)
        told = lines_of(w.ask("POST", "/v1/import", good + end + good))
        equal((told[0]["line"], told[-1]["imported"], told[-1]["verified"]), (3, 1, True))
        # A line longer than any may be is passed over without being held.
        long = (1 << 20) + 4096
        told = lines_of(w.ask("POST", "/v1/import", b'{"key":"' + b"x" * long + b'","value":""}\n' + good))
        equal((told[0]["line"], told[0]["code"], told[1]["imported"]), (1, "value_too_large", 1))
        # So many are told.
        told = lines_of(w.ask("POST", "/v1/import", good + b"{\n" * 3000))
        equal((len(told), told[-1]["errors"]), (1001, 3000))


@test
def an_import_is_cut_anywhere_and_stays_the_same():
    rng = seeded()
    with Server("--durability", "os") as s, s.connect() as w:
        fill(w, 3000, "v" * 100)
        dump = w.ask("GET", "/v1/export").body
        for chunked in (True, False):
            for size in (1, 7, 1000, 50000):
                part = dump if size > 7 else b"".join(dump.splitlines(True)[:60])
                fields = [("Transfer-Encoding", "chunked")] if chunked else [("Content-Length", len(part))]
                sender = [request("POST", "/v1/import", fields=fields)]
                at = 0
                while at < len(part):
                    n = rng.randint(1, size)
                    piece = part[at:at + n]
                    sender.append(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
                    at += n
                sender.append(b"0\r\n\r\n" if chunked else b"")
                sender.append(request("GET", "/v1/kv/k000007"))
                for data in sender if size > 7 else [b"".join(sender[:40])] + sender[40:]:
                    w.send(data)
                end = lines_of(w.read())[-1]
                equal((end["errors"], end["imported"]), (0, 3000 if part is dump else 60), (chunked, size))
                equal(w.read().body, b"v" * 100, "what follows on the connection")
        with s.connect() as one:  # a client that has said all it will say
            one.send(request("POST", "/v1/import", dump))
            one.socket.shutdown(socket.SHUT_WR)
            equal(lines_of(one.read())[-1]["verified"], True)
        with s.connect() as one:
            one.send(request("POST", "/v1/import", fields=[("Transfer-Encoding", "chunked")]) + b"2\r\n{}\r\nx\r\n")
            is_problem(one.read(), 400, "bad_chunk")
            assert one.ended()
        with s.connect() as one:
            one.send(request("POST", "/v1/import", fields=[("Content-Length", 100), ("Expect", "100-continue")]))
            equal(one.read(interim=True).status, 100)
        # What came before a client went away stays, whole batches of it.
        with s.connect() as one:
            one.send(request("POST", "/v1/import", fields=[("Content-Length", 1 << 30)]) +
                     b"".join(b'{"key":"lost%06d","value":""}\n' % i for i in range(2500)))
            until(lambda: get(w, "lost000999").status == 200, "a thousand lines are committed as they come")
        until(lambda: figures(w)["server"]["connections"] == 1, "it is gone")
        got = json.loads(w.ask("GET", "/v1/keys?prefix=lost&count").body)["count"]
        assert got in (1000, 2000), got


@test
def an_import_of_any_size_takes_little_memory():
    with Server("--durability", "os", "--memory", "32M", "--loops", "1") as s, s.connect(300) as w:
        lines = b"".join(b'{"key":"k%07d","value":"%s"}\n' % (i, b"v" * 1000) for i in range(2000))
        before = most = s.memory_kib("RssAnon")  # of the log's file what is mapped comes and goes
        rounds = 60  # 124 MB
        w.send(request("POST", "/v1/import", fields=[("Content-Length", rounds * len(lines))]))
        for i in range(rounds):
            w.send(lines)
            most = max(most, s.memory_kib("RssAnon"))
            if i % 10 == 0:
                with s.connect() as other:
                    equal(other.ask("GET", "/healthz").status, 200)
        end = lines_of(w.read())[-1]
        equal((end["imported"], end["errors"]), (rounds * 2000, 0))
        print(f"# {(most - before) >> 10} MiB at the most")
        assert is_watched() or most - before < 100 << 10, (before, most)
        equal(json.loads(w.ask("GET", "/v1/keys?count&max_scan_ms=1000").body)["count"], 2000)


# ---------------------------------------------------------------- lines


@test
def a_listing_as_lines_is_of_one_moment_and_has_no_end_of_its_own():
    with Server("--durability", "os", "--loops", "2") as s, s.connect() as w, s.connect() as reader:
        fill(w, 30000)
        reader.send(request("GET", "/v1/keys?values", fields=LINES))
        assert reader._more()
        for i in range(0, 30000, 1000):
            w.ask("DELETE", f"/v1/kv/k{i:06}")
        told = lines_of(reader.read())
        equal((len(told), told[-1]), (30001, {"end": True, "complete": True}))
        equal([x["key"] for x in told[:-1]], [f"k{i:06}" for i in range(30000)])
        told = lines_of(w.ask("GET", "/v1/keys?reverse&prefix=k02", None, LINES))
        equal([x["key"] for x in told[:-1]], [f"k{i:06}" for i in range(29999, 19999, -1) if i % 1000])
        # With a limit it goes on by its cursor, like a page.
        got, cursor = [], ""
        while True:
            told = lines_of(w.ask("GET", f"/v1/keys?limit=12000{cursor}", None, LINES))
            got += [x["key"] for x in told[:-1]]
            if told[-1]["complete"]:
                break
            cursor = "&cursor=" + told[-1]["cursor"]
        equal(got, [f"k{i:06}" for i in range(30000) if i % 1000])
        equal(lines_of(w.ask("GET", "/v1/keys?count", None, LINES)), [{"end": True, "count": 29970, "complete": True}])
        for i in range(3):
            put(w, f"d{i}/x", b"")
            put(w, f"d{i}/y", b"")
        told = lines_of(w.ask("GET", "/v1/keys?delimiter=/&end=k", None, LINES))
        equal(told, [{"prefix": f"d{i}/"} for i in range(3)] + [{"end": True, "complete": True}])
        for query in ("limit=0", "limit=x", "max_scan_ms=3600001"):
            is_problem(w.ask("GET", f"/v1/keys?{query}", None, LINES), 400, "bad_parameter")
        equal(w.ask("HEAD", "/v1/keys", None, LINES).fields["content-type"], "application/x-ndjson")
        equal(w.ask("GET", "/healthz").status, 200)


# ---------------------------------------------------------------- snapshots


def snapshot(w, more=""):
    r = w.ask("POST", f"/v1/snapshots{more}")
    equal(r.status, 201, r)
    told = json.loads(r.body)
    equal(r.fields["location"], "/v1/snapshots/" + told["id"])
    return told


@test
def a_snapshot_is_the_store_as_it_was():
    with Server("--durability", "os") as s, s.connect() as w:
        for i in range(10):
            put(w, f"k{i}", b"old")
        put(w, "short", b"x", "?ttl=500ms")
        held = snapshot(w, "?ttl=5m")
        equal(held["rev"], 11)
        at = f"snapshot={held['id']}"
        put(w, "k1", b"new")
        w.ask("DELETE", "/v1/kv/k2")
        put(w, "k99", b"new")
        until(lambda: get(w, "short").status == 404, "its end")
        equal((get(w, "k1").body, get(w, "k1", f"?{at}").body), (b"new", b"old"))
        equal((get(w, "k2").status, get(w, "k2", f"?{at}").status, get(w, "k99", f"?{at}").status), (404, 200, 404))
        equal(get(w, "short", f"?{at}").status, 200, "it judges ends by its own moment")
        equal(get(w, "k1", f"?{at}").fields["quern-rev"], "2")
        equal(w.ask("HEAD", f"/v1/kv/k1?{at}").fields["content-length"], "3")
        equal(json.loads(get(w, "k1", f"?meta=json&{at}").body)["value"], "old")
        names = [f"k{i}" for i in range(10)] + ["short"]
        equal([x["key"] for x in list_all(w, f"limit=3&{at}")], names)
        equal([x["key"] for x in lines_of(w.ask("GET", f"/v1/keys?{at}", None, LINES))[:-1]], names)
        told = lines_of(w.ask("GET", f"/v1/export?{at}"))
        equal(([x["key"] for x in told[:-1]], told[-1]["rev"]), (names, 11))
        equal(w.ask("DELETE", f"/v1/snapshots/{held['id']}").status, 204)
        for r in (get(w, "k1", f"?{at}"), w.ask("GET", f"/v1/keys?{at}"), w.ask("GET", f"/v1/export?{at}"),
                  w.ask("GET", f"/v1/keys?{at}", None, LINES), w.ask("DELETE", f"/v1/snapshots/{held['id']}"),
                  get(w, "k1", "?snapshot="), get(w, "k1", "?snapshot=" + "x" * 100), w.ask("DELETE", "/v1/snapshots/")):
            is_problem(r, 404, "no_such_snapshot")
        is_problem(w.ask("PUT", f"/v1/kv/k1?{at}", None), 400, "unknown_parameter")
        for ttl in ("0", "x", "", "61m", "-1"):
            is_problem(w.ask("POST", f"/v1/snapshots?ttl={ttl}"), 400, "bad_ttl")


@test
def snapshots_are_few_and_end_by_themselves():
    with Server("--durability", "os") as s, s.connect() as w:
        put(w, "k", b"1")
        most = json.loads(w.ask("GET", "/v1/admin/limits").body)["snapshots_max"]
        held = [snapshot(w) for _ in range(most)]
        equal(len({h["id"] for h in held}), most)
        is_problem(w.ask("POST", "/v1/snapshots"), 429, "too_many_snapshots")
        equal((figures(w)["server"]["snapshots"], figures(w)["store"]["snapshots"]), (most, most))
        w.ask("DELETE", f"/v1/snapshots/{held[3]['id']}")
        short = snapshot(w, "?ttl=300ms")
        until(lambda: get(w, "k", f"?snapshot={short['id']}").status == 404, "it ends")
        until(lambda: figures(w)["store"]["snapshots"] == most - 1, "and is freed though nobody asks")
        # One that ends while it is read is read to its end.
        fill(w, 20000, "v" * 1000)
        short = snapshot(w, "?ttl=30s")
        with s.connect() as one:
            one.send(request("GET", f"/v1/export?snapshot={short['id']}"))
            assert one._more()
            equal(w.ask("DELETE", f"/v1/snapshots/{short['id']}").status, 204)
            equal(lines_of(one.read())[-1]["count"], 20001)
        until(lambda: figures(w)["store"]["snapshots"] == most - 1, "and freed by the last who used it")
        equal(s.stop(), 0, "those that are left do not keep it from ending")
    with Server() as s, s.connect() as w:
        is_problem(get(w, "k", f"?snapshot={held[0]['id']}"), 404, "no_such_snapshot")


if __name__ == "__main__":
    main()
