#!/usr/bin/env python3
"""test_observe.py - what the server tells of itself: metrics, logs, what was slow, in forms of its own
and in those of Prometheus and Redis."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from quernd import *  # noqa: E402,F403 the helpers of this folder
from real_redis import RealRedis  # noqa: E402

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
SAMPLE = re.compile(r'^([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)$')


def page_of(text):
    """{family: type} and {(name, labels): value}; every line must be well."""
    types, samples, helps = {}, {}, {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, name, words = line.split(" ", 3)
            assert name not in helps and words.endswith("."), line
            helps[name] = words
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types and name in helps, line
            types[name] = kind
        elif line != "# EOF":
            found = SAMPLE.match(line)
            assert found, line
            key = (found[1], found[2] or "")
            assert key not in samples, line
            samples[key] = float(found[3])
    equal(sorted(types), sorted(helps))
    return types, samples


def metrics(w):
    reply = w.ask("GET", "/metrics")
    equal(reply.status, 200)
    equal(reply.fields["content-type"], "text/plain; version=0.0.4; charset=utf-8")
    return page_of(reply.body.decode())


def value(samples, name, **labels):
    """The sum of the samples with (at least) these labels; 0 when there are none."""
    total = 0.0
    for (its_name, its_labels), its_value in samples.items():
        have = dict(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', its_labels))
        if its_name == name and all(have.get(k) == v for k, v in labels.items()):
            total += its_value
    return total


def promtool(*arguments, text=None):
    tool = shutil.which("promtool")
    if tool is None:
        raise Skip("promtool is not installed")
    done = subprocess.run([tool, *arguments], input=text, capture_output=True, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()


@test
def promtool_finds_nothing_to_say_about_the_metrics():
    with Server("--durability", "os") as s, s.connect() as w, s.resp() as r:
        w.put("a", b"1"), w.get("a"), w.get("none"), w.ask("GET", "/nowhere"), w.delete("a")
        r.call("SET", "a", "1"), r.call("NOSUCH"), r.call("INCR", "a"), r.call("CLIENT", "ID")
        equal(promtool("check", "metrics", text=w.ask("GET", "/metrics").body), (0, ""))


@test
def whoever_prefers_openmetrics_gets_it():
    accept = [("Accept", "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.3")]
    with Server("--durability", "os") as s, s.connect() as w:
        reply = w.ask("GET", "/metrics", fields=accept)
        equal(reply.fields["content-type"],
              "application/openmetrics-text; version=1.0.0; charset=utf-8")
        text = reply.body.decode()
        assert text.endswith("\n# EOF\n")
        types, samples = page_of(text)
        equal(types["quern_wal_groups"], "counter")
        assert ("quern_wal_groups_total", "") in samples
        plain = [("Accept", "text/plain;q=0.9,application/openmetrics-text;q=0.1")]
        assert w.ask("GET", "/metrics", fields=plain).fields["content-type"].startswith("text/plain")


@test
def requests_are_counted_by_route_command_and_result():
    rows = [("GET /get", "http", "ok", 3), ("GET /get", "http", "refused", 1),
            ("POST /set", "http", "ok", 4), ("DELETE /del", "http", "ok", 1),
            ("PUT /v1/kv/{key}", "http", "ok", 2), ("other", "http", "refused", 2),
            ("get", "resp", "ok", 2), ("set", "resp", "ok", 1), ("set", "resp", "refused", 1),
            ("incr", "resp", "refused", 1), ("client|id", "resp", "ok", 1),
            ("unknown", "resp", "refused", 1), ("exec", "resp", "ok", 1)]
    with Server("--durability", "os", "--loops", "3") as s:
        for i in range(3):  # over several loops
            with s.connect() as w, s.resp() as r:
                w.put(f"k{i}", b"v"), w.get(f"k{i}")
                if i == 0:
                    w.put("x", b"text"), w.delete("k0"), w.get("k0")
                    w.ask("PUT", "/v1/kv/a/b", b"1"), w.ask("PUT", "/v1/kv/secret", b"1")
                    w.ask("GET", "/nowhere"), w.ask("PUT", "/get?key=a", b"")
                    r.call("GET", "a"), r.call("GET", "none"), r.call("SET", "a", "b")
                    r.call("SET", "a"), r.call("INCR", "x"), r.call("CLIENT", "ID"), r.call("WHAT")
                    r.call("MULTI"), r.call("GET", "a"), r.call("SET", "a", "c"), r.call("EXEC")
        with s.connect() as w:
            def counted():  # a reply may be read before its loop has counted it
                _, samples = page_of(w.ask("GET", "/metrics").body.decode())
                return [(op, proto, result, value(samples, "quern_ops_total", op=op, proto=proto, result=result))
                        for op, proto, result, _ in rows]
            until(lambda: counted() == rows, "all that was asked is counted")
            assert "secret" not in w.ask("GET", "/metrics").body.decode(), "a key stands in the metrics"


@test
def a_histogram_has_each_request_once_and_rises():
    with Server("--durability", "always") as s, s.connect() as w:
        for i in range(20):
            w.put(f"k{i}", b"v")
        _, samples = metrics(w)
        op = {"op": "POST /set", "proto": "http"}
        equal(value(samples, "quern_op_seconds_count", **op), 20)
        buckets = [v for (name, labels), v in samples.items()
                   if name == "quern_op_seconds_bucket" and 'op="POST /set"' in labels]
        equal(buckets, sorted(buckets))
        equal(buckets[-1], 20)
        took = value(samples, "quern_op_seconds_sum", **op)
        waited = value(samples, "quern_op_wait_seconds_total", **op)
        assert 0 < waited <= took, (waited, took)


@test
def the_histogram_of_syncs_has_each_of_them_where_it_belongs():
    with SickDisk() as disk, Server(env=disk.env) as s, s.connect() as w, s.connect() as watch:
        def held():
            """A sync that is held. How many took over 67 ms: it may have begun late, on a busy machine."""
            disk.order("hold")
            w.send(request("POST", "/set?key=slow&value=v"))
            until(lambda: value(metrics(watch)[1], "quern_writes_in_flight") == 1, "the write")
            time.sleep(0.3)
            disk.revoke("hold")
            equal(w.read().status, 200)
            _, now = metrics(watch)
            buckets = {float(re.search(r'le="([^"]*)"', labels).group(1)): v for (name, labels), v in now.items() if name == "quern_wal_sync_seconds_bucket"}
            in_order = [buckets[le] for le in sorted(buckets)]
            equal(in_order, sorted(in_order))
            equal(in_order[-1], value(now, "quern_wal_sync_seconds_count"))
            slow = in_order[-1] - max(v for le, v in buckets.items() if le < 0.068)
            assert value(now, "quern_wal_sync_seconds_sum") >= slow * 0.067
            return slow

        for i in range(5):
            w.put(f"k{i}", b"v")
        equal(value(metrics(watch)[1], "quern_wal_sync_seconds_count") >= 1, True)
        until(lambda: held() > 0, "one that was held took long")


@test
def filters_tell_what_they_were_worth():
    with Server("--durability", "os") as s, s.connect() as w, s.resp() as r:
        for i in range(50):
            w.put(f"k{i}", b"v"), r.call("SET", f"m{i}", "v")
        s.process.send_signal(signal.SIGTERM)
        equal(s.process.wait(60), 0)
        with Server("--durability", "os", data=s.data) as again, again.connect() as w, \
                again.resp() as r:
            w.put("later", b"v")
            r.call("MGET", *[f"l{i}" for i in range(64)])
            r.call("MGET", *[f"l{i}" for i in range(64)])  # the filter is wanted by now
            _, now = metrics(w)
            checks, useful, false = (value(now, f"quern_filter_{n}_total")
                                     for n in ("checks", "useful", "false"))
            assert checks > 0 and useful + false == checks and false <= useful, (checks, useful, false)


@test
def pages_tell_how_many_keys_live_where_that_takes_no_walk():
    def page_of_numbers(w):
        return json.loads(w.ask("GET", "/v1/admin/stats").body)["live_keys"]

    def live(w):
        samples = metrics(w)[1]
        told = {key[1]: v for key, v in samples.items() if key[0] == "quern_live_keys"}
        page = page_of_numbers(w)
        equal({f'db="{n}"': v for n, v in page.items()}, told)
        return page

    with Server("--durability", "os") as s, s.connect() as w, s.resp() as r:
        equal(live(w), {str(n): 0 for n in range(16)})
        for i in range(30):
            w.put(f"k{i}", b"v")
        r.call("SELECT", "3"), r.call("SET", "a", "v"), r.call("SET", "b", "v", "PX", "900000")
        w.delete("k1"), w.delete("never")
        page = live(w)
        equal([page["0"], page["3"], page["4"]], [29, 2, 0])
        # More than is counted on the loop: it is done aside, and all of it is told.
        for i in range(0, 12000, 500):
            r.call("MSET", *[word for n in range(i, i + 500) for word in (f"m{n}", "v")])
        equal([live(w)["3"], r.call("DBSIZE")], [12002, 12002])
        r.call("QUERN.DELRANGE", "m1", "m2")  # a walk alone could tell
        assert "3" not in live(w), "a page has walked"
        left = 12002 - sum(1 for n in range(12000) if str(n)[0] == "1")
        equal([r.call("DBSIZE"), live(w)["3"]], [left, left])  # who asked has walked, for all
        r.call("SET", "gone", "v", "PX", "1")
        until(lambda: page_of_numbers(w).get("3") == left, "the end of a lifetime")  # by the clock
        equal(r.call("DBSIZE"), left)
        r.call("FLUSHDB")
        equal([r.call("DBSIZE"), live(w)["3"]], [0, 0])  # what had expired went with the rest
        s.process.send_signal(signal.SIGTERM)
        equal(s.process.wait(60), 0)
        with Server("--durability", "os", data=s.data) as again, again.connect() as w:
            equal(live(w)["0"], 29)


@test
def every_metric_moves_that_should():
    grow = ["quern_connections_accepted_total", "quern_network_bytes_total", "quern_ops_total",
            "quern_op_seconds_count", "quern_visible_sequence", "quern_durable_sequence",
            "quern_memdb_entries", "quern_wal_bytes", "quern_wal_segments", "quern_store_puts_total",
            "quern_store_deletes_total", "quern_store_batches_total", "quern_store_gets_total",
            "quern_store_gets_found_total", "quern_store_seeks_total", "quern_user_bytes_total",
            "quern_wal_written_bytes_total", "quern_wal_groups_total", "quern_wal_sync_seconds_count",
            "quern_wal_sync_seconds_sum", "quern_wal_sync_max_seconds", "quern_cpu_seconds_total"]
    with Server("--durability", "always") as s, s.connect() as w:
        _, before = metrics(w)
        for i in range(10):
            w.put(f"k{i}", b"v" * 100)
        w.get("k1"), w.delete("k2"), w.ask("GET", "/v1/keys")
        with s.connect() as other:
            other.get("k1")
        _, after = metrics(w)
        for name in grow:
            assert value(after, name) > value(before, name), name
        assert value(after, "quern_http_connections") >= 1
        assert 1 <= value(after, "quern_write_amplification") < 1e6


@test
def the_alerts_are_well_and_speak_of_metrics_that_there_are():
    rules = os.path.join(ROOT, "contrib/prometheus/quern.rules.yml")
    with open(rules, encoding="utf-8") as f:
        named = set(re.findall(r"quern_[a-z_]+", f.read()))
    with Server("--durability", "os") as s, s.connect() as w:
        w.get("a")
        _, samples = metrics(w)
    equal(named - {name for name, _ in samples}, set())
    for what, file in (("check", rules), ("test", rules.replace(".yml", ".test.yml"))):
        code, said = promtool(what, "rules", file)
        equal(code, 0, said)


@test
def the_dashboard_asks_for_metrics_that_there_are_and_promtool_reads_it():
    with open(os.path.join(ROOT, "contrib/grafana/quern.json"), encoding="utf-8") as f:
        board = json.load(f)
    asked = [t["expr"] for panel in board["panels"] for t in panel["targets"]]
    named = set(re.findall(r"quern_[a-z_]+", json.dumps(board)))
    with Server("--durability", "os") as s, s.connect() as w:
        w.get("a")
        _, samples = metrics(w)
    equal(named - {name for name, _ in samples}, {"quern_tls_not_after_seconds"}, "with TLS alone")
    equal(len({p["id"] for p in board["panels"]}), len(board["panels"]))
    rules = ["groups:", "- name: board", "  rules:"]
    for i, expr in enumerate(asked):
        plain = expr.replace("$__rate_interval", "5m").replace("$instance", ".*")
        rules += [f"  - record: board:{i}", f"    expr: {json.dumps(plain)}"]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as f:
        f.write("\n".join(rules) + "\n")
        f.flush()
        code, said = promtool("check", "rules", f.name)
    equal(code, 0, said)


@test
def the_page_on_operations_lists_every_metric():
    with open(os.path.join(ROOT, "docs/operations.md"), encoding="utf-8") as f:
        listed = set(re.findall(r"^\| `(quern_\w+)` \| (\w+) \| (.*) \|$", f.read(), re.M))
    with Server("--durability", "os") as s, s.connect() as w:
        text = w.ask("GET", "/metrics").body.decode()
    helps, types = (dict(re.findall(rf"^# {what} (\S+) (.*)$", text, re.M)) for what in ("HELP", "TYPE"))
    shown = {(name, types[name], helps[name]) for name in helps}
    equal(shown - listed, set(), "missing from docs/operations.md")
    equal({name for name, _, _ in listed - shown}, {"quern_tls_not_after_seconds"})  # with TLS alone


# ---- logs ----


def json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


@test
def all_that_is_said_is_json_line_by_line_if_asked_for():
    with Server("--durability", "os", "--log-format", "json") as s:
        with s.connect() as w, s.resp() as r:
            w.put("a", b"1")
            r.send(b"POST / HTTP/1.1\r\n\r\n")
            assert r.ended() or True
        equal(s.stop(), 0)
        story, events = json_lines(s.stdout()), json_lines(s.stderr())
    for line in story + events:
        assert {"ts", "level", "event", "msg"} <= set(line), line
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["ts"]), line
    assert any(line["msg"].startswith("listening: http://") for line in story)
    assert story[-1]["msg"] == "bye"
    assert [line["event"] for line in events][0] == "opened" and events[-1]["event"] == "closed"
    assert any(line["event"] == "wrong door" and line["level"] == "warning" for line in events)


@test
def a_level_keeps_lesser_events_away():
    with Server("--durability", "os", "--log-level", "warning") as s:
        with s.resp() as r:
            r.send(b"GET / HTTP/1.1\r\n\r\n")
            s.wait_told("speaks HTTP")
        equal(s.stop(), 0)
        assert "opened" not in s.stderr() and "closed" in s.stderr()  # "the connection is closed"
        assert "bye" in s.stdout()  # the story is told all the same


@test
def the_access_log_has_a_line_for_every_request_and_never_a_key():
    for form in ("json", "logfmt"):
        log = os.path.join(tempfile.mkdtemp(prefix="quern-e2e-"), "access")
        with Server("--durability", "always", "--log-format", form, "--access-log", log, "--loops",
                    "2") as s:
            sent = 0
            trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            with s.connect() as w:
                w.ask("POST", "/set?key=SECRET", b"HIDDEN", [("traceparent", trace)])
                w.ask("GET", "/get?key=SECRET", fields=[("X-Request-Id", "mine-1")])
                w.ask("HEAD", "/v1/kv/SECRET"), w.ask("PUT", "/v1/kv/SECRET", b"HIDDEN")
                w.ask("GET", "/nowhere/SECRET"), w.ask("PUT", "/get?key=SECRET", b"")
                w.delete("SECRET"), w.delete("SECRET")
                sent += 8
                for key in (b'"', b"\\", b"\n\r", b"\x00\xff", "ü€".encode(), b"}{", b" = "):
                    w.get(key)
                    sent += 1
            with s.connect() as w:
                w.send(b"GET /get?key=SECRET\x01 HTTP/1.1\r\nHost: x\r\n\r\n")
                equal(w.read().status, 400)
                sent += 1
            with s.resp() as r:
                for words in (("SET", "SECRET", "HIDDEN"), ("GET", "SECRET"), ("SECRET\r\n\"",),
                              ("GET",), ("INCR", "SECRET"), ("CLIENT", "ID"), ("MULTI",),
                              ("GET", "SECRET"), ("EXEC",), ("WATCH", "SECRET"), ("BGSAVE",), ("PING",)):
                    r.call(*words)
                    sent += 1
                r.send(b"*1\r\nSECRET\r\n")
                r.answer()
                sent += 1
            equal(s.stop(), 0)
        with open(log, encoding="utf-8") as f:
            text = f.read()
        shutil.rmtree(os.path.dirname(log))
        equal(text.count("\n"), sent)
        assert "SECRET" not in text and "HIDDEN" not in text, text
        if form == "logfmt":
            assert f"traceparent={trace}" in text and "request_id=mine-1" in text, text
            continue
        lines = json_lines(text)
        for line in lines:
            assert line["proto"] in ("http", "resp") and line["dur_us"] >= line["wait_us"] >= 0, line
            assert line["bytes_in"] > 0 and line["bytes_out"] > 0 and line["request_id"], line
            assert re.fullmatch(r"127\.0\.0\.1:\d+", line["peer"]), line
        http = [line for line in lines if line["proto"] == "http"]
        equal([(line["method"], line["route"], line["status"]) for line in http[:8]],
              [("POST", "/set", 200), ("GET", "/get", 200), ("HEAD", "/v1/kv/{key}", 200),
               ("PUT", "/v1/kv/{key}", 204), ("GET", "other", 404), ("PUT", "other", 405),
               ("DELETE", "/del", 200), ("DELETE", "/del", 404)])
        equal(http[0]["traceparent"], trace)
        equal(http[1]["request_id"], "mine-1")
        equal(http[4]["code"], "no_such_route")
        assert http[0]["wait_us"] > 0  # for its sync
        equal(http[-1]["result"], "refused")
        resp = [line for line in lines if line["proto"] == "resp"]
        equal([(line["command"], line["result"], line.get("code")) for line in resp],
              [("set", "ok", None), ("get", "ok", None), ("unknown", "refused", "ERR"),
               ("get", "refused", "ERR"), ("incr", "refused", "ERR"), ("client|id", "ok", None),
               ("multi", "ok", None), ("queued", "ok", None), ("exec", "ok", None),
               ("watch", "ok", None), ("bgsave", "ok", None), ("ping", "ok", None),
               ("unknown", "refused", "ERR")])


@test
def the_access_log_goes_on_in_a_new_file_after_sighup():
    folder = tempfile.mkdtemp(prefix="quern-e2e-")
    log, old = os.path.join(folder, "access"), os.path.join(folder, "access.1")
    with Server("--durability", "os", "--access-log", log) as s, s.connect() as w:
        w.get("a")
        until(lambda: os.path.getsize(log) > 0, "the first line")
        os.rename(log, old)
        s.process.send_signal(signal.SIGHUP)
        until(lambda: os.path.exists(log), "the new file")
        w.get("b"), w.get("c")
        equal(s.stop(), 0)
        equal([open(f, encoding="utf-8").read().count("\n") for f in (old, log)], [1, 2])
    shutil.rmtree(folder)


@test
def an_access_log_that_nobody_reads_stops_no_request():
    """A pipe that is never read takes 64 KiB; the log's own buffers some more. All requests are
    answered, and what was dropped is counted."""
    folder = tempfile.mkdtemp(prefix="quern-e2e-")
    pipe = os.path.join(folder, "pipe")
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with Server("--durability", "os", "--access-log", pipe) as s, s.connect() as w:
        for _ in range(200):
            w.send(request("GET", "/livez") * 100)
            for _ in range(100):
                equal(w.read().status, 200)
        _, samples = metrics(w)
        dropped = value(samples, "quern_log_dropped_lines_total", log="access")
        assert 0 < dropped < 20000, dropped
        os.close(reader)
    shutil.rmtree(folder)


@test
def an_access_log_that_cannot_be_opened_is_said_at_the_start():
    with Server("--access-log", "/nowhere/at/all") as s:
        s.wanted_end = 1
        equal(s.process.wait(30), 1)
        assert "--access-log /nowhere/at/all: open /nowhere/at/all: No such file" in s.stderr(), s.stderr()


# ---- what was slow ----


def slow(w):
    reply = w.ask("GET", "/v1/admin/slowlog")
    equal(reply.status, 200)
    return json.loads(reply.body)


@test
def the_slow_log_says_what_was_waited_for():
    with SickDisk() as disk, Server("--loops", "1", "--durability", "always", env=disk.env) as s:
        with s.connect() as w, s.connect() as first, s.connect() as second, s.resp() as r, \
                s.connect() as watch:
            first.put("a", b"1"), first.put("gone", b"1"), r.call("SET", "warm", "1")
            log = slow(w)
            equal((log["slower_than_us"], log["length_max"]), (10000, 1024))
            equal(r.call("SLOWLOG", "RESET"), "OK")
            disk.order("hold")
            first.send(request("POST", "/set?key=a%20b", b"2"))
            until(lambda: value(metrics(w)[1], "quern_writes_in_flight") == 1, "the write")
            first.send(request("GET", "/get?key=behind"))  # waits for what is before it
            second.send(request("DELETE", "/del?key=gone"))
            until(lambda: value(metrics(w)[1], "quern_writes_in_flight") == 2, "the delete")
            w.send(request("DELETE", "/del?key=gone"))  # there for all it knows; the other is first
            r.write("CLIENT", "SETNAME", "slow-one"), r.write("SET", "k", "v"), r.write("INCR", "n")
            until(lambda: value(metrics(watch)[1], "quern_writes_in_flight") == 5, "all that was sent")
            time.sleep(0.1)  # more than 10 ms: however slow the machine is, it is no less
            disk.revoke("hold")
            equal(first.read().status, 200), equal(first.read().status, 404)
            equal(second.read().status, 200), equal(w.read().status, 404)
            equal([r.answer() for _ in range(3)], ["OK", "OK", 1])
            equal(r.call("CONFIG", "SET", "slowlog-log-slower-than", "-1"), "OK")  # from here on nothing is slow
            log = slow(w)
            entries = {tuple(e["args"]): e for e in log["entries"]}
            for args, reason in ((("POST /set", "a b"), "sync"), (("GET /get", "behind"), "others"),
                                 (("DELETE /del", "gone"), None), (("set", "k"), "sync"),
                                 (("INCR", "n"), "sync")):
                entry = entries[args]
                assert entry["took_us"] >= entry["waited_us"] >= 90000, entry
                assert reason in (None, entry["reason"]), entry
            equal(sorted(e["reason"] for e in log["entries"] if e["op"] == "DELETE /del"),
                  ["sync", "sync"])
            assert log["total"] >= 6
            _, samples = metrics(w)
            assert value(samples, "quern_slow_ops_total") == log["total"]


@test
def what_waits_for_a_read_from_the_disk_says_so():
    with SickDisk() as disk:
        data = os.path.join(disk.dir, "data")
        with Server(data=data) as s, s.connect() as w:
            w.put("a", b"1"), w.put("b", b"2")
        with Server("--durability", "os", data=data, env=disk.env) as s, s.connect() as w, \
                s.resp() as r, s.connect() as watch:
            disk.order("hold-reads")
            w.send(request("GET", "/get?key=a"))
            r.write("GET", "b")
            until(lambda: value(metrics(watch)[1], "quern_writes_in_flight") == 2, "both wait")
            time.sleep(0.1)
            disk.revoke("hold-reads")
            equal((w.read().body, r.answer()), (b"1", b"2"))
            assert {(*e["args"], e["reason"]) for e in slow(w)["entries"]} >= {
                ("GET /get", "a", "disk"), ("GET", "b", "disk")}


@test
def the_slow_log_keeps_the_last_ones_cut_and_no_more():
    with Server("--durability", "os", "--slow-log", "0ms", "--slow-log-length", "20") as s:
        with s.connect() as w, s.resp() as r:
            for i in range(50):
                w.get(f"k{i}")
            log = slow(w)
            equal([e["args"][1] for e in log["entries"]], [f"k{i}" for i in range(49, 29, -1)])
            equal(log["length_max"], 20)
            r.call("MGET", *[b"\xff" * 200] * 40)
            args = r.call("SLOWLOG", "GET", "1")[0][3]
            equal(len(args), 32)
            equal(args[1], b"\xff" * 128 + b"... (72 more bytes)")
            equal(args[31], b"... (10 more arguments)")
            slow(w)  # is JSON with these bytes, too
            r.call("SET", "x" * 500, "v")
            equal(r.call("SLOWLOG", "GET", "1")[0][3], [b"set", b"x" * 125 + b"..."])
            r.call("AUTH", "SECRET"), r.call("HELLO", "2", "AUTH", "default", "SECRET"), r.call("AUHT", "SECRET")
            kept = slow(w)["entries"][:3]
            equal([e["args"] for e in kept][::2], [["AUHT", "(redacted)"], ["AUTH", "(redacted)"]])
            assert "SECRET" not in str(kept)
            with s.resp() as bad:
                bad.send(b"*3\r\n$3\r\nGET\r\n$1\r\na\r\nX\r\n")
                bad.answer()
            kept = slow(w)["entries"][0]
            equal((kept["op"], kept["args"]), ("unknown", []))
            equal(r.call("CONFIG", "SET", "slowlog-log-slower-than", "-1"), "OK")
            equal(r.call("SLOWLOG", "RESET"), "OK")
            w.get("a"), r.call("GET", "a")
            equal(slow(w)["entries"], [])
            equal(r.call("SLOWLOG", "LEN"), 0)


# ---- Redis' forms ----


def shape(v):
    """What a reply looks like, without what it says."""
    if isinstance(v, list):
        return [shape(x) for x in v]
    if isinstance(v, dict):
        return {k: shape(x) for k, x in v.items()}
    return type(v).__name__


def info_fields(text, section):
    """{name: [fields]} of a section's lines."""
    text = text.decode().split(f"# {section}\r\n")[1].split("\r\n\r\n")[0]
    return {line.split(":", 1)[0]: re.findall(r"([a-z0-9_.]+)=", line.split(":", 1)[1])
            for line in text.splitlines() if line}


