#!/usr/bin/env python3
"""The server under load: a disk that does not answer, clients that are slow, silent, greedy or many.

Nothing here measures speed. That nobody waits for the disk but who asked for what is there is shown
with a disk that does not answer at all (sick_disk.so), and one loop for everybody."""

import contextlib
import json
import os
import resource
import socket

from quernd import Refused, Server, SickDisk, answered, command, equal, is_watched, main, request, test, until

KEYS = 64
LARGE = os.urandom(1 << 20)  # more than a cache of so little memory keeps


def stats_of(wire):
    return json.loads(wire.ask("GET", "/stats").body)


def fill(data):
    """A store that lies in tables; whoever opens it next has nothing of it in memory."""
    with Server(data=data) as s, s.resp() as r:
        for n in range(KEYS):
            equal(r.call("SET", f"k{n:03}", str(n)), "OK")
        equal(r.call("SET", "text", "abc"), "OK")
        equal(r.call("SET", "large", LARGE), "OK")


class ColdDisk(SickDisk):
    """A store of which nothing is in memory, on a disk that does not answer until it is told to. Should
    a loop ask it, the server ends."""

    def __enter__(self):
        self.data = os.path.join(self.dir, "data")
        fill(self.data)
        self.server = Server("--loops", "1", "--durability", "os", "--memory", "16M", data=self.data,
                             env=self.env)
        with self.server.connect() as w:  # memory for a first write is taken, and the log begun
            equal(w.put("there", b"1").status, 200)
        self.order("no-loop")
        self.order("hold-reads")
        return self

    def __exit__(self, *what):
        self.revoke("hold-reads")
        self.server.__exit__(*what)
        super().__exit__(*what)


def everybody_else_is_served(server, n):
    with server.connect() as w, server.resp() as r:
        equal(w.get("there").body, b"1")
        equal(w.put(f"new{n}", b"2").status, 200)
        equal(w.get(f"new{n}").body, b"2")
        equal(r.call("GET", "there"), b"1")
        equal(r.call("MGET", "there", f"new{n}"), [b"1", b"2"])
        equal(w.ask("GET", "/livez").status, 200)


# ---------------------------------------------------------------- the disk

@test
def a_command_that_waits_for_the_disk_holds_up_nobody_else():
    cases = [
        (("GET", "k001"), b"1"),
        (("STRLEN", "k010"), 2),
        (("MGET", "k001", "there", "nowhere", "k002"), [b"1", b"1", None, b"2"]),
        (("EXISTS", "k003", "k004", "nowhere"), 2),
        (("GETRANGE", "text", "1", "-1"), b"bc"),
        (("INCR", "k005"), 6),
        (("SET", "k006", "x", "GET"), b"6"),
        (("GETDEL", "k007"), b"7"),
        (("DEL", "k008", "nowhere"), 1),
        (("APPEND", "text", "d"), 4),
        (("KEYS", "k06*"), [b"k060", b"k061", b"k062", b"k063"]),
        (("SCAN", "0", "MATCH", "k00[12]", "COUNT", "1000"), [b"0", [b"k001", b"k002"]]),
        (("WATCH", "k009"), "OK"),
        (("WATCH", "there", "large", "nowhere"), "OK"),
        (("STRLEN", "large"), len(LARGE)),
    ]
    for n, (arguments, want) in enumerate(cases):
        with ColdDisk() as disk, disk.server.resp() as r:
            r.write(*arguments)
            everybody_else_is_served(disk.server, n)
            equal(answered(r, 0.05), False, arguments)
            disk.revoke("hold-reads")
            equal(r.answer(), want, arguments)


@test
def a_transaction_that_waits_for_the_disk_holds_up_nobody_else():
    with ColdDisk() as disk, disk.server.resp() as r:
        for arguments in (("MULTI",), ("INCR", "k001"), ("GET", "k002"), ("EXEC",)):
            r.write(*arguments)
        for want in ("OK", "QUEUED", "QUEUED"):
            equal(r.answer(), want)
        everybody_else_is_served(disk.server, 0)
        equal(answered(r, 0.05), False)
        disk.revoke("hold-reads")
        equal(r.answer(), [2, b"2"])


