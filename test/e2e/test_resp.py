#!/usr/bin/env python3
"""The Redis protocol, byte for byte over a raw socket: replies, refusals, order, limits, and that what
it writes is what HTTP reads."""

import os
import re
import signal
import socket
import subprocess
import threading
import time

from quernd import BINARY, Refused, Resp, Server, Wire, command, equal, main, request, test, until

INTEGER = Refused("ERR value is not an integer or out of range")
SYNTAX = Refused("ERR syntax error")
TOO_LONG = Refused("ERR string exceeds maximum allowed size (proto-max-bulk-len)")


def arity(name):
    return Refused(f"ERR wrong number of arguments for '{name}' command")


def all_of(server, rows):
    """Each row: (arguments as one string or a tuple, the wanted answer)."""
    with server.resp() as r:
        for asked, wanted in rows:
            words = asked.split() if isinstance(asked, str) else asked
            equal(r.call(*words), wanted, asked)


@test
def strings_answer_as_in_redis():
    with Server("--durability", "os") as s:
        all_of(s, [
            ("GET a", None), ("SET a 1", "OK"), ("GET a", b"1"), ("get a", b"1"), ("StrLen a", 1),
            ("STRLEN none", 0), ("SET a 2 NX", None), ("SET b 2 nx", "OK"), ("SET c 3 XX", None),
            ("SET a 9 XX", "OK"), ("SET a 10 GET", b"9"), ("SET new 1 GET", None), ("GET new", b"1"),
            ("SET a 11 NX GET", b"10"), ("GET a", b"10"), ("SET x 1 XX GET", None), ("GET x", None),
            ("SET a 1 NX XX", SYNTAX), ("SET a 1 FOO", SYNTAX),
            ("GET a", b"10"), ("SETNX a 5", 0), ("SETNX d 5", 1), ("GETSET d 6", b"5"), ("GETSET e 1", None),
            ("GETDEL e", b"1"), ("GETDEL e", None), ("MSET m1 1 m2 2", "OK"),
            ("MGET m1 none m2 m1", [b"1", None, b"2", b"1"]), ("MSET m1", arity("mset")),
            ("MSET m1 1 m2", arity("mset")), ("MSETNX m3 1 m1 2", 0), ("GET m3", None),
            ("MSETNX m3 1 m4 2", 1), ("MSETNX m5 1 m6", arity("msetnx")), ("APPEND ap ab", 2),
            ("APPEND ap cd", 4), ("GET ap", b"abcd"), ("GETRANGE ap 1 2", b"bc"),
            ("GETRANGE ap -3 -1", b"bcd"), ("GETRANGE ap 3 1", b""), ("GETRANGE ap 0 100", b"abcd"),
            ("GETRANGE ap -100 1", b"ab"), ("GETRANGE none 0 1", b""), ("SUBSTR ap 0 0", b"a"),
            ("GETRANGE ap x 1", INTEGER), ("SETRANGE ap 2 XY", 4), ("GET ap", b"abXY"),
            ("SETRANGE ap 6 Z", 7), ("GET ap", b"abXY\0\0Z"), (("SETRANGE", "none", "5", ""), 0),
            ("EXISTS none", 0), ("SETRANGE ap -1 x", Refused("ERR offset is out of range")),
            ("SETRANGE ap 99999999999 x", TOO_LONG), ("SETRANGE ap 9223372036854775807 x", TOO_LONG),
        ])


@test
def numbers_answer_as_in_redis():
    overflow = Refused("ERR increment or decrement would overflow")
    bad = Refused("ERR value is not a valid float")
    with Server("--durability", "os") as s:
        all_of(s, [
            ("INCR n", 1), ("INCR n", 2), ("DECR n", 1), ("INCRBY n 41", 42), ("DECRBY n 50", -8),
            ("GET n", b"-8"), ("SET n 9223372036854775807", "OK"), ("INCR n", overflow),
            ("INCRBY n -1", 9223372036854775806), ("SET n -9223372036854775808", "OK"),
            ("DECR n", overflow), ("DECRBY n -9223372036854775808",
                                   Refused("ERR decrement would overflow")),
            ("INCRBY n x", INTEGER), ("SET n abc", "OK"), ("INCR n", INTEGER), ("SET n 01", "OK"),
            ("INCR n", INTEGER), (("SET", "n", " 1"), "OK"), ("INCR n", INTEGER),
            ("SET f 10.50", "OK"), ("INCRBYFLOAT f 0.1", b"10.6"), ("INCRBYFLOAT f -5", b"5.6"),
            ("SET f 5.0e3", "OK"), ("INCRBYFLOAT f 2.0e2", b"5200"), ("INCRBYFLOAT g 3.0", b"3"),
            ("GET g", b"3"), ("INCRBYFLOAT g x", bad), ("SET f x", "OK"), ("INCRBYFLOAT f 1", bad),
            ("INCRBYFLOAT g inf", Refused("ERR increment would produce NaN or Infinity")),
            ("INCR", arity("incr")), ("INCRBY n", arity("incrby")),
        ])


