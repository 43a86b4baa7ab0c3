#!/usr/bin/env python3
"""The Redis protocol as its users meet it: redis-cli, redis-benchmark, python3-redis, hiredis, ioredis
and node-redis; and the same commands sent to a real redis-server, whose bytes are compared. What is not
installed is skipped."""

import os
import random
import subprocess
import sys

from quernd import Refused, Resp, Server, Skip, command, equal, main, test
from real_redis import RealRedis, need, same


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


def some_words(rng):
    key = lambda: rng.choice(["a", "b", "c", "d", "key:1", "key:2"])
    value = lambda: rng.choice(["1", "-7", "3.25", "x", "", "abc", "01", " 2", "9223372036854775807",
                                "hello world", "a\r\nb", "1e3"])
    number = lambda: rng.choice(["0", "1", "-1", "5", "-3", "100", "x", "9223372036854775807",
                                 "-9223372036854775808", "1.5", ""])
    choices = [
        lambda: ("GET", key()), lambda: ("SET", key(), value()), lambda: ("SET", key(), value(), "NX"),
        lambda: ("SET", key(), value(), "XX"), lambda: ("SET", key(), value(), "GET"),
        lambda: ("SET", key(), value(), "NX", "GET"), lambda: ("SET", key(), value(), "nx", "xx"),
        lambda: ("SET", key(), value(), "BAD"), lambda: ("SETNX", key(), value()),
        lambda: ("GETSET", key(), value()), lambda: ("GETDEL", key()), lambda: ("MGET", key(), key(), key()),
        lambda: ("MSET", key(), value(), key(), value()), lambda: ("MSET", key(), value(), key()),
        lambda: ("MSETNX", key(), value(), key(), value()), lambda: ("APPEND", key(), value()),
        lambda: ("STRLEN", key()), lambda: ("GETRANGE", key(), number(), number()),
        lambda: ("SUBSTR", key(), number(), number()), lambda: ("SETRANGE", key(), rng.choice(["0", "3", "x", "-1"]), value()),
        lambda: ("INCR", key()), lambda: ("DECR", key()), lambda: ("INCRBY", key(), number()),
        lambda: ("DECRBY", key(), number()), lambda: ("INCRBYFLOAT", key(), rng.choice(["1", "0.1", "-2.5", "1e2", "x", "nan", " 1", "-0"])),
        lambda: ("DEL", key(), key()), lambda: ("UNLINK", key()), lambda: ("EXISTS", key(), key(), "none"),
        lambda: ("TYPE", key()), lambda: ("TOUCH", key(), key()), lambda: ("RENAME", key(), key()),
        lambda: ("RENAMENX", key(), key()), lambda: ("COPY", key(), key()),
        lambda: ("COPY", key(), key(), "REPLACE"), lambda: ("COPY", key(), key(), "DB", rng.choice(["0", "16", "x"])),
        lambda: ("OBJECT", "REFCOUNT", "none"), lambda: ("OBJECT", "FREQ", key()),
        lambda: ("DBSIZE",), lambda: ("PING",), lambda: ("PING", value()), lambda: ("ECHO", value()),
        lambda: ("SELECT", rng.choice(["0", "16", "x", "-1"])), lambda: ("CLIENT", "SETNAME", rng.choice(["me", "a b"])),
        lambda: ("CLIENT", "GETNAME"), lambda: ("CLIENT", "NOPE"), lambda: ("CLIENT",), lambda: ("GET",),
        lambda: ("nope",), lambda: ("nope", value(), "x" * 200, "y"), lambda: ("HELLO", rng.choice(["4", "x", "1"])),
        lambda: ("HELLO", "2", "NOPE"), lambda: ("CONFIG", "NOPE"), lambda: ("CONFIG", "SET", "nope", "1"),
        lambda: ("CONFIG", "SET", "nope"), lambda: ("COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2"),
        lambda: ("COMMAND", "GETKEYS", "GET"), lambda: ("COMMAND", "GETKEYS", "PING", "x"), lambda: ("COMMAND", "NOPE"),
        lambda: ("AUTH", "x"), lambda: ("AUTH", "bob", "x"), lambda: ("AUTH", "a", "b", "c"),
        lambda: ("WAIT", "0", "0"), lambda: ("ROLE",), lambda: ("SCAN", "0", "COUNT", "0"),
        lambda: ("SCAN", "x"), lambda: ("SCAN", "0", "NOPE"), lambda: ("SCAN", "0", "NOPE", "1"),
        lambda: ("MULTI",), lambda: ("MULTI",), lambda: ("EXEC",), lambda: ("EXEC",), lambda: ("DISCARD",),
        lambda: ("WATCH", key()), lambda: ("UNWATCH",), lambda: ("RESET",), lambda: ("SHUTDOWN", "NOPE"),
        lambda: ("MEMORY", "USAGE", "none"), lambda: ("LATENCY", "LATEST"), lambda: ("SLOWLOG", "LEN"),
        lambda: ("BGSAVE", "NOPE"), lambda: ("OBJECT", "NOPE"), lambda: ("MEMORY", "NOPE"),
        lambda: ("CLIENT", "KILL", *rng.choice([("1.2.3.4:5",), ("ID", "x"), ("ID", "0"), ("TYPE", "x"), ("USER", "x"),
                                               ("SKIPME", "x"), ("ADDR",), ("ID", "999999"), ("NOPE", "1")])),
        lambda: ("CLIENT", "PAUSE", *rng.choice([("x",), ("-1",), ("0", "x"), ("0",), ("0", "write"), ("0", "all", "x")])),
        lambda: ("CLIENT", "UNPAUSE"), lambda: ("CLIENT", "LIST", *rng.choice([("TYPE", "x"), ("TYPE",), ("ID", "x"), ("ID",),
                                                                               ("NOPE",), ("TYPE", "pubsub"), ("ID", "-1")])),
        lambda: ("CLIENT", "TRACKING", rng.choice(["on", "OFF", "x"]), *rng.sample(
            ["BCAST", "OPTIN", "OPTOUT", "NOLOOP", "NOPE", "PREFIX", "REDIRECT"], rng.choice([0, 0, 1, 1, 2]))),
        lambda: ("CLIENT", "TRACKING", "ON", *rng.choice([("PREFIX", "a"), ("REDIRECT", "x"), ("REDIRECT", "99999"),
                                                          ("BCAST", "PREFIX")])),
        lambda: ("CLIENT", "NO-EVICT", rng.choice(["on", "off", "x"])),
        lambda: ("FUNCTION", "FLUSH", *rng.choice([(), ("SYNC",), ("ASYNC",), ("x",), ("SYNC", "SYNC")])), lambda: ("FUNCTION", "LIST"),
        lambda: ("OBJECT", "ENCODING", "none"), lambda: ("SLOWLOG", "NOPE"), lambda: ("LATENCY", "NOPE"),
    ]
    return rng.choice(choices)()


