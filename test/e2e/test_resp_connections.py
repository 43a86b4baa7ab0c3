#!/usr/bin/env python3
"""What connections of the Redis protocol do to one another: MONITOR, CLIENT KILL, LIST, PAUSE."""

import re
import socket
import subprocess

from quernd import Refused, Resp, Server, command, equal, main, test, until
from real_redis import RealRedis, need


def my_address(r):
    return "%s:%d" % r.socket.getsockname()


def clients(r):
    return [dict(pair.split("=", 1) for pair in line.split(" "))
            for line in r.call("CLIENT", "LIST").decode().splitlines()]


def told(monitor, n):
    """So many lines of a monitor, without their times and addresses."""
    lines = []
    while len(lines) < n:
        found = re.fullmatch(r"\+\d+\.\d{6} \[(\d+) ([^ ]+)\] (.*)\r\n", monitor.raw().decode())
        assert found, lines
        lines.append(found.group(3))
    return lines


SAID = [("SET", "a", "x\r\n\t\a\b\"\\'\0\xff y"), ("GET", "a"), ("get", "none"), ("NOPE",), ("GET",), ("SET", "a", "1", "NOPE"),
        ("INCR", "a"), ("MULTI",), ("SET", "b", "1"), ("GET", "b"), ("EXEC",), ("CONFIG", "GET", "save"), ("PING",),
        ("AUTH", "default", "secret"), ("HELLO", "2", "AUTH", "default", "secret"), ("CLIENT", "GETNAME"),
        ("MULTI",), ("SET", "c", "1"), ("DISCARD",), ("DBSIZE",)]


@test
def monitor_tells_what_redis_tells():
    seen = []
    with RealRedis() as real, Server("--durability", "os") as s:
        for port in (real.port, s.resp_port):
            with Resp(port) as m, Resp(port) as r:
                equal(m.call("MONITOR"), "OK")
                for words in SAID:
                    r.call(*words)
                lines = []
                r.call("ECHO", "end")
                while not lines or lines[-1] != '"ECHO" "end"':
                    lines += told(m, 1)
                seen.append(lines)
    # Redis tells EXEC behind its commands, and we before: it comes as one step.
    for lines in seen:
        lines.sort()
        assert not any("secret" in line for line in lines), lines
    mine, other = seen
    equal([l for l in other if "AUTH" not in l], [l for l in mine if "AUTH" not in l])


@test
def a_monitor_tells_all_loops_and_ends_with_reset():
    with Server("--durability", "os", "--loops", "3") as s, s.resp() as m, s.resp() as second:
        equal([m.call("MONITOR"), second.call("MONITOR")], ["OK", "OK"])
        others = [s.resp() for _ in range(6)]
        for i, r in enumerate(others):
            equal(r.call("SET", f"k{i}", "v"), "OK")
        wanted = [f'"SET" "k{i}" "v"' for i in range(6)]
        equal((told(m, 6), told(second, 6)), (wanted, wanted))
        assert [c["flags"] for c in clients(others[0])].count("O") == 2
        m.write("RESET")
        while m.raw() != b"+RESET\r\n":
            pass
        equal(others[0].call("SET", "k", "v"), "OK")
        equal(m.call("PING"), "PONG")
        for r in others:
            r.socket.close()
        big = b"x" * 200000
        with s.resp() as r:
            equal(r.call("SET", "big", big), "OK")
            second.write("GET", "big")
            lines = []
            while not lines or not lines[-1].startswith(b"$"):
                lines.append(second.raw())
            equal(lines[-1] == b"$200000\r\n" + big + b"\r\n", True)
            line = [l for l in lines if b'"big"' in l][0]
            assert len(line) < 70000 and b"more bytes)" in line, line[:100]


@test
def what_a_monitor_is_told_never_stands_inside_a_reply():
    big = b"y" * 300000
    with Server("--durability", "os") as s, s.resp() as r, s.resp() as m:
        equal([r.call("SET", "big", big), m.call("MONITOR")], ["OK", "OK"])
        m.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 262144)
        for _ in range(20):  # replies that cannot leave at once, and lines between
            m.send(command("PING") + command("GET", "big"))
            r.send(command("PING") * 5)
            equal([r.answer() for _ in range(5)], ["PONG"] * 5)
        values = lines = pongs = 0
        while values < 20 or pongs < 20 or lines < 100 + 40:
            raw = m.raw()
            if raw == b"+PONG\r\n":
                pongs += 1
            elif raw[:1] == b"$":
                equal(raw == b"$300000\r\n" + big + b"\r\n", True)
                values += 1
            else:
                assert re.match(rb"\+\d+\.\d{6} \[\d+ ", raw), raw[:80]
                lines += 1


@test
def a_monitor_that_does_not_read_is_cut_and_nobody_waits_for_it():
    with Server("--durability", "os") as s, s.resp() as deaf, s.resp() as r:
        deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        equal(deaf.call("MONITOR"), "OK")
        value = b"v" * 20000
        for _ in range(40):
            r.send(command("SET", "k", value) * 50)
            equal([r.answer() for _ in range(50)], ["OK"] * 50)
        until(lambda: len(clients(r)) == 1, "the monitor is cut")
        with s.resp() as m:
            equal(m.call("MONITOR"), "OK")
            equal(r.call("PING"), "PONG")
            equal(told(m, 1), ['"PING"'])