@test
def a_transaction_that_walks_holds_up_nobody_else_and_does_not_see_what_follows_it():
    last = [b"k060", b"k061", b"k062", b"k063"]
    for first in ((), (("SET", "k06a", "1"),), (("INCR", "k005"), ("SET", "k06a", "1"))):
        made = [b"k06a"] if first else []
        walks = [(("KEYS", "k06*"), last + made), (("PING",), "PONG"),
                 (("SCAN", "0", "MATCH", "k06*", "COUNT", "1000"), [b"0", last + made]), (("GETRANGE", "text", "0", "0"), b"a"),
                 (("QUERN.COUNT", "k06", "k07"), 4 + len(made)), (("TIME",), None), (("DBSIZE",), KEYS + 3 + len(made)),
                 (("RANDOMKEY",), None), (("INFO", "keyspace"), None)]
        if not first:
            walks.remove((("GETRANGE", "text", "0", "0"), b"a"))  # what walks, and nothing else
        with ColdDisk() as disk, disk.server.resp() as r, disk.server.connect() as w:
            said = [("MULTI",), *first, *[words for words, _ in walks], ("EXEC",), ("SET", "k06b", "2"), ("GET", "k06b")]
            r.send(b"".join(command(*words) for words in said))
            equal([r.answer() for _ in said[:-3]], ["OK"] + ["QUEUED"] * (len(said) - 4))
            for n in (1, 2):
                equal(w.get("there").body, b"1")
                with disk.server.resp() as other:
                    equal([other.call("PING"), other.call("GET", "there")], ["PONG", b"1"])
            equal(answered(r, 0.05), False)
            disk.revoke("hold-reads")
            replies = r.answer()[len(first):]
            for (words, want), got in zip(walks, replies):
                assert want is None or got == want, (words, got, want)
            equal([r.answer(), r.answer()], ["OK", b"2"])


@test
def what_was_watched_aside_counts_as_what_was_watched_on_the_loop():
    for key, written in (("large", True), ("k001", True), ("nowhere", True), ("large", False), ("k001", False)):
        with ColdDisk() as disk, disk.server.resp() as r, disk.server.resp() as other:
            r.write("WATCH", "there", key)
            disk.revoke("hold-reads")
            equal(r.answer(), "OK")
            if written:
                equal(other.call("SET", key, "x"), "OK")
            equal([r.call("MULTI"), r.call("SET", "there", "mine"), r.call("KEYS", "there")], ["OK", "QUEUED", "QUEUED"])
            equal(r.call("EXEC"), None if written else ["OK", [b"there"]], key)
            equal(r.call("GET", "there"), b"1" if written else b"mine", key)


@contextlib.contextmanager
def no_thread_is_free(disk):
    """One get more than the threads beside the loops take at a time, 32 of them 32 each."""
    wires = [disk.server.resp() for _ in range(33)]
    for wire in wires:
        for n in range(32):
            wire.write("GET", f"k{n:03}")
    everybody_else_is_served(disk.server, 0)
    yield
    for wire in wires:
        for n in range(32):
            equal(wire.answer(), str(n).encode())
        wire.socket.close()


@test
def a_command_that_computes_long_does_so_aside():
    with ColdDisk() as disk, disk.server.resp() as r:
        equal(r.call("MSET", "one", "abcd", "two", "xbdy"), "OK")
        with no_thread_is_free(disk):
            r.write("LCS", "one", "two")
            everybody_else_is_served(disk.server, 1)
            equal(answered(r, 0.05), False)
            disk.revoke("hold-reads")
            equal(r.answer(), b"bd")


