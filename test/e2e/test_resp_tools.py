#!/usr/bin/env python3
"""The Redis protocol as tools meet it that watch and browse: redis_exporter and Redis Commander, run as they
are; and what RedisInsight, which cannot be had here, sends when it connects and while one browses. What is
not installed is skipped."""

import contextlib
import json
import os
import re
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request

from quernd import Refused, Server, Skip, command, equal, main, test, until
from real_redis import need


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def asked(url, data=None, token=None):
    """The body, or None: nobody answers, or it is an error."""
    fields = {"Authorization": "Bearer " + token} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, fields), timeout=60) as reply:
            return reply.read().decode()
    except (urllib.error.URLError, OSError):
        return None


@contextlib.contextmanager
def tool(words, path, **more):
    """A program that serves HTTP at the port that stands for PORT in its words; its URL, and what it has said."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryDirectory(prefix="quern-e2e-") as home:
        port = free_port()
        process = subprocess.Popen([word.replace("PORT", str(port)) for word in words], stdout=out, stderr=out, cwd=home,
                                   stdin=subprocess.DEVNULL, env={**os.environ, "HOME": home}, **more)
        url = f"http://127.0.0.1:{port}"
        try:
            until(lambda: process.poll() is not None or asked(url + path) is not None, words[0])
            yield url, lambda: os.pread(out.fileno(), 1 << 24, 0).decode("utf-8", "replace")
        finally:
            process.terminate()
            process.wait(60)


def fill(r):
    for i in range(30):
        equal(r.call("SET", f"user:{i:02}", f"value {i}"), "OK")
    equal([r.call("SET", "user:00:session", "x", "EX", 100000), r.call("GET", "nothing"), r.call("NOPE").args[0][:19]],
          ["OK", None, "ERR unknown command"])
    equal([r.call("SELECT", 3), r.call("SET", "three", "3"), r.call("GET", "three"), r.call("SELECT", 0)], ["OK", "OK", b"3", "OK"])


# What the dashboards that come with it show.
SHOWN = """uptime_in_seconds connected_clients blocked_clients memory_used_bytes memory_used_rss_bytes memory_max_bytes config_maxclients
    commands_processed_total keyspace_hits_total keyspace_misses_total net_input_bytes_total net_output_bytes_total evicted_keys_total
    expired_keys_total    connections_received_total rejected_connections_total cpu_user_seconds_total cpu_sys_seconds_total slowlog_length slowlog_last_id
    connected_slaves loading_dump_file rdb_last_save_timestamp_seconds aof_enabled start_time_seconds""".split()


@test
def redis_exporter_finds_all_that_its_dashboards_show():
    need("prometheus-redis-exporter")
    with Server("--durability", "os", "--slow-log", "0ms") as s, s.resp() as r:
        fill(r)
        words = ["prometheus-redis-exporter", "-redis.addr", f"redis://127.0.0.1:{s.resp_port}", "-web.listen-address",
                 "127.0.0.1:PORT", "-check-keys", "db0=user:0*", "-count-keys", "db3=*", "-export-client-list"]
        with tool(words, "/health") as (url, said):
            def scraped():
                text = asked(url + "/metrics")
                return dict(re.findall(r"^redis_([^ ]+) (\S+)$", text, re.M))
            first = scraped()
            equal((first["up"], first['exporter_last_scrape_error{err=""}']), ("1", "0"))
            equal([name for name in SHOWN if name not in first], [])
            equal([first[name] for name in ('db_keys{db="db0"}', 'db_keys{db="db3"}', 'db_keys{db="db15"}', 'db_keys_expiring{db="db0"}',
                                            'commands_total{cmd="set"}', 'keyspace_hits_total', 'errors_total{err="ERR"}',
                                            'key_size{db="db0",key="user:03"}', 'keys_count{db="db3",key="*"}')],
                  ["31", "1", "0", "1", "32", "1", "1", "7", "1"])
            assert 0 < float(first['commands_duration_seconds_total{cmd="set"}']) and float(first["memory_used_bytes"]) > 0, first
            assert 99000 < float(first['db_avg_ttl_seconds{db="db0"}']) <= 100000, first
            assert 0 < float(first['latency_percentiles_usec{cmd="set",quantile="99"}']), first
            clients = [name for name in first if name.startswith("connected_clients_details{")]
            assert any('name="redis_exporter"' in name for name in clients), clients
            for i in range(10):
                r.call("SET", "more", str(i))
            second = scraped()
            equal(int(second['commands_total{cmd="set"}']) - int(first['commands_total{cmd="set"}']), 10)
            assert int(second["commands_processed_total"]) >= int(first["commands_processed_total"]) + 10
            assert "level=error" not in said() and "level=warn" not in said(), said()


@test
def redis_commander_browses_and_changes():
    need("node")
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "node", "node_modules", "redis-commander", "bin",
                           "redis-commander.js")
    if not os.path.exists(program):
        raise Skip("the clients of Node.js are not installed: tools/setup check")
    with Server("--durability", "os") as s, s.resp() as r:
        fill(r)
        words = ["node", program, "--redis-host", "127.0.0.1", "--redis-port", str(s.resp_port), "--redis-db", "0", "--address",
                 "127.0.0.1", "--port", "PORT", "--nosave", "--noload"]
        with tool(words, "/") as (url, said):
            token = json.loads(asked(url + "/signin", b""))["bearerToken"]

            def of(path, data=None):
                text = asked(url + path, data, token)
                assert text is not None, (path, said())
                return text
            until(lambda: "using Redis DB #0" in said(), "it has connected")
            place = json.loads(of("/connections"))["connections"][0]["conId"]
            shown = json.loads(of("/apiv2/server/info"))["data"][0]
            assert {"key": "Redis version", "value": "7.2.4"} in shown["info"], shown
            names = [node["keyName"] for node in json.loads(of(f"/apiv2/keystree/{place}/"))["data"]]
            equal(names, ["user:"])
            nodes = json.loads(of(f"/apiv2/keystree/{place}/user:"))["data"]
            equal([(n["keyName"], n.get("rel")) for n in nodes], [("00", "string"), ("00:", None)] +
                  [(f"{i:02}", "string") for i in range(1, 30)])
            equal(json.loads(of(f"/apiv2/key/{place}/user:07")), {"ttl": -1, "key": "user:07", "type": "string", "value": "value 7"})
            assert 99000 < json.loads(of(f"/apiv2/key/{place}/user:00:session"))["ttl"] <= 100000
            equal(json.loads(of(f"/apiv2/exec/{place}", b"cmd=GET+user:01"))["data"], "value 1")
            equal(of(f"/apiv2/key/{place}/made", b"keyType=string&stringValue=here"), "OK")
            equal(r.call("GET", "made"), b"here")
            assert "rror" not in said(), said()


@test
def what_redisinsight_sends_is_answered_in_both_protocols_and_all_databases():
    with Server("--durability", "os", "--slow-log", "1440m") as s, s.resp() as first:
        fill(first)
        for proto in (2, 3):
            with s.resp() as r:
                if proto == 3:
                    equal(r.call("HELLO", "3")[b"modules"], [])

                def as_map(*words):
                    reply = r.call(*words)
                    return reply if proto == 3 else dict(zip(reply[::2], reply[1::2]))
                equal(r.call("CLIENT", "SETNAME", "redisinsight-common-12ab"), "OK")
                info = dict(line.split(":", 1) for line in r.call("INFO").decode().splitlines() if ":" in line)
                equal((info["loading"], info["role"], info["redis_mode"], info["cluster_enabled"]), ("0", "master", "standalone", "0"))
                equal([r.call("MODULE", "LIST"), r.call("INFO", "modules")], [[], b"# Modules\r\n"])
                assert all(isinstance(row, list) and len(row) == 10 for row in r.call("COMMAND"))
                equal(as_map("CONFIG", "GET", "databases"), {b"databases": b"16"})
                equal(set(as_map("CONFIG", "GET", "slowlog*")), {b"slowlog-log-slower-than", b"slowlog-max-len"})
                equal([r.call("ACL", "WHOAMI"), r.call("FT._LIST").args[0][:19], r.call("FUNCTION", "LIST")],
                      [b"default", "ERR unknown command", []])
                equal([r.call("SLOWLOG", "GET", 50), r.call("SLOWLOG", "LEN"), r.call("LATENCY", "LATEST")], [[], 0, []])
                assert any("name=redisinsight-common-12ab " in line for line in r.call("CLIENT", "LIST").decode().splitlines())
                for db in range(16):
                    names = [b"three"] if db == 3 else [] if db else sorted([f"user:{i:02}".encode() for i in range(30)] +
                                                                            [b"user:00:session"])
                    equal([r.call("SELECT", db), r.call("DBSIZE")], ["OK", len(names)])
                    equal(r.call("SCAN", "0", "MATCH", "*", "COUNT", "10000"), [b"0", names])
                    equal(r.call("SCAN", "0", "MATCH", "*", "COUNT", "500", "TYPE", "string"), [b"0", names])
                    equal(r.call("SCAN", "0", "MATCH", "*", "COUNT", "500", "TYPE", "hash"), [b"0", []])
                    r.send(b"".join(command("TYPE", name) + command("TTL", name) + command("MEMORY", "USAGE", name, "SAMPLES", "0")
                                    for name in names))
                    for name in names:
                        kind, ttl, size = r.answer(), r.answer(), r.answer()
                        assert kind == "string" and size > len(name), (name, kind, size)
                        assert (99000 < ttl <= 100000) if name == b"user:00:session" else ttl == -1, (name, ttl)
                    for name in names[:3]:
                        length = r.call("STRLEN", name)
                        equal(r.call("GETRANGE", name, 0, 4999), r.call("GET", name))
                        equal([length, r.call("OBJECT", "IDLETIME", name), r.call("OBJECT", "REFCOUNT", name)],
                              [len(r.call("GET", name)), 0, 1])
                        assert r.call("OBJECT", "ENCODING", name) in (b"int", b"embstr", b"raw")
                found = re.findall(r"^db(\d+):keys=(\d+),expires=(\d+)", r.call("INFO", "keyspace").decode(), re.M)
                equal(found, [("0", "31", "1"), ("3", "1", "0")])
                equal(r.call("OBJECT", "FREQ", "nothing"), None)
                equal(r.call("JSON.GET", "user:00"), Refused("ERR unknown command 'JSON.GET', with args beginning with: 'user:00' "))


if __name__ == "__main__":
    main()