@test
def clients_are_killed_by_what_is_known_of_them():
    with Server("--durability", "os", "--loops", "2") as s, s.resp() as r:
        def others(n):
            made = [s.resp() for _ in range(n)]
            for o in made:
                equal(o.call("PING"), "PONG")
            return made
        a, b, c = others(3)
        equal(r.call("CLIENT", "KILL", my_address(a)), "OK")
        assert a.ended()
        equal(r.call("CLIENT", "KILL", my_address(a)), Refused("ERR No such client"))
        equal(r.call("CLIENT", "KILL", "ID", b.call("CLIENT", "ID")), 1)
        assert b.ended()
        equal(r.call("CLIENT", "KILL", "ADDR", my_address(c), "LADDR", "1.2.3.4:5"), 0)
        equal(r.call("CLIENT", "KILL", "TYPE", "pubsub"), 0)
        equal(c.call("PING"), "PONG")
        d, e = others(2)
        equal(r.call("CLIENT", "KILL", "TYPE", "normal", "USER", "default"), 3)
        assert c.ended() and d.ended() and e.ended()
        equal(r.call("PING"), "PONG")
        f, = others(1)
        equal(r.call("CLIENT", "KILL", "SKIPME", "no"), 2)
        assert r.ended() and f.ended()
        with s.resp() as g:
            until(lambda: len(clients(g)) == 1, "the killed are gone")


@test
def a_client_that_does_not_read_is_killed_too():
    with Server("--durability", "os") as s, s.resp() as r, s.resp() as deaf:
        equal(r.call("SET", "k", b"x" * 50000), "OK")
        deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.send(command("GET", "k") * 500)
        until(lambda: len(clients(r)) == 2, "it is there")
        equal(r.call("CLIENT", "KILL", "ADDR", my_address(deaf)), 1)
        until(lambda: len(clients(r)) == 1, "it is gone")


@test
def paused_commands_wait_and_go_on():
    def blocked(r):
        return int(re.search(r"blocked_clients:(\d+)", r.call("INFO", "clients").decode()).group(1))
    with Server("--durability", "os", "--loops", "2") as s, s.resp() as r, s.resp() as w, s.resp() as t:
        equal([t.call("MULTI"), t.call("SET", "t", "1")], ["OK", "QUEUED"])
        equal(r.call("CLIENT", "PAUSE", 1000000, "WRITE"), "OK")
        w.write("SET", "k", "v")
        w.write("GET", "k")
        t.write("EXEC")
        until(lambda: blocked(r) == 2, "two wait")
        equal([r.call("GET", "k"), r.call("PING")], [None, "PONG"])
        equal(r.call("CLIENT", "UNPAUSE"), "OK")
        equal([w.answer(), w.answer(), t.answer()], ["OK", b"v", ["OK"]])
        equal(blocked(r), 0)
        equal(r.call("CLIENT", "PAUSE", 1000000, "ALL"), "OK")
        w.write("GET", "k")
        t.write("PING")
        equal(r.call("CLIENT", "PAUSE", 5, "WRITE"), "OK")  # neither shorter nor less
        w.socket.settimeout(0.3)
        try:
            equal(w.answer(), "nothing")
        except TimeoutError:
            pass
        w.socket.settimeout(30)
        with s.connect() as http:
            equal(http.put(b"k", b"http").status, 200)
        equal(r.call("CLIENT", "UNPAUSE"), "OK")
        equal([w.answer(), t.answer()], [b"http", "PONG"])
        equal(r.call("CLIENT", "PAUSE", 200), "OK")
        equal(r.call("GET", "k"), b"http")  # it waits until that is over
        equal(r.call("CLIENT", "PAUSE", 1000000), "OK")
        with s.resp() as gone:
            gone.write("GET", "k")
        equal(r.call("CLIENT", "UNPAUSE"), "OK")
        until(lambda: blocked(r) == 0, "nobody waits")


@test
def a_pause_does_not_hold_up_the_end():
    with Server("--durability", "os") as s, s.resp() as r, s.resp() as w:
        equal(r.call("CLIENT", "PAUSE", 1000000), "OK")
        w.write("SET", "k", "v")
        equal(s.stop(), 0)


@test
def redis_cli_monitors():
    need("redis-cli")
    with Server("--durability", "os") as s, s.resp() as r:
        with subprocess.Popen(["redis-cli", "-p", str(s.resp_port), "monitor"], stdout=subprocess.PIPE) as cli:
            equal(cli.stdout.readline(), b"OK\n")
            r.call("SET", "a", "1")
            assert cli.stdout.readline().endswith(b'"SET" "a" "1"\n')
            cli.terminate()
            cli.wait(20)


if __name__ == "__main__":
    main()