@test
def keys_answer_as_in_redis():
    with Server("--durability", "os") as s:
        all_of(s, [
            ("MSET a 1 b 2 c 3", "OK"), ("EXISTS a b none a", 3), ("TOUCH a none", 1),
            ("TYPE a", "string"), ("TYPE none", "none"), ("DEL a a none", 1), ("UNLINK b c", 2),
            ("DBSIZE", 0), ("RANDOMKEY", None), ("SET a 1", "OK"), ("RANDOMKEY", b"a"),
            ("RENAME a b", "OK"), ("GET a", None), ("GET b", b"1"), ("RENAME b b", "OK"),
            ("RENAME none b", Refused("ERR no such key")), ("SET c 2", "OK"), ("RENAMENX b c", 0),
            ("RENAMENX b d", 1), ("RENAMENX d d", 0), ("RENAMENX none d", Refused("ERR no such key")),
            ("COPY d c", 0), ("COPY d c REPLACE", 1), ("GET c", b"1"), ("COPY d e DB 0", 1),
            ("COPY d f DB 16", Refused("ERR DB index is out of range")), ("COPY none f", 0),
            ("COPY d d", Refused("ERR source and destination objects are the same")),
            ("COPY d e FOO", SYNTAX), ("KEYS *", [b"c", b"d", b"e"]), ("KEYS [^c]", [b"d", b"e"]),
            ("KEYS none*", []), ("DBSIZE", 3), ("OBJECT ENCODING c", b"int"),
            ("SET c abc", "OK"), ("OBJECT ENCODING c", b"embstr"), ("SET c " + "x" * 45, "OK"),
            ("OBJECT ENCODING c", b"raw"), ("OBJECT REFCOUNT c", 1), ("OBJECT IDLETIME c", 0),
            ("OBJECT ENCODING none", None), ("MEMORY USAGE c", 46), ("MEMORY USAGE none", None),
            (("SET", "", "x"), Refused("ERR a key of this server has 1 to 65536 bytes")),
            (("GET", ""), None), (("EXISTS", b"k" * 65537), 0), (("SET", b"k" * 65536, "x"), "OK"),
            (("GET", b"k" * 65536), b"x"),
        ])


@test
def typed_lines_in_a_row_hear_each_its_own():
    with Server("--durability", "os") as s, s.resp() as r:
        equal(r.call("MSET", "a", "1", "b", "2"), "OK")
        r.send(b"GET a\r\nGET b\r\nMGET a b\r\nGET " + b"x" * 5000 + b"\r\nEXISTS a\r\nGET a\r\n")
        equal([r.answer() for _ in range(6)], [b"1", b"2", [b"1", b"2"], None, 1, b"1"])


@test
def what_cannot_be_read_is_said_after_the_replies_before_it():
    with Server("--durability", "os") as s:
        for before in (["GET", "none"], ["MGET", "none", "none"], ["SET", "k", "v"], ["DBSIZE"]):
            with s.resp() as r, s.resp() as alone:
                wanted = alone.call(*before)
                r.send(2 * command(*before) + b"*1\r\n!x\r\n" + command("PING"))
                equal([r.answer(), r.answer()], [wanted] * 2 if before[0] != "DBSIZE" else [1, 1], before)
                equal(r.answer(), Refused("ERR Protocol error: expected '$', got '!'"))
                assert r.ended()


@test
def connections_answer_as_in_redis():
    with Server("--durability", "os", "--slow-log", "1440m") as s, s.resp() as r:
        rows = [
            ("PING", "PONG"), ("PING hello", b"hello"), ("PING a b", arity("ping")), ("ECHO hi", b"hi"),
            ("SELECT 15", "OK"), ("SELECT 16", Refused("ERR DB index is out of range")),
            ("SELECT x", INTEGER), ("CLIENT GETNAME", None), ("CLIENT SETNAME bob", "OK"),
            ("CLIENT GETNAME", b"bob"),
            (("CLIENT", "SETNAME", "a b"),
             Refused("ERR Client names cannot contain spaces, newlines or special characters.")),
            ("CLIENT SETINFO LIB-NAME py", "OK"), ("CLIENT SETINFO LIB-VER 1.0", "OK"),
            (("CLIENT", "SETNAME", "x" * 4096), "OK"),
            (("CLIENT", "SETNAME", "x" * 4097), Refused("ERR Client names cannot be longer than 4096 bytes.")),
            (("CLIENT", "SETINFO", "LIB-VER", "x" * 4097), Refused("ERR lib-ver cannot be longer than 4096 bytes.")),
            ("CLIENT SETINFO FOO 1", Refused("ERR Unrecognized option 'FOO'")),
            ("CLIENT NO-EVICT ON", "OK"), ("CLIENT NO-TOUCH OFF", "OK"), ("CLIENT", arity("client")),
            ("CLIENT FOO", Refused("ERR unknown subcommand 'FOO'. Try CLIENT HELP.")),
            ("CLIENT SETNAME", arity("client|setname")), ("WAIT 0 0", 0), ("WAIT 1 10", 0),
            ("ROLE", [b"master", 0, []]), ("SAVE", "OK"), ("BGSAVE", "Background saving started"),
            ("SLOWLOG LEN", 0), ("SLOWLOG GET", []), ("LATENCY LATEST", []), ("MODULE LIST", []),
            ("AUTH x", Refused("ERR AUTH <password> called without any password configured for the "
                               "default user. Are you sure your configuration is correct?")),
            ("AUTH default x", "OK"),
            ("AUTH bob x", Refused("WRONGPASS invalid username-password pair or user is disabled.")),
            ("CONFIG GET save", [b"save", b""]), ("CONFIG GET nothing", []),
            ("CONFIG GET appendonly", [b"appendonly", b"yes"]), ("CONFIG RESETSTAT", "OK"),
            ("CONFIG SET nothing 1",
             Refused("ERR Unknown option or number of arguments for CONFIG SET - 'nothing'")),
            ("CONFIG SET timeout 0", "OK"),
            ("foo a b", Refused("ERR unknown command 'foo', with args beginning with: 'a' 'b' ")),
            ("GET", arity("get")), ("RESET", "RESET"), ("CLIENT GETNAME", None),
        ]
        for asked, wanted in rows:
            equal(r.call(*(asked.split() if isinstance(asked, str) else asked)), wanted, asked)
        line = r.call("CLIENT", "INFO").decode()
        assert "lib-name=py lib-ver=1.0\n" in line and " cmd=client|info " in line, line
        with s.resp() as other:
            mine = int(re.search(r"id=(\d+)", line).group(1))
            equal(other.call("CLIENT", "ID"), mine + 1)
            equal(len(other.call("CLIENT", "LIST").splitlines()), 2)
            equal(len(other.call("CLIENT", "LIST", "ID", mine).splitlines()), 1)
        seconds, micros = r.call("TIME")
        assert abs(int(seconds) - time.time()) < 60 and 0 <= int(micros) < 1000000
        assert r.call("LASTSAVE") > 1600000000
        info = r.call("INFO").decode()
        for words in ("redis_version:7.2.4\r\n", "loading:0\r\n", "role:master\r\n", "# Keyspace\r\n"):
            assert words in info, (words, info)
        assert "# Server" not in r.call("INFO", "clients").decode()
        equal(r.call("QUIT"), "OK")
        assert r.ended()


