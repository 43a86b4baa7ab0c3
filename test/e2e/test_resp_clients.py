#!/usr/bin/env python3
"""The Redis protocol as its users meet it: redis-cli, redis-benchmark, python3-redis, hiredis, ioredis
and node-redis, what reads metrics and what browses. What is not installed is skipped."""

import os
import subprocess
import sys

from quernd import Server, Skip, command, equal, main, test
from real_redis import need


def run(*words, **more):
    done = subprocess.run([str(w) for w in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=120, check=False, **more)
    return done.returncode, done.stdout.decode("utf-8", "replace")


@test
def redis_cli_works():
    need("redis-cli")
    with Server("--durability", "os") as s:
        def cli(*words, **more):
            return run("redis-cli", "-p", s.resp_port, *words, **more)
        equal(cli("set", "a", "1"), (0, "OK\n"))
        equal(cli("incr", "a"), (0, "2\n"))
        equal(cli("-3", "get", "a"), (0, "2\n"))
        equal(cli("get", "none"), (0, "\n"))
        equal(cli("mset", "b", "x y", "c", "3"), (0, "OK\n"))
        equal(cli("--scan"), (0, "a\nb\nc\n"))
        code, said = cli(input=b"ping\nget b\nmulti\nset d 4\nexec\n")
        equal((code, said.replace("\n\n", "\n")), (0, "PONG\nx y\nOK\nQUEUED\nOK\n"))
        bulk = b"".join(command("SET", f"k{i}", i) for i in range(2000))
        code, said = cli("--pipe", input=bulk)
        assert code == 0 and "errors: 0, replies: 2000" in said, said
        equal(cli("dbsize"), (0, "2004\n"))
        assert "redis_version:7.2.4" in cli("info", "server")[1]
        assert cli("client", "list")[1].count("\n") >= 1
        said = cli(input=b"help mset\nhelp client pause\n")[1]  # its hints are made of COMMAND DOCS
        assert "key value [key value ...]" in said and "timeout [WRITE|ALL]" in said, said


@test
def redis_benchmark_works():
    need("redis-benchmark")
    with Server("--durability", "os") as s:
        for more in ((), ("-P", 16), ("-3",)):
            code, said = run("redis-benchmark", "-p", s.resp_port, "-q", "-n", 2000, "-c", 10, "-r", 100,
                             "-t", "ping,set,get,incr,mset", *more)
            assert code == 0 and "WARNING" not in said and "rror" not in said, said
            for name in ("PING_MBULK", "SET", "GET", "INCR", "MSET"):
                assert name in said, said


@test
def python_redis_works():
    sys.path.append("/usr/lib/python3/dist-packages")  # where Debian has it, whichever Python this is
    try:
        import redis
    except ImportError as why:
        raise Skip("no python3-redis here") from why
    with Server("--durability", "os") as s:
        r = redis.Redis(port=s.resp_port)
        assert r.ping() and r.set("a", b"\0\r\n") and r.get("a") == b"\0\r\n"
        equal((r.incr("n"), r.incrby("n", 5), r.decr("n"), r.append("s", "xy"), r.strlen("s")), (1, 6, 5, 2, 2))
        equal((r.set("a", "2", nx=True), r.set("b", "2", xx=True), r.set("a", "3", get=True)),
              (None, None, b"\0\r\n"))
        r.mset({"x": 1, "y": 2})
        equal(r.mget("x", "none", "y"), [b"1", None, b"2"])
        equal(sorted(r.scan_iter(match="*", count=2)), sorted(r.keys()))
        with r.pipeline() as p:
            p.set("t", 1)
            p.incr("t")
            p.get("t")
            equal(p.execute(), [True, 2, b"2"])
        with r.pipeline() as p:
            p.watch("t")
            r.set("t", 9)
            p.multi()
            p.set("t", 10)
            try:
                p.execute()
                raise AssertionError("WATCH saw nothing")
            except redis.WatchError:
                pass
        def double(p):
            value = int(p.get("t"))
            p.multi()
            p.set("t", 2 * value)
        r.transaction(double, "t")
        equal(r.get("t"), b"18")
        equal((r.delete("t", "none"), r.exists("t"), r.type("a"), r.dbsize() > 3), (1, 0, b"string", True))
        assert r.info()["redis_version"] == "7.2.4" and r.info("keyspace")["db0"]["keys"] > 3
        assert r.client_list()[0]["db"] == "0" and r.config_get("save") == {"save": ""}
        assert r.time()[0] > 0 and r.lastsave() is not None and r.command_count() > 50
        assert r.client_setname("me") and r.client_getname() == "me" and r.client_id() > 0
        assert r.object("encoding", "n") == b"int" and r.memory_usage("n") > 0
        assert r.save() and r.rename("n", "m") and r.copy("m", "o") and r.role()[0] == b"master"
        try:
            r.incr("s")
            raise AssertionError("no error")
        except redis.ResponseError as error:
            equal(str(error), "value is not an integer or out of range")
        r.close()


def run_client(*words):
    with Server("--durability", "os") as s:
        equal(run(*words, s.resp_port), (0, "done\n"))


def run_node(script):
    need("node")
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "node")
    if not os.path.isdir(os.path.join(here, "node_modules")):
        raise Skip("the clients of Node.js are not installed: tools/setup check")
    run_client("node", os.path.join(here, script))


@test
def hiredis_works():
    if not os.environ.get("HIREDIS"):
        raise Skip("no libhiredis-dev here")
    run_client(os.environ["HIREDIS"])


@test
def ioredis_works():
    run_node("ioredis.js")


@test
def node_redis_works():
    run_node("node_redis.js")


if __name__ == "__main__":
    main()
