#!/usr/bin/env python3
"""test_observe.py - what the server tells of itself: metrics."""

import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from quernd import *  # noqa: E402,F403 the helpers of this folder

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
            text = w.ask("GET", "/metrics").body.decode()
            _, samples = page_of(text)
            for op, proto, result, n in rows:
                equal(value(samples, "quern_ops_total", op=op, proto=proto, result=result), n,
                      f"{op} {result}")
            assert "secret" not in text, "a key stands in the metrics"


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


if __name__ == "__main__":
    main()