@test
def a_transaction_computes_long_behind_its_commit_on_what_it_has_read():
    with ColdDisk() as disk, disk.server.resp() as r, disk.server.resp() as other:
        equal(r.call("MSET", "one", "abcd", "two", "xbdy"), "OK")
        with no_thread_is_free(disk):
            words = [("SET", "one", "ab"), ("LCS", "one", "two"), ("GET", "one"), ("SET", "two", "a"),
                     ("LCS", "one", "two", "IDX"), ("LCS", "one", "two", "NOPE"), ("LCS", "two", "one"), ("SET", "one", "last")]
            for arguments in (("MULTI",), *words, ("EXEC",), ("GET", "two")):
                r.write(*arguments)
            for want in ["OK", *["QUEUED"] * len(words)]:
                equal(r.answer(), want)
            until(lambda: other.call("GET", "one") == b"last", "written")  # whole; its reply is not there
            equal(other.call("MSET", "one", "x", "two", "y"), "OK")
            equal(answered(r, 0.05), False)
            disk.revoke("hold-reads")
            equal(r.answer(), ["OK", b"b", b"ab", "OK", [b"matches", [[[0, 0], [0, 0]]], b"len", 1], Refused("ERR syntax error"), b"a", "OK"])
            equal(r.answer(), b"y")


def cpu_ticks(server):
    with open(f"/proc/{server.process.pid}/stat", encoding="ascii") as f:
        return sum(map(int, f.read().rsplit(") ", 1)[1].split()[11:13]))


@test
def of_a_transaction_that_computes_long_no_writer_waits_for_that():
    times = 20 if is_watched() else 100  # some 2 million steps each
    with ColdDisk() as disk, disk.server.resp() as r, disk.server.resp() as other:
        equal(r.call("MSET", "one", "ab" * 750, "two", "ba" * 750), "OK")
        with no_thread_is_free(disk):
            for arguments in (("MULTI",), *[("LCS", "one", "two", "LEN")] * times, ("SET", "one", "last"), ("EXEC",)):
                r.write(*arguments)
            for want in ["OK", *["QUEUED"] * (times + 1)]:
                equal(r.answer(), want)
            begun = cpu_ticks(disk.server)
            until(lambda: other.call("GET", "one") == b"last", "written")
            written = cpu_ticks(disk.server)
            disk.revoke("hold-reads")
            equal(r.answer(), [1499] * times + ["OK"])
            done = cpu_ticks(disk.server)
            assert 4 * (written - begun) < done - written, (begun, written, done)


@test
def a_request_that_waits_for_the_disk_holds_up_nobody_else():
    batch = json.dumps({"ops": [{"op": "get", "key": "k001"}, {"op": "put", "key": "b", "value": "c"}]})
    cases = [
        (request("GET", "/get?key=k001"), 200, b"1"),
        (request("GET", "/get?key=k001", fields=[("Range", "bytes=0-0")]), 206, b"1"),
        (request("GET", "/v1/kv/k002"), 200, b"2"),
        (request("DELETE", "/del?key=k003"), 200, b"OK\n"),
        (request("PUT", "/v1/kv/k004", b"new"), 204, b""),
        (request("DELETE", "/v1/kv/k005"), 204, b""),
        (request("POST", "/v1/kv/k006?op=incr"), 200, None),
        (request("POST", "/v1/batch", batch.encode()), 200, None),
        (request("GET", "/v1/keys?prefix=k06&count=1"), 200, None),
    ]
    for n, (text, status, body) in enumerate(cases):
        with ColdDisk() as disk, disk.server.connect() as w:
            w.send(text)
            everybody_else_is_served(disk.server, n)
            equal(answered(w, 0.05), False, text)
            disk.revoke("hold-reads")
            reply = w.read()
            equal(reply.status, status, text)
            if body is not None:
                equal(reply.body, body, text)