@test
def what_was_slow_is_told_as_redis_tells_it():
    with RealRedis() as redis, Server("--durability", "os") as s:
        with Resp(redis.port) as theirs, s.resp() as ours:
            for r in (theirs, ours):
                equal(r.call("CONFIG", "SET", "slowlog-log-slower-than", "0", "slowlog-max-len", "9"),
                      "OK")
                equal(r.call("CLIENT", "SETNAME", "me"), "OK")
                equal(r.call("SLOWLOG", "RESET"), "OK")
                for i in range(20):
                    r.call("GET", f"k{i}")
            a, b = (r.call("SLOWLOG", "GET", "3") for r in (theirs, ours))
            equal(shape(b), shape(a))
            equal([e[3] for e in b], [e[3] for e in a])
            equal([e[5] for e in b], [e[5] for e in a])
            assert abs(a[0][1] - b[0][1]) < 60 and b[0][0] == b[1][0] + 1
            for words in (("SLOWLOG", "LEN"), ("SLOWLOG", "GET", "-2"), ("SLOWLOG", "GET", "x"),
                          ("SLOWLOG", "GET", "1", "2"), ("SLOWLOG", "NOSUCH"),
                          ("CONFIG", "GET", "slowlog-m*"), ("CONFIG", "GET", "latency-m*"),
                          ("CONFIG", "SET", "slowlog-max-len", "-1"),
                          ("CONFIG", "SET", "slowlog-log-slower-than", "x"),
                          ("CONFIG", "SET", "slowlog-log-slower-than", "-2"),
                          ("CONFIG", "SET", "slowlog-log-slower-than", "9", "slowlog-max-len", "-1"),
                          ("CONFIG", "GET", "slowlog-log-slower-than"),
                          ("CONFIG", "SET", "latency-monitor-threshold", "-1"),
                          ("LATENCY", "LATEST"), ("LATENCY", "HISTORY", "command"),
                          ("LATENCY", "HISTORY", "nosuch"), ("LATENCY", "RESET"),
                          ("LATENCY", "RESET", "command", "nosuch"), ("LATENCY", "HISTORY"),
                          ("LATENCY", "HISTOGRAM", "nosuch"), ("SLOWLOG", "RESET")):
                equal(ours.call(*words), theirs.call(*words), words)


