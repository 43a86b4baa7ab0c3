#!/usr/bin/env python3
"""The same commands sent to a real redis-server have the same bytes as replies, whatever their arguments.
What differs knowingly stands in docs/resp.md, and in the functions here that pass over it."""

import os
import time

from quernd import Refused, Resp, Server, command, equal, main, seeded, test
from real_redis import RealRedis, same


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
        lambda: ("BGSAVE", "NOPE"), lambda: ("EXEC", "x"), lambda: ("MULTI", "x"), lambda: ("OBJECT", "NOPE"), lambda: ("MEMORY", "NOPE"),
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
    rng = seeded()
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
                if "TRACKING" in words and (proto == "3" or {"OPTIN", "OPTOUT"} & set(words)):
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
    rng = seeded()
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


KEYS = ["a", "b", "c", "key:1", "none", "d"]
NUMBERS = ["0", "1", "-1", "5", "-3", "100", "x", "9223372036854775807", "-9223372036854775808", "9223372036854775808",
           "1.5", "", " 1", "01", "1e3", "+1", "-0", "4102444800", "4102444800000", "3000000000", "536870912", "99999999999"]
VALUES = ["1", "-7", "3.25", "x", "", "abc", "01", " 2", "9223372036854775807", "hello world", "a\r\nb", "1e3", "nan", "inf",
          "-inf", "0x10", "1_000", "1e400", "5.0e-3", "3.0", "0.1", "1e-20", "1e17", "123456789012345678901234567890"]
OPTIONS = """NX XX GT LT GET EX PX EXAT PXAT KEEPTTL PERSIST REPLACE DB MATCH COUNT TYPE LEN IDX MINMATCHLEN WITHMATCHLEN ABSTTL
    IDLETIME FREQ ASYNC SYNC ID SKIPME YES NO ADDR LADDR USER NORMAL PUBSUB ON OFF BCAST OPTIN OPTOUT NOLOOP PREFIX REDIRECT
    SAMPLES string list * a* [ab] FILTERBY MODULE PATTERN WRITE ALL default SETNAME 2 3 4 SCHEDULE RESET WITHCODE
    LIBRARYNAME MSET HELP""".split()
# Their replies tell of the server or of the moment; that they are of the same kind is all that is compared.
TELLING = """acl|cat acl|genpass acl|getuser acl|list acl|log client|id client|info client|list command command|docs command|info command|list
    config|get dump hello keys latency|doctor latency|graph latency|histogram memory|doctor memory|usage object|encoding object|idletime
    object|refcount slowlog|get""".split()
# Not sent: they end or change the server or the connection, are not in Redis 7.0, or differ knowingly whatever the arguments.
LEFT_OUT = """monitor shutdown info time lastsave save bgsave randomkey quit reset auth multi swapdb scan command|count client|reply
    client|no-touch client|setinfo acl|setuser acl|deluser config|set config|resetstat config|rewrite""".split()


def any_word(rng):
    kind = rng.random()
    if kind < 0.35:
        return rng.choice(KEYS)
    if kind < 0.7:
        return rng.choice(NUMBERS + VALUES)
    return rng.choice([str.lower, str.upper, str])(rng.choice(OPTIONS))


def any_call(rng, names, proto):
    """Of any command, with any number of any arguments; or None, where it differs knowingly."""
    name = rng.choice(names)
    words = [*name.split("|"), *[any_word(rng) for _ in range(rng.choice([0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6]))]]
    lower = [word.lower() for word in words]
    if len(words) > 1 and "|".join(lower[:2]) in names:
        name = "|".join(lower[:2])
    if name in ("set", "getex", "setex", "psetex", "expire", "pexpire", "restore"):  # nothing expires meanwhile
        words = ["4102444800000" if word in ("1", "2", "3", "4", "5", "100") else word for word in words]
    if len(words) == 2 and lower[1] == "help":
        return None  # it tells what there is
    if name == "wait":
        words[1:2] = ["0"] * (len(words) > 1)  # there are no replicas, and nobody waits for some
    if name == "command|getkeys" and len(words) > 2:  # there are commands that only Redis has
        words[2] = rng.choice(["get", "MSET", "copy", "object", "ping", "client", "nope", ""])
    if name == "client|kill" and (len(words) == 3 or "no" in lower):
        return None  # of itself
    if name == "client|pause" and len(words) > 2:
        words[2] = rng.choice(["0", "1", "x", "-1", ""])
    if name == "client|tracking" and proto == "3":
        return None  # nothing is ever invalidated
    if name == "hello" and (len(words) == 1 or words[1] in "23"):
        return None
    if name in ("acl|cat", "command|list") and len(words) > 2:
        words[2:] = [word for word in words[2:] if word.lower() not in ("string", "list", "pubsub")]
    if name == "restore" and len(words) > 2 and words[2] == NUMBERS[7]:
        return None  # a time that no number holds
    # A key is not empty, and to write such a one is an error.
    return name, words[:1] + [word or "e" if name not in ("echo", "ping", "select") else word for word in words[1:]]


def typed(words, rng):
    def letter(c):
        return c if c.isalnum() or c in " *[]:.-_+" else f"\\x{ord(c):02x}"
    return (" ".join('"' + "".join(map(letter, word)) + '"' for word in words) + rng.choice(["\r\n", "\n"])).encode()