@test
def what_follows_a_read_that_waits_for_the_disk_neither_overtakes_it_nor_is_lost():
    with ColdDisk() as disk, disk.server.resp() as r, disk.server.connect() as w:
        r.send(b"".join((command("GET", "k001"), command("SET", "k001", "later"),
                         command("GET", "k001"), command("GET", "k002"), command("INCR", "k003"),
                         command("SET", "k003", "again"), command("GET", "k003"),
                         command("GET", "there"), command("PING"))))
        w.send(request("GET", "/get?key=k010") + request("POST", "/set?key=k010&value=later") +
               request("GET", "/get?key=k010") + request("GET", "/get?key=k011") +
               request("GET", "/get?key=there"))
        everybody_else_is_served(disk.server, 0)
        disk.revoke("hold-reads")
        for want in (b"1", "OK", b"later", b"2", 4, "OK", b"again", b"1", "PONG"):
            equal(r.answer(), want)
        for want in (b"10", b"OK\n", b"later", b"11", b"1"):
            equal(w.read().body, want)


@test
def many_reads_wait_for_the_disk_together_and_each_gets_its_own_value():
    with ColdDisk() as disk:
        wires = [disk.server.resp() for _ in range(KEYS)]
        for n, r in enumerate(wires):
            r.send(b"".join(command("GET", f"k{(n + i) % KEYS:03}") for i in range(16)))
        everybody_else_is_served(disk.server, 0)
        disk.revoke("hold-reads")
        for n, r in enumerate(wires):
            for i in range(16):
                equal(r.answer(), str((n + i) % KEYS).encode())
            r.socket.close()


@test
def reads_of_one_wake_up_are_all_begun_before_the_first_is_waited_for():
    keys, value = [f"k{n:03}" for n in range(17)], {n: os.urandom(5000) for n in range(17)}  # a block each
    with SickDisk() as disk:
        data = os.path.join(disk.dir, "data")
        with Server(data=data) as s, s.resp() as r:
            for n, key in enumerate(keys):
                equal(r.call("SET", key, value[n]), "OK")
        with Server("--loops", "1", data=data, env=disk.env) as s, s.resp() as r, s.connect() as w:
            equal(r.call("GET", keys[16]), value[16])  # brings the table's index into memory
            equal(disk.reads_begun(), 0)
            disk.order("hold-reads")
            try:
                r.send(b"".join(command("GET", key) for key in keys[:8]))
                until(lambda: disk.reads_begun() == 8, "8 commands wait together")
                w.send(b"".join(request("GET", f"/v1/kv/{key}") for key in keys[8:9]))
                r.send(command("MGET", *keys[8:16]))  # a command of many keys by itself
                equal(answered(r, 0.05), False)
                equal(answered(w, 0.05), False)
            finally:
                disk.revoke("hold-reads")
            for n in range(8):
                equal(r.answer(), value[n])
            equal(w.read().body, value[8])
            equal(r.answer(), [value[n] for n in range(8, 16)])


@test
def commands_that_walk_over_all_keys_do_not_keep_a_read_from_the_disk():
    with SickDisk() as disk:
        data = os.path.join(disk.dir, "data")
        with Server(data=data) as s, s.resp() as r:
            for n in range(40):
                equal(r.call("SET", f"k{n:03}", os.urandom(5000)), "OK")  # a block each
        for text in (command("KEYS", "*"), command("MULTI") + command("KEYS", "*") + command("EXEC")):
            with Server("--loops", "1", data=data, env=disk.env) as s, s.resp() as r:
                equal(len(r.call("GET", "k039")), 5000)  # brings the table's index into memory
                wires = [s.resp() for _ in range(40)]
                begun = disk.reads_begun()
                disk.order("hold-reads")
                try:
                    for one in wires:
                        one.send(text)
                    with s.connect() as w:
                        until(lambda: stats_of(w)["server"]["connections"] == 42, "they are there")
                    r.send(command("GET", "k020") + command("GET", "k021"))
                    until(lambda: disk.reads_begun() == begun + 2, "both are begun")
                finally:
                    disk.revoke("hold-reads")
                equal([len(r.answer()), len(r.answer())], [5000, 5000])
                for one in wires:
                    one.answer()
                    one.socket.close()