@test
def hello_greets_in_both_protocols():
    with Server() as s, s.resp() as r:
        equal(r.call("HELLO", "4"), Refused("NOPROTO unsupported protocol version"))
        equal(r.call("HELLO", "x"), Refused("ERR Protocol version is not an integer or out of range"))
        equal(r.call("HELLO", "3", "FOO"), Refused("ERR Syntax error in HELLO option 'FOO'"))
        two = r.call("HELLO")
        equal(two[:6], [b"server", b"quern", b"version", b"7.2.4", b"proto", 2])
        equal(r.call("GET", "none"), None)
        r.write("HELLO", "3", "AUTH", "default", "", "SETNAME", "me")
        raw = r.raw()
        assert raw.startswith(b"%7\r\n") and b"$5\r\nproto\r\n:3\r\n" in raw and \
            b"$7\r\nmodules\r\n*0\r\n" in raw, raw
        r.write("GET", "none")
        equal(r.raw(), b"_\r\n")
        equal(r.call("CLIENT", "GETNAME"), b"me")
        r.write("CONFIG", "GET", "save")
        equal(r.raw(), b"%1\r\n$4\r\nsave\r\n$0\r\n\r\n")
        r.write("INFO", "replication")
        assert r.raw().startswith(b"="), "INFO is verbatim"
        equal(r.call("RESET"), "RESET")
        r.write("GET", "none")
        equal(r.raw(), b"$-1\r\n")


@test
def what_is_no_request_is_refused_in_redis_words_and_closed():
    cases = [
        (b"*x\r\n", "invalid multibulk length"), (b"*1048577\r\n", "invalid multibulk length"),
        (b"*1\r\nx\r\n", "expected '$', got 'x'"), (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$99999999999\r\n", "invalid bulk length"), (b"x \"a\r\n", "unbalanced quotes in request"),
        (b"a" * 70000, "too big inline request"), (b"*" + b"1" * 70000, "too big mbulk count string"),
        (b"*1\r\n$" + b"1" * 70000, "too big bulk count string"),
    ]
    with Server("--durability", "os") as s:
        for sent, words in cases:
            with s.resp() as r:
                r.write("SET", "k", "v")
                r.send(sent)
                equal(r.answer(), "OK")
                equal(r.answer(), Refused("ERR Protocol error: " + words), sent[:20])
                assert r.ended(), sent[:20]
        with s.resp() as r:
            r.send(b"*-1\r\n*0\r\n\r\nPING\r\nSET  in \"a\\x00b\" \r\nget in\r\n")
            equal([r.answer() for _ in range(3)], ["PONG", "OK", b"a\0b"])


@test
def pipelines_are_answered_in_order_and_see_what_they_wrote():
    with Server() as s, s.resp() as r:
        n = 500
        r.send(b"".join(command("INCR", "n") + command("APPEND", "a", "x") + command("SET", f"k{i}", i)
                        for i in range(n)) + command("GET", "n"))
        for i in range(n):
            equal([r.answer(), r.answer(), r.answer()], [i + 1, i + 1, "OK"])
        equal(r.answer(), str(n).encode())
        r.send(command("SET", "n", "abc") + command("INCR", "n") + command("nope") + command("GET", "n") +
               command("DEL", "n") + command("GET", "n"))
        equal([r.answer() for _ in range(6)],
              ["OK", INTEGER, Refused("ERR unknown command 'nope', with args beginning with: "),
               b"abc", 1, None])