@test
def the_same_commands_have_the_same_bytes_as_in_redis():
    seed = int(os.environ.get("TEST_SEED", random.randrange(1 << 32)))
    rng = random.Random(seed)
    print(f"# TEST_SEED={seed}")
    with RealRedis() as real, Server("--durability", "os", "--slow-log", "1440m") as s, \
            Resp(real.port) as theirs, s.resp() as ours:
        said, queues = [], False
        for proto in ("2", "3"):
            for r in (theirs, ours):
                r.call("RESET")
                r.call("HELLO", proto)
            queues = False
            for _ in range(4000):
                words = some_words(rng)
                if words[0] == "MULTI" or words[0] in ("EXEC", "DISCARD", "RESET"):
                    queues = words[0] == "MULTI"
                if "TRACKING" in words and proto == "3":
                    continue  # docs/resp.md: nothing is ever invalidated
                if queues and words[0] == "DBSIZE":
                    continue  # docs/resp.md: it is counted after the transaction
                if words[0] == "WATCH" and not queues:  # docs/resp.md: what came and went was not there
                    same(theirs, ours, ("SET", words[1], "w"))
                said = said[-8:] + [words]
                same(theirs, ours, words, said)
                if words == ("RESET",):
                    for r in (theirs, ours):
                        r.call("HELLO", proto)


DUMPED = [b"", b"0", b"-0", b"007", b" 1", b"127", b"128", b"-128", b"-129", b"32767", b"32768", b"-32768", b"-32769",
          b"2147483647", b"2147483648", b"-2147483648", b"-2147483649", b"9223372036854775807", b"x", b"x" * 20,
          b"y" * 63, b"z" * 64, b"ab" * 5000, bytes(range(256)) * 64, b"\0" * 16383, b"\0" * 16384, b"q" * 100000,
          os.urandom(63), os.urandom(16384), os.urandom(70000), os.urandom(300) * 300]