@test
def a_connection_that_ends_while_it_waits_for_the_disk_is_forgotten():
    with ColdDisk() as disk:
        for text in (command("GET", "k001"), command("INCR", "k002"), command("KEYS", "*")):
            with disk.server.resp() as r:
                r.send(text)
        for text in (request("GET", "/get?key=k003"), request("GET", "/v1/keys"),
                     request("PUT", "/v1/kv/k004", b"v")):
            with disk.server.connect() as w:
                w.send(text)
        everybody_else_is_served(disk.server, 0)
        disk.revoke("hold-reads")
        with disk.server.connect() as w:
            until(lambda: stats_of(w)["server"]["connections"] == 1, "one connection")
            equal(stats_of(w)["server"]["writes_in_flight"], 0)


@test
def a_read_of_a_snapshot_that_waits_for_the_disk_is_as_of_that_snapshot_though_it_ends_meanwhile():
    with ColdDisk() as disk, disk.server.connect() as w, disk.server.connect() as other:
        held = json.loads(other.ask("POST", "/v1/snapshots").body)["id"]
        equal(other.put("k001", b"later").status, 200)
        w.send(request("GET", f"/v1/kv/k001?snapshot={held}") + request("GET", "/v1/kv/k001"))
        everybody_else_is_served(disk.server, 0)
        equal(answered(w, 0.05), False)
        equal(other.ask("DELETE", f"/v1/snapshots/{held}").status, 204)
        disk.revoke("hold-reads")
        equal([w.read().body for _ in range(2)], [b"1", b"later"])
        until(lambda: stats_of(other)["store"]["snapshots"] == 0, "it is freed")


# ---------------------------------------------------------------- too much

@test
def more_writes_than_memory_may_hold_hear_to_come_later_and_of_the_pressure():
    value = b"v" * (1 << 20)
    with SickDisk() as disk, Server("--loops", "1", "--memory", "64M", env=disk.env) as s:
        with s.connect() as w:
            calm = w.put("there", b"1")
            equal((calm.status, calm.fields.get("quern-pressure")), (200, None))
        disk.order("hold")
        wires = [s.connect() for _ in range(100)]
        for n, w in enumerate(wires):
            w.send(request("POST", f"/set?key=k{n}", value))
        more = []

        def is_refused():  # or it is under way as well
            more.append(s.resp())
            more[-1].write("SET", "more", "v")
            return answered(more[-1], 0.3)

        until(is_refused, "a write that is refused", 60)
        equal(more[-1].answer().args, ("TRYAGAIN the store is stalled, retry in 1000 ms",))
        equal(more[-1].call("GET", "there"), b"1", "reads go on")
        disk.revoke("hold")
        for r in more:
            r.socket.close()
        seen = {}
        for w in wires:
            reply = w.read()
            seen.setdefault(reply.status, []).append(reply.fields)
            w.socket.close()
        equal(set(seen), {200, 503})
        for fields in seen[503]:
            equal((fields["retry-after"], fields["quern-pressure"]), ("1", "100"))
        assert any(int(f.get("quern-pressure", 0)) > 0 for f in seen[200])
        with s.connect() as w:
            until(lambda: "quern-pressure" not in w.put("last", b"1").fields, "calm again")


# ---------------------------------------------------------------- memory