@test
def commands_are_counted_as_redis_counts_them():
    with RealRedis() as redis, Server("--durability", "os") as s:
        with Resp(redis.port) as theirs, s.resp() as ours:
            texts = []
            for r in (theirs, ours):
                equal(r.call("CONFIG", "RESETSTAT"), "OK")
                r.call("SET", "a", "x"), r.call("GET", "a"), r.call("GET", "none"), r.call("GET")
                r.call("INCR", "a"), r.call("CLIENT", "GETNAME"), r.call("NOSUCH")
                r.call("HELLO", "9")
                texts.append((r.call("INFO", "everything"), r.call("LATENCY", "HISTOGRAM", "get", "client"),
                              r.call("LATENCY", "HISTOGRAM")))
            (a, a_get, a_all), (b, b_get, b_all) = texts
            for section in ("Commandstats", "Latencystats", "Errorstats"):
                want, got = info_fields(a, section), info_fields(b, section)
                equal(got, want, section)
            for name in ("get", "set", "incr", "client|getname", "hello"):
                for field in ("calls", "rejected_calls", "failed_calls"):
                    pick = re.compile(rf"cmdstat_{re.escape(name)}:.*?\b{field}=(\d+)".encode())
                    equal(pick.search(b)[1], pick.search(a)[1], f"{name} {field}")
            count = re.compile(rb"errorstat_(\w+):count=(\d+)")
            equal(sorted(count.findall(b)), sorted(count.findall(a)))
            for got, want in ((b_get, a_get), (b_all, a_all)):
                equal(sorted(got[::2]), sorted(want[::2]))
            equal(b_get[1][:3], [b"calls", 2, b"histogram_usec"])
            bounds = b_get[1][3]
            assert bounds[-1] == 2 and all(n & (n - 1) == 0 for n in bounds[::2]), bounds
            # Sections that are not asked for stay away as they do there.
            for words in ((), ("default",), ("all",), ("commandstats", "errorstats")):
                titles = [set(re.findall(rb"# (\w+stats)\r", r.call("INFO", *words)))
                          for r in (theirs, ours)]
                equal(titles[1], titles[0], words)
        with s.connect() as w:  # what Redis' clients reset, a monitor does not lose
            assert value(metrics(w)[1], "quern_ops_total", op="config|resetstat") == 1


@test
def latency_is_watched_from_a_threshold_on():
    with SickDisk() as disk, Server("--durability", "always", env=disk.env) as s, s.resp() as r, \
            s.connect() as watch:
        equal(r.call("CONFIG", "SET", "latency-monitor-threshold", "150"), "OK")
        r.call("SET", "a", "1")
        r.call("LATENCY", "RESET")
        disk.order("hold")
        r.write("SET", "a", "2")
        until(lambda: value(metrics(watch)[1], "quern_writes_in_flight") == 1, "the write")
        time.sleep(0.2)
        disk.revoke("hold")
        equal(r.answer(), "OK")
        latest = r.call("LATENCY", "LATEST")
        equal((len(latest), latest[0][0]), (1, b"command"))
        assert latest[0][2] == latest[0][3] >= 190, latest
        equal(r.call("LATENCY", "HISTORY", "command"), [latest[0][1:3]])
        assert b"command: 1 seconds" in r.call("LATENCY", "DOCTOR")
        equal(r.call("LATENCY", "RESET"), 1)
        equal(r.call("LATENCY", "LATEST"), [])


if __name__ == "__main__":
    main()