def near(want, got):
    """Times to live that were asked for one after the other."""
    return want[:1] == got[:1] == b":" and int(want[1:]) > 1000 and abs(int(want[1:]) - int(got[1:])) < 900000


@test
def any_command_with_any_arguments_has_the_same_bytes_as_in_redis():
    rng = seeded()
    with RealRedis() as real, Server("--durability", "os", "--slow-log", "1440m") as s, \
            Resp(real.port) as theirs, s.resp() as ours:
        names = []
        for info in ours.call("COMMAND"):
            names += [sub[0].decode() for sub in info[9]] + [info[0].decode()]
        names = [name for name in names if name not in LEFT_OUT and not name.startswith("quern.")]
        for proto in ("2", "3"):
            for r in (theirs, ours):
                r.call("RESET")
                r.call("HELLO", proto)
                r.call("FLUSHALL")
            said = []
            for _ in range(8000):
                call = any_call(rng, names, proto)
                if call is None:
                    continue
                name, words = call
                said = said[-8:] + [words]
                sent = typed(words, rng) if rng.random() < 0.2 else command(*words)
                for r in (theirs, ours):
                    r.send(sent)
                want, got = theirs.raw(), ours.raw()
                told = name in TELLING and want[:1] == got[:1] and want[:1] != b"-"
                if want != got and not told and not (name in ("ttl", "pttl") and near(want, got)):
                    for earlier in said:
                        print(f"# {earlier}")
                    equal(got, want, words)


REFUSED = [("AUTH", "bob", "x"), ("AUTH", "bob", "y"), ("HELLO", "3", "AUTH", "x" * 200, "y"), ("AUTH", "", ""), ("MULTI",),
           ("AUTH", "bob", "x"), ("DISCARD",), ("AUTH", "bob", "x")]


@test
def who_was_refused_is_told_as_in_redis():
    def log(r, *more):
        """Without what tells of the moment and of the connection, and what Redis 7.0 does not tell yet."""
        entries = r.call("ACL", "LOG", *more)
        if isinstance(entries, list) and all(isinstance(e, list) for e in entries):
            return [[v for k, v in zip(e[::2], e[1::2]) if k in (b"count", b"reason", b"context", b"object")] +
                    [e[9][:128]] for e in entries]
        return entries
    with RealRedis() as real, Server("--durability", "os") as s, Resp(real.port) as theirs, s.resp() as ours:
        for words in REFUSED:
            same(theirs, ours, words)
        for more in ((), ("2",), ("0",), ("-1",), ("x",), ("1", "2"), ("100",)):
            equal(log(ours, *more), log(theirs, *more), more)
        same(theirs, ours, ("ACL", "LOG", "reset"))
        same(theirs, ours, ("ACL", "LOG"))
        for n in range(200):  # no more are kept than a hundred and twenty-eight
            ours.call("AUTH", f"user{n}", "x")
        equal([e[9] for e in ours.call("ACL", "LOG", "1000")], [f"user{n}".encode() for n in range(199, 71, -1)])


def graph_of(history, worst):
    """What LATENCY GRAPH draws of what LATENCY HISTORY tells, without the ages below."""
    values = [ms for _, ms in history]
    low, high = min(values), max(values)
    lines = [f"command - high {high} ms, low {low} ms (all time high {worst} ms)", "-" * 80]
    steps = [min((ms - low) * 12 // (high - low) if high > low else 0, 11) for ms in values]
    for row in range(4):
        lines.append("".join(" " if step < 9 - 3 * row else "_o#|"[min(step - 9 + 3 * row, 3)] for step in steps))
    return "\n".join(lines)


@test
def what_was_slow_is_drawn_as_in_redis():
    def drawn(r):
        """The graph and what it is of; anew, if something was slow between."""
        while True:
            before, latest = r.call("LATENCY", "HISTORY", "command"), r.call("LATENCY", "LATEST")
            graph = r.call("LATENCY", "GRAPH", "command").decode()
            if before == r.call("LATENCY", "HISTORY", "command"):
                return graph, before, latest[0][3]
    with RealRedis() as real, Server("--durability", "os") as s, Resp(real.port) as theirs, s.resp() as ours:
        for r in (theirs, ours):
            r.call("CONFIG", "SET", "latency-monitor-threshold", "1")
        for n in (1, 9, 4):
            theirs.call("EVAL", f"local x = 0; for i = 1, {n * 2000000} do x = x + i end return 1", "0")
            time.sleep(1.1)  # a sample is a second's
        ours.call("MSET", "x", "ab" * 1500, "y", "ba" * 1500)
        while len(ours.call("LATENCY", "HISTORY", "command")) < 3:
            ours.call("LCS", "x", "y")
        for r in (theirs, ours):
            graph, history, worst = drawn(r)
            assert len(history) >= 3, history
            equal("\n".join(graph.split("\n")[:6]), graph_of(history, worst), history)
            ages = graph.split("\n")[6:]
            equal(ages[0], " " * len(history))
            for column in zip(*ages[1:3]):
                assert column[0].isdigit(), graph
        same(theirs, ours, ("LATENCY", "GRAPH", "nothing"))


if __name__ == "__main__":
    main()