@test
def a_warm_server_takes_no_memory_to_serve_requests():
    rounds, each = 625, 16
    hot = [
        ("GET", lambda s: s.resp(), command("GET", "a"), lambda w: w.raw()),
        ("SET", lambda s: s.resp(), command("SET", "a", "v" * 100), lambda w: w.raw()),
        ("MGET", lambda s: s.resp(), command("MGET", "a", "b", "c", "d"), lambda w: w.raw()),
        ("PING", lambda s: s.resp(), command("PING"), lambda w: w.raw()),
        ("GET /get", lambda s: s.connect(), request("GET", "/get?key=a"), lambda w: w.read()),
        ("GET /v1/kv", lambda s: s.connect(), request("GET", "/v1/kv/a"), lambda w: w.read()),
        ("POST /set", lambda s: s.connect(), request("POST", "/set?key=a", b"v" * 100),
         lambda w: w.read()),
    ]
    with Server("--loops", "1", "--durability", "os") as s, s.connect() as asks:
        def taken():
            return stats_of(asks)["server"]["loop_allocations"]

        for name, connect, text, read in hot:
            with connect(s) as w:
                def some(times, many):
                    for _ in range(times):
                        w.send(text * many)
                        for _ in range(many):
                            read(w)
                some(20, 16 * each)  # more at a time than will follow
                def took(times):  # with what the texts of /stats take, and that they count what was written
                    before = taken()
                    some(times, each)
                    return taken() - before
                # A text that has become longer takes more, for once.
                until(lambda: took(2 * rounds) <= took(rounds), f"{name}: more requests take no more memory")


@test
def idle_connections_cost_little_and_everybody_else_is_served():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = max(64, min(10000, hard - 500))
    with Server("--loops", "1", "--max-connections", str(count + 64)) as s:
        with s.connect() as w:
            equal(w.put("there", b"1").status, 200)
        before = s.memory_kib("RssAnon")
        idle = []
        for n in range(count):
            idle.append(socket.create_connection(("127.0.0.1", s.resp_port if n % 2 else s.port)))
        with s.connect() as w:
            until(lambda: stats_of(w)["server"]["connections"] == count + 1, "all are there")
        each = 1024 * (s.memory_kib("RssAnon") - before) / count
        print(f"# {count} idle connections, {each:.0f} bytes each")
        assert is_watched() or each < 4096, each
        everybody_else_is_served(s, 0)
        for c in idle:
            c.close()


@test
def who_never_reads_replies_is_held_and_everybody_else_is_served():
    with Server("--loops", "1", "--memory", "64M") as s, s.resp() as r:
        equal(r.call("SET", "large", "x" * 60000), "OK")
        equal(r.call("SET", "there", "1"), "OK")
        before = s.memory_kib("RssAnon")
        greedy = [s.resp() for _ in range(8)] + [s.connect() for _ in range(8)]
        for n, w in enumerate(greedy):
            text = command("GET", "large") if n < 8 else request("GET", "/get?key=large")
            w.socket.settimeout(0.2)
            try:
                for _ in range(200):
                    w.socket.sendall(text * 100)
            except TimeoutError:
                pass  # the server does not read on
        everybody_else_is_served(s, 0)
        grown = s.memory_kib("RssAnon") - before
        assert is_watched() or grown < 16 * 4 * (1 << 10), grown
        for w in greedy:
            w.socket.close()


@test
def slow_heads_and_bodies_hold_up_nobody():
    with Server("--loops", "1", "--header-timeout", "1s") as s:
        with s.connect() as w:
            equal(w.put("there", b"1").status, 200)
        slow = [s.connect() for _ in range(200)]
        for n, w in enumerate(slow):
            w.send(b"GET /get?key=there HT" if n % 2 else
                   b"POST /set?key=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nx")
        everybody_else_is_served(s, 0)
        for n, w in enumerate(slow):
            equal(w.read().status, 408)
            w.socket.close()


@test
def head_bombs_are_refused_before_they_are_whole():
    with Server("--loops", "1") as s:
        with s.connect() as w:
            equal(w.put("there", b"1").status, 200)
        for bomb in (b"GET /get?key=" + b"a" * 100000,
                     b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 10000,
                     b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100000):
            with s.connect() as w:
                try:
                    w.send(bomb)
                except OSError:
                    pass  # it was refused already
                assert w.read().status in (414, 431), bomb[:20]
        everybody_else_is_served(s, 0)


if __name__ == "__main__":
    main()