@test
def one_byte_at_a_time_is_well_too():
    with Server("--durability", "os") as s, s.resp() as r:
        for byte in command("SET", "k", "v\r\n") + b"GET k\r\n":
            r.send(bytes([byte]))
        equal([r.answer(), r.answer()], ["OK", b"v\r\n"])


@test
def large_values_travel_whole():
    big = bytes(range(256)) * 4096
    with Server("--durability", "os", "--max-value", "2M") as s, s.resp() as r:
        equal(r.call("SET", "big", big), "OK")
        r.send(command("GET", "big") + command("PING") + command("GET", "big") + command("STRLEN", "big") +
               command("MGET", "big", "none"))
        equal([r.answer() for _ in range(5)] == [big, "PONG", big, len(big), [big, None]], True)
        equal(r.call("APPEND", "big", big), 2 * len(big))
        equal(r.call("APPEND", "big", "x"), TOO_LONG)
        equal(r.call("GETRANGE", "big", len(big), -1) == big, True)
        r.send(b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$2097153\r\n")
        equal(r.answer(), Refused("ERR Protocol error: invalid bulk length"))


@test
def replies_that_would_be_too_large_are_refused_and_many_large_ones_are_bounded():
    big = b"x" * (1 << 20)
    # A sanitizer would keep what is freed, and it would count.
    env = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=8"}
    with Server("--durability", "os", env=env) as s, s.resp() as r:
        equal(r.call("SET", "big", big), "OK")
        many = ["big"] * 300
        equal(r.call("MGET", *many), Refused("ERR the reply is over 256 MiB"))
        r.send(command("MULTI") + command("SET", "k", "1") + command("GET", "big") * 300 + command("EXEC"))
        equal([r.answer() for _ in range(302)], ["OK"] + ["QUEUED"] * 301)
        equal(r.answer(), Refused("ERR the transaction's replies are over 256 MiB"))
        equal(r.call("GET", "k"), None)
        with open(f"/proc/{s.process.pid}/clear_refs", "w", encoding="ascii") as f:
            f.write("5")  # the peak begins anew
        equal(r.call("PING"), "PONG")
        before = s.memory_kib("VmHWM")
        r.send(command("SET", "big", "x", "NX", "GET") * 300)  # an update each, which writes nothing
        equal([r.answer() == big for _ in range(300)], [True] * 300)
        grown = s.memory_kib("VmHWM") - before
        assert grown < 64 * 1024, f"{grown} KiB"


@test
def a_transaction_happens_whole_and_sees_itself():
    with Server() as s, s.resp() as r, s.resp() as other:
        equal(r.call("EXEC"), Refused("ERR EXEC without MULTI"))
        equal(r.call("DISCARD"), Refused("ERR DISCARD without MULTI"))
        r.send(b"".join(map(lambda a: command(*a.split()), [
            "MULTI", "SET a 1", "INCR a", "GET a", "PING", "INCRBY a x", "DEL a none", "EXISTS a",
            "MSET b 1 c 2", "MGET a b c", "DBSIZE", "MULTI", "WATCH a"])))
        equal([r.answer() for _ in range(13)], ["OK"] + ["QUEUED"] * 10 + [
            Refused("ERR MULTI calls can not be nested"), Refused("ERR WATCH inside MULTI is not allowed")])
        equal(other.call("DBSIZE"), 0)
        equal(r.call("EXEC"), ["OK", 2, b"2", "PONG", INTEGER, 1, 0, "OK", [None, b"1", b"2"], 2])
        for refused, words in (("nope", "ERR unknown command 'nope', with args beginning with: "),
                               ("GET", "ERR wrong number of arguments for 'get' command"),
                               ("SAVE", "ERR Command not allowed inside a transaction"),
                               ("CLIENT REPLY OFF", "ERR Command not allowed inside a transaction")):
            equal(r.call("MULTI"), "OK")
            equal(r.call(*refused.split()), Refused(words))
            equal(r.call("EXEC"),
                  Refused("EXECABORT Transaction discarded because of previous errors."))
        equal([r.call("MULTI"), r.call("SET", "d", "1"), r.call("DISCARD"), r.call("GET", "d")],
              ["OK", "QUEUED", "OK", None])
        equal([r.call("MULTI"), r.call("EXEC")], ["OK", []])
        equal([r.call("MULTI"), r.call("PING"), r.call("EXEC")], ["OK", "QUEUED", ["PONG"]])


@test
def a_watched_key_that_was_written_stops_exec():
    with Server() as s, s.resp() as r, s.resp() as other, s.connect() as w:
        for meddle in (lambda: other.call("SET", "k", "1"), lambda: other.call("DEL", "k"),
                       lambda: w.put("k", b"9").status, lambda: other.call("INCR", "k"),
                       lambda: r.call("SET", "k", "mine")):
            equal(r.call("WATCH", "k", "none"), "OK")
            meddle()
            equal([r.call("MULTI"), r.call("SET", "k", "x"), r.call("EXEC")], ["OK", "QUEUED", None])
        equal(r.call("WATCH", "k"), "OK")
        other.call("SET", "unwatched", "1")
        equal([r.call("MULTI"), r.call("SET", "k", "x"), r.call("EXEC")], ["OK", "QUEUED", ["OK"]])
        equal(r.call("WATCH", "k"), "OK")
        other.call("SET", "k", "2")
        equal(r.call("UNWATCH"), "OK")
        equal([r.call("MULTI"), r.call("GET", "k"), r.call("EXEC")], ["OK", "QUEUED", [b"2"]])
        r.call("HELLO", "3")
        r.call("WATCH", "k")
        other.call("SET", "k", "3")
        r.call("MULTI")
        r.write("EXEC")
        equal(r.raw(), b"_\r\n")


@test
def counters_of_many_clients_lose_nothing():
    with Server() as s:
        def run(transaction):
            with s.resp() as r:
                for _ in range(20):
                    if transaction:
                        r.send(command("MULTI") + command("INCR", "n") * 2 + command("EXEC"))
                        for _ in range(4):
                            r.answer()
                    else:
                        r.send(command("INCR", "n") * 10)
                        for _ in range(10):
                            r.answer()
        threads = [threading.Thread(target=run, args=(n % 2 == 0,)) for n in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        with s.resp() as r:
            equal(r.call("GET", "n"), str(3 * 20 * 2 + 3 * 20 * 10).encode())


@test
def scan_tells_every_key_once_in_order_and_knows_its_cursors():
    with Server("--durability", "os") as s, s.resp() as r:
        names = sorted(f"{kind}:{i:04}".encode() for kind in ("a", "user", "z") for i in range(300))
        r.call("MSET", *[part for name in names for part in (name, "v")])

        def scan(*more):
            cursor, found, calls = b"0", [], 0
            while True:
                cursor, some = r.call("SCAN", cursor, *more)
                found += some
                calls += 1
                if cursor == b"0":
                    return found, calls
        equal(scan()[0], names)
        equal(scan("COUNT", 7)[0], names)
        equal(scan("COUNT", 100000), (names, 1))
        found, calls = scan("MATCH", "user:*", "COUNT", 100)
        equal((found, calls), ([n for n in names if n.startswith(b"user:")], 3))
        equal(scan("MATCH", "*5", "COUNT", 1000)[0], [n for n in names if n.endswith(b"5")])
        equal(scan("TYPE", "string", "COUNT", 1000)[0], names)
        equal(scan("TYPE", "list"), ([], 1))
        cursor, some = r.call("SCAN", "0", "COUNT", 10)
        r.call("DEL", some[-1])  # the key that the cursor stands on
        r.call("SET", "b:new", "v")
        rest = []
        while cursor != b"0":
            cursor, more = r.call("SCAN", cursor, "COUNT", 50)
            rest += more
        equal(rest, sorted(names[10:] + [b"b:new"]))
        for bad in ("17", "x", "-1", "99999999999999999999"):
            equal(r.call("SCAN", bad), Refused("ERR invalid cursor"), bad)
        equal(r.call("SCAN", "0", "COUNT", "0"), SYNTAX)
        equal(r.call("SCAN", "0", "COUNT", "x"), INTEGER)
        equal(r.call("SCAN", "0", "FOO"), SYNTAX)


@test
def many_scans_at_once_go_each_its_way():
    with Server("--durability", "os") as s, s.resp() as r:
        names = [f"k{i:03}".encode() for i in range(200)]
        r.call("MSET", *[part for name in names for part in (name, "v")])
        scans = [[b"0", []] for _ in range(400)]
        first = True
        while first or any(cursor != b"0" for cursor, _ in scans):
            going = [scan for scan in scans if first or scan[0] != b"0"]
            r.send(b"".join(command("SCAN", scan[0], "COUNT", 50) for scan in going))
            for scan in going:
                scan[0], some = r.answer()
                scan[1] += some
            first = False
        for _, found in scans:
            equal(found, names)


@test
def the_third_protocol_sends_only_what_clients_of_redis_7_know():
    known = set(b"+-:$*_%~=")
    with Server("--durability", "os") as s, s.resp() as r:
        equal(r.call("HELLO", "3")[b"proto"], 3)
        r.call("MSET", "a", "1", "b", "2.5")
        for words in ("GET a", "GET none", "MGET a none", "INCRBYFLOAT b 1e10", "SCAN 0", "KEYS *", "TTL a", "COMMAND", "INFO",
                      "CONFIG GET *", "CLIENT LIST", "CLIENT INFO", "CLIENT TRACKING ON", "SET a 2", "COMMAND DOCS set",
                      "LCS a b IDX", "OBJECT ENCODING a", "EXISTS a", "MULTI", "GET a", "EXEC", "WATCH a", "ROLE", "TIME",
                      "SLOWLOG GET", "LATENCY HISTOGRAM", "MEMORY DOCTOR", "QUERN.RANGE a b", "NOPE", "RANDOMKEY"):
            r.write(*words.split())
            raw = r.raw()
            at = 0
            while at < len(raw):  # each part's first byte; what bulks hold is passed over
                end = raw.index(b"\r\n", at)
                assert raw[at] in known, (words, raw[at:at + 40])
                size = raw[at + 1:end]
                at = end + 2 + (int(size) + 2 if raw[at] in b"$=" and size != b"-1" else 0)


@test
def info_has_the_fields_that_tools_look_for():
    fields = """redis_version quern_version redis_mode os arch_bits process_id run_id tcp_port uptime_in_seconds executable
        config_file connected_clients blocked_clients maxclients used_memory used_memory_human used_memory_rss maxmemory
        maxmemory_policy loading rdb_last_save_time aof_enabled quern_wal_bytes quern_flush_in_progress
        total_connections_received total_commands_processed instantaneous_ops_per_sec keyspace_hits keyspace_misses expired_keys
        rejected_connections total_net_input_bytes role connected_slaves master_repl_offset used_cpu_user db0""".split()
    with Server("--durability", "os") as s, s.resp() as r:
        r.call("SET", "a", "1", "EX", 1000)
        r.call("GET", "a")
        found = dict(line.split(":", 1) for line in r.call("INFO", "all").decode().splitlines() if ":" in line)
        equal([f for f in fields if f not in found], [])
        assert re.fullmatch(r"keys=1,expires=1,avg_ttl=\d+", found["db0"]), found["db0"]
        equal((found["redis_mode"], found["loading"], found["role"], found["keyspace_hits"]), ("standalone", "0", "master", "1"))
        assert os.path.samefile(found["executable"], BINARY), found["executable"]
        two = r.call("INFO", "clients", "CPU").decode()
        equal(re.findall(r"# (\w+)", two), ["Clients", "CPU"])
        equal(r.call("INFO", "nothing"), b"")
        until(lambda: b"instantaneous_ops_per_sec:0\r\n" not in r.call("INFO", "stats"), "a rate")


@test
def ranges_are_told_in_order_and_counted():
    with Server("--durability", "os") as s, s.resp() as r:
        r.call("MSET", *[part for i in range(30) for part in (f"k{i:02}", f"v{i}")])
        names = [f"k{i:02}".encode() for i in range(30)]
        def keys(*words):
            return [key for key, _ in r.call("QUERN.RANGE", *words)]
        equal(r.call("QUERN.RANGE", "k03", "k05"), [[b"k03", b"v3"], [b"k04", b"v4"]])
        equal(keys("", ""), names)
        equal(keys("k28", ""), names[28:])
        equal(keys("", "k02", "REV"), [b"k01", b"k00"])
        equal(keys("k10", "k20", "limit", "2", "rev"), [b"k19", b"k18"])
        equal((keys("", "", "LIMIT", "0"), keys("z", ""), keys("k2", "k1")), ([], [], []))
        for words, wanted in ((("", "", "LIMIT"), SYNTAX), (("", "", "x"), SYNTAX), (("", "", "LIMIT", "x"), INTEGER),
                              (("", "", "LIMIT", "-1"), Refused("ERR LIMIT can't be negative"))):
            equal(r.call("QUERN.RANGE", *words), wanted, words)
        equal([r.call("QUERN.COUNT", *w) for w in (("", ""), ("k03", "k05"), ("z", ""), ("k2", "k1"))], [30, 2, 0, 0])
        r.call("MSET", *[part for i in range(2000) for part in (f"m{i:04}", "")])
        equal((len(keys("m", "")), len(keys("m", "", "LIMIT", "5000"))), (1000, 2000))
        assert b'"memdb_entries":2030' in r.call("QUERN.STATS").replace(b" ", b""), r.call("QUERN.STATS")


@test
def commands_describe_themselves():
    with Server() as s, s.resp() as r:
        everything = r.call("COMMAND")
        equal(len(everything), r.call("COMMAND", "COUNT"))
        for info in everything:
            assert len(info) == 10 and isinstance(info[0], bytes), info
        equal(sorted(r.call("COMMAND", "LIST")), sorted([info[0] for info in everything] +
                                                        [sub[0] for info in everything for sub in info[9]]))
        get, nothing, sub = r.call("COMMAND", "INFO", "get", "nothing", "client|list")
        equal(get[:6], [b"get", 2, ["readonly", "fast"], 1, 1, 1])
        equal((nothing, sub[0]), (None, b"client|list"))
        equal(r.call("COMMAND", "LIST", "FILTERBY", "PATTERN", "mset*"), [b"mset", b"msetnx"])
        equal(r.call("COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2"), [b"a", b"b"])
        equal(r.call("COMMAND", "GETKEYS", "PING", "x"), Refused("ERR The command has no key arguments"))
        equal(r.call("COMMAND", "GETKEYS", "NOPE", "x"), Refused("ERR Invalid command specified"))
        docs = r.call("COMMAND", "DOCS", "set")
        equal((docs[0], docs[1][0]), (b"set", b"summary"))
        equal(len(r.call("COMMAND", "DOCS")), 2 * len(everything))
        r.call("HELLO", "3")
        docs = r.call("COMMAND", "DOCS")
        options = docs[b"set"][b"arguments"]
        equal([a[b"name"] for a in options], [b"key", b"value", b"choice", b"GET", b"choice"])
        equal((options[0][b"type"], options[2][b"type"], options[2][b"flags"]), (b"key", b"oneof", ["optional"]))
        equal([a[b"token"] for a in options[4][b"arguments"]], [b"EX", b"PX", b"EXAT", b"PXAT", b"KEEPTTL"])
        equal(docs[b"mset"][b"arguments"][0][b"flags"], ["multiple"])
        arity = {}
        for info in everything:
            arity[info[0]] = abs(info[1]) - 1 if not info[9] else 0
            arity.update({sub[0]: abs(sub[1]) - 2 for sub in info[9]})
        for name, doc in docs.items():  # who takes arguments says which
            for sub, its in ((name, doc), *doc.get(b"subcommands", {}).items()):
                assert arity[sub] <= 0 or b"arguments" in its, sub
        assert r.call("CLIENT", "HELP")[0].startswith("CLIENT <subcommand>")


@test
def replies_can_be_switched_off():
    with Server() as s, s.resp() as r:
        r.send(command("CLIENT", "REPLY", "OFF") + command("SET", "a", "1") + command("GET", "a") +
               command("nope") + command("CLIENT", "REPLY", "ON") + command("GET", "a"))
        equal([r.answer(), r.answer()], ["OK", b"1"])
        r.send(command("CLIENT", "REPLY", "SKIP") + command("SET", "a", "2") + command("GET", "a"))
        equal(r.answer(), b"2")


@test
def what_one_protocol_writes_the_other_reads():
    value = bytes(range(256))
    with Server() as s, s.resp() as r, s.connect() as w:
        for key in (b"plain", b"\0\r\n\xff", b"a b+c%/d"):
            equal(r.call("SET", key, value), "OK")
            equal(w.get(key).body, value)
            equal(w.put(key, b"http").status, 200)
            equal(r.call("GET", key), b"http")
            equal(w.delete(key).status, 200)
            equal(r.call("EXISTS", key), 0)
            equal(r.call("APPEND", key, "x"), 1)
            equal(w.get(key).body, b"x")
            equal(r.call("DEL", key), 1)
            equal(w.get(key).status, 404)


@test
def the_wrong_door_says_where_the_right_one_is():
    with Server() as s:
        with Wire(s.resp_port) as w:
            w.send(request("GET", "/get?key=a"))
            reply = w.read()
            equal(reply.status, 400)
            equal(reply.body.decode(),
                  f"error: this is quern's Redis protocol port; HTTP is at :{s.port}\n")
            assert w.ended()
        for first in (b"POST / HTTP/1.1\r\n", b"Host: localhost\r\n", b"post x\r\n"):
            with s.resp() as r:
                r.send(first + b"SET smuggled 1\r\n")
                until(r.ended if first != b"POST / HTTP/1.1\r\n" else lambda: r.read() is not None,
                      first)
        s.wait_told("speaks HTTP on the Redis protocol's port")
        for sent in (command("PING"), b"+PING\r\n"):
            with Resp(s.port) as r:
                r.send(sent)
                equal(r.answer(), Refused(f"ERR this is quern's HTTP port; RESP is at :{s.resp_port}"))
                assert r.ended()
        with s.resp() as r:
            equal(r.call("GET", "smuggled"), None)
    with Server(resp="off") as s, Resp(s.port) as r:
        equal(s.resp_port, 0)
        r.write("PING")
        equal(r.answer(), Refused("ERR this is quern's HTTP port"))


@test
def a_port_in_use_and_a_wrong_address_are_said():
    with Server() as s:
        for address, status, words in (
                (f"127.0.0.1:{s.resp_port}", 3,
                 f"port {s.resp_port} is in use; try --resp-listen 127.0.0.1:{s.resp_port + 1}, or "
                 "--resp-listen off"),
                ("localhost:6380", 2, "must be off, or a numeric address with a port"),
                ("127.0.0.1", 2, "must be off"), ("127.0.0.1:65536", 2, "must be off"),
                ("0.0.0.0:0", 1, "--insecure-no-auth")):
            other = Server(resp=address)
            equal(other.process.wait(10), status, address)
            assert words in other.stderr(), other.stderr()
            other.forget()


@test
def the_limit_of_connections_can_be_set_while_the_server_runs():
    def failed(name, why):
        return Refused(f"ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
    with Server("--max-connections", "5") as s, s.resp() as a, s.resp() as b:
        for words, wanted in (
                ("maxclients 6", failed("maxclients", "argument must be between 1 and 5 inclusive")),
                ("maxclients x", failed("maxclients", "argument couldn't be parsed into an integer")),
                ("maxclients 2 maxclients 2", failed("maxclients", "duplicate parameter")),
                ("maxclients 2 port 1", failed("port", "can't set immutable config")),
                ("maxclients 2 timeout 0", "OK"), ("maxclients", arity("config|set"))):
            equal(a.call("CONFIG", "SET", *words.split()), wanted, words)
        equal([a.call("CONFIG", "GET", "maxclients"), b.call("PING")], [[b"maxclients", b"2"], "PONG"])
        with s.resp() as r:
            equal(r.answer(), Refused("ERR max number of clients reached"))
        equal(a.call("CONFIG", "SET", "maxclients", "5"), "OK")
        with s.resp() as r:
            equal(r.call("PING"), "PONG")


@test
def connections_beyond_the_limit_hear_it():
    with Server("--max-connections", "2") as s, s.resp() as a, s.resp() as b:
        equal([a.call("PING"), b.call("PING")], ["PONG", "PONG"])
        with s.resp() as r:
            equal(r.answer(), Refused("ERR max number of clients reached"))
            assert r.ended()


@test
def a_client_that_does_not_read_is_bounded_and_ended():
    with Server("--idle-timeout", "1500ms", "--durability", "os") as s:
        with s.resp() as r:
            equal(r.call("SET", "k", b"x" * 50000), "OK")
        before = s.memory_kib()
        deaf = [s.resp() for _ in range(10)]
        for r in deaf:
            r.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            r.socket.settimeout(0.05)
            try:
                for _ in range(20):
                    r.send(command("GET", "k") * 2000)
            except (TimeoutError, OSError):
                pass
        grown = s.memory_kib() - before
        assert grown < 10 * 4096, f"{grown} KiB"
        with s.resp() as r:
            until(lambda: len(r.call("CLIENT", "LIST").splitlines()) == 1, "deaf clients are gone")
        for r in deaf:
            r.socket.close()


@test
def an_idle_client_stays_and_half_a_request_does_not():
    with Server("--idle-timeout", "400ms", "--header-timeout", "400ms") as s, s.resp() as idle:
        equal(idle.call("PING"), "PONG")
        with s.resp() as half:
            half.send(b"*1\r\n$4\r\nPI")
            assert half.ended()
        time.sleep(0.5)
        equal(idle.call("PING"), "PONG")


@test
def shutdown_ends_it_when_all_is_safe():
    with Server() as s:
        idle = s.resp()
        with s.resp() as r:
            r.send(command("SET", "k", "v") + command("SHUTDOWN", "NOSAVE"))
            equal(r.answer(), "OK")
            assert r.ended()
        assert "all data is safe on disk" in s.stdout()
        assert "(SHUTDOWN)" in s.stdout()
        assert idle.ended()
        equal(s.process.wait(30), 0)
        with Server(data=s.data) as again, again.resp() as r:
            equal(r.call("GET", "k"), b"v")
            equal(r.call("SHUTDOWN", "FOO"), SYNTAX)
            equal(r.call("SHUTDOWN", "ABORT"), Refused("ERR No shutdown in progress."))


@test
def a_drain_answers_what_was_begun():
    with Server() as s, s.resp() as r:
        n = 200
        r.send(b"".join(command("SET", f"k{i}", i) for i in range(n)))
        equal(r.answer(), "OK")
        s.process.send_signal(signal.SIGTERM)
        answered = 1
        try:
            while r.answer() == "OK":
                answered += 1
        except (EOFError, ConnectionResetError):
            pass
        equal(s.process.wait(30), 0)
        with Server(data=s.data) as again, again.resp() as q:
            for i in range(answered):
                equal(q.call("GET", f"k{i}"), str(i).encode())


@test
def kill_9_keeps_what_was_answered():
    for level in ("always", "interval:20", "os"):
        with Server() as first:
            equal(first.stop(), 0)
            told = [{"n": 0, "t": -1} for _ in range(3)]

            def load(port, known, number):
                words = ["INCR n%d", "APPEND a%d x", "MULTI", "INCR t%d", "INCR u%d", "EXEC"]
                burst = b"".join(command(*(w % number if "%" in w else w).split()) for w in words)
                try:
                    with Resp(port, 10) as r:
                        while True:
                            r.send(burst)
                            known["n"] = r.answer()
                            for _ in range(4):
                                r.answer()
                            known["t"] = r.answer()[0]
                except (OSError, EOFError):
                    pass

            with Server("--durability", level, data=first.data) as s:
                threads = [threading.Thread(target=load, args=(s.resp_port, told[n], n)) for n in range(3)]
                for t in threads:
                    t.start()
                time.sleep(0.6)
                s.kill()
                for t in threads:
                    t.join()
            with Server(data=first.data) as again, again.resp() as r:
                for number, known in enumerate(told):
                    assert known["n"] > 0, "nothing was written"
                    assert int(r.call("GET", f"n{number}")) >= known["n"], level
                    assert r.call("STRLEN", f"a{number}") >= known["n"] - 1, level
                    one, two = r.call("MGET", f"t{number}", f"u{number}")
                    equal(one, two, "a transaction is whole or not there")
                    assert int(one) >= known["t"], level


@test
def a_full_disk_is_told_and_reads_go_on():
    # A file size limit makes writes to the log fail as a full disk does.
    with Server() as first:
        with first.resp() as r:
            equal(r.call("SET", "before", "1"), "OK")
        equal(first.stop(), 0)
        script = os.path.join(first.own_dir, "limited.sh")
        with open(script, "w", encoding="ascii") as f:
            f.write(f'#!/bin/sh\nulimit -f 4096\nexec "{BINARY}" "$@"\n')
        os.chmod(script, 0o755)
        with Server(data=first.data, binary=script) as s, s.resp() as r:
            seen = set()
            for i in range(60):
                r.send(command("SET", f"k{i}", os.urandom(200000)) + command("APPEND", f"a{i}", b"x" * 100000) +
                       command("MULTI") + command("SET", f"m{i}", b"x" * 100000) + command("EXEC"))
                answers = [r.answer() for _ in range(5)]
                equal(answers[2:4], ["OK", "QUEUED"])
                for answer in (answers[0], answers[1], answers[4]):
                    seen.add(answer.args[0].split(" ")[0] if isinstance(answer, Refused) else "well")
            equal(seen, {"well", "NOSPACE"})
            equal(r.call("GET", "before"), b"1")


@test
def the_page_of_commands_is_that_of_the_code():
    page = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "resp.md")
    printed = subprocess.run([BINARY, "--print-commands"], stdout=subprocess.PIPE, check=True).stdout.decode()
    with open(page, encoding="utf-8") as f:
        assert printed in f.read(), "docs/resp.md: put the output of quernd --print-commands there"


if __name__ == "__main__":
    main()