@test
def dump_and_restore_carry_values_to_redis_and_back():
    with RealRedis() as real, Server("--durability", "os") as s, Resp(real.port) as theirs, s.resp() as ours:
        for value in DUMPED:
            for r in (ours, theirs):
                equal(r.call("SET", "k", value), "OK")
            mine, other = ours.call("DUMP", "k"), theirs.call("DUMP", "k")
            if len(value) <= 20:
                equal(mine[:-10], other[:-10], value[:40])  # short ones are not compressed
            for payload, into in ((mine, theirs), (other, ours), (mine, ours)):
                equal(into.call("RESTORE", "k", "0", payload), Refused("BUSYKEY Target key name already exists."))
                equal(into.call("RESTORE", "copy", "0", payload, "REPLACE"), "OK", (value[:40], payload[:40]))
                assert into.call("GET", "copy") == value, value[:40]
        payload = theirs.call("DUMP", "k")
        theirs.call("RPUSH", "list", "a", "b")
        words = [("DUMP", "none"), ("DUMP",), ("RESTORE", "a", "0"), ("RESTORE", "a", "-1", payload),
                 ("RESTORE", "a", "x", payload), ("RESTORE", "a", "0", payload, "NOPE"),
                 ("RESTORE", "a", "0", payload, "IDLETIME"), ("RESTORE", "a", "0", payload, "IDLETIME", "-1"),
                 ("RESTORE", "a", "0", payload, "FREQ", "256"), ("RESTORE", "a", "0", payload, "FREQ", "1", "IDLETIME", "1"),
                 ("RESTORE", "a", "0", payload, "FREQ", "x"), ("RESTORE", "a", "0", payload, "FREQ", "7"),
                 ("GET", "a"), ("PTTL", "a"), ("RESTORE", "a", "4102444800000", payload, "ABSTTL", "REPLACE", "IDLETIME", "5"),
                 ("PEXPIRETIME", "a"), ("RESTORE", "a", "1", payload, "ABSTTL", "replace"), ("EXISTS", "a"),
                 ("RESTORE", "a", "0", payload[:-1]), ("RESTORE", "a", "0", b""), ("RESTORE", "a", "0", b"0123456789")]
        for at in range(0, min(len(payload), 40)):
            words.append(("RESTORE", "a", "0", payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1:], "REPLACE"))
        for asked in words:
            same(theirs, ours, asked)
        equal(ours.call("RESTORE", "a", "0", theirs.call("DUMP", "list")), Refused("ERR Bad data format"))
        equal(ours.call("RESTORE", "a", "0", payload), "OK")


@test
def what_two_values_have_in_common_has_the_same_bytes_as_in_redis():
    seed = int(os.environ.get("TEST_SEED", random.randrange(1 << 32)))
    rng = random.Random(seed)
    print(f"# TEST_SEED={seed}")
    with RealRedis() as real, Server("--durability", "os") as s, Resp(real.port) as theirs, s.resp() as ours:
        for proto in ("2", "3"):
            for r in (theirs, ours):
                r.call("HELLO", proto)
            for _ in range(300):
                for key in "ab":
                    value = "".join(rng.choice("abc") for _ in range(rng.randrange(12)))
                    same(theirs, ours, ("SET", key, value))
                more = rng.choice([(), ("LEN",), ("IDX",), ("IDX", "WITHMATCHLEN"), ("IDX", "MINMATCHLEN", "2"),
                                   ("IDX", "MINMATCHLEN", "-1", "WITHMATCHLEN"), ("WITHMATCHLEN",), ("IDX", "LEN"),
                                   ("MINMATCHLEN",), ("MINMATCHLEN", "x"), ("NOPE",)])
                same(theirs, ours, ("LCS", "a", rng.choice(["b", "b", "none"]), *more))
        for r in (theirs, ours):
            r.call("MSET", "a", "x" * 3000 + "y", "b", "y" + "x" * 3000)
        same(theirs, ours, ("LCS", "a", "b", "IDX"))
        same(theirs, ours, ("LCS", "a"))


@test
def what_is_no_request_has_the_same_bytes_as_in_redis():
    cases = [b"*x\r\n", b"*1048577000000\r\n", b"*1\r\nx\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$x\r\n", b"x \"a\r\n",
             b"x 'a'b\r\n", b"a" * 70000, b"*" + b"1" * 70000, b"*1\r\n$" + b"1" * 70000,
             b"*-1\r\n*0\r\n\r\nPING\r\n*x\r\n", b"ping 'a\\'b'\r\necho \"\\x41\\n\"\r\n*x\r\n",
             b"get a b c\r\n*1\r\n$3\r\nfoo\r\n*x\r\n", b"  ping \r\n\n\nping\n*x\r\n"]
    with RealRedis() as real, Server("--durability", "os") as s:
        for sent in cases:
            said = []
            for port in (real.port, s.resp_port):
                with Resp(port) as r:
                    r.send(sent)
                    whole = b""
                    try:
                        while True:
                            data = r.socket.recv(65536)
                            if not data:
                                break
                            whole += data
                    except ConnectionResetError:
                        pass
                    said.append(whole)
            equal(said[1], said[0], sent[:40])


@test
def the_table_is_that_of_redis():
    with RealRedis() as real, Server("--durability", "os") as s, Resp(real.port) as theirs, s.resp() as ours:
        redis = {info[0]: info for info in theirs.call("COMMAND")}
        hidden = {"skip_slowlog", "no_async_loading"}

        def compare(mine, other):
            equal(mine[1], other[1], (mine[0], "arity"))
            equal(mine[3:6], other[3:6], (mine[0], "keys"))
            equal(set(mine[2]), set(other[2]) - hidden, (mine[0], "flags"))
            subs = {info[0]: info for info in other[9]}
            for sub in mine[9]:
                if sub[0] in subs:
                    compare(sub, subs[sub[0]])
        for info in ours.call("COMMAND"):
            if info[0] in redis:
                compare(info, redis[info[0]])


if __name__ == "__main__":
    main()
