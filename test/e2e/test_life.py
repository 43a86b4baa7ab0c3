#!/usr/bin/env python3
"""How a server lives and ends: shutdown, signals, kill -9, clients that misbehave, limits."""

import contextlib
import json
import os
import random
import re
import signal
import socket
import threading
import time

from quernd import Server, Wire, command, curl, equal, is_watched, main, request, test, until

LEVELS = ("always", "interval:20", "os")


def begun(server, head, body=b""):
    """A connection in the middle of a request. The server has read `head`, which announces a body
    and expects to be told to go on; of the body `body` is sent."""
    w = server.connect()
    w.send(head)
    equal(w.read(interim=True).status, 100)
    w.send(body)
    return w


def set_head(key, length):
    return request("POST", f"/set?key={key}", fields=[("Content-Length", length),
                                                      ("Expect", "100-continue")])


@test
def shutdown_tells_each_phase_and_a_restart_finds_everything():
    with Server() as s:
        with s.connect() as w:
            w.send(b"".join(request("POST", f"/set?key=k{i}", b"v" * i) for i in range(200)))
            for _ in range(200):
                equal(w.read().status, 200)
            r = w.ask("POST", "/shutdown")
            equal((r.status, r.fields["transfer-encoding"], r.fields["connection"]),
                  (200, "chunked", "close"))
            lines = r.body.decode().splitlines()
        equal(s.process.wait(30), 0)
        for words in ("(POST /shutdown)", "listeners closed", "drained", "requests served: 201",
                      "keys written: 200", "MemDB flushed", "tables: ", "log: synced",
                      "all data is safe on disk"):
            assert any(words in line for line in lines), (words, lines)
        equal(lines[-1], "bye")
        for line in lines:
            assert line + "\n" in s.stdout(), f"not on stdout: {line}"
        with Server(data=s.data) as again, again.connect() as w:
            assert "recovered: 0 batches" in again.stdout()
            for i in range(200):
                equal(w.get(f"k{i}").body, b"v" * i)
            equal(again.stop(), 0)


@test
def shutdown_over_http_1_0_is_told_without_chunks():
    with Server() as s, s.connect() as w:
        w.send(b"GET /shutdown HTTP/1.0\r\n\r\n")
        r = w.read()
        assert "transfer-encoding" not in r.fields
        assert r.body.endswith(b"all data is safe on disk\nbye\n") and b"\r" not in r.body, r
        equal(s.process.wait(30), 0)


@test
def signals_end_it_as_the_request_does():
    for number in (signal.SIGTERM, signal.SIGINT):
        with Server() as s:
            with s.connect() as w:
                equal(w.put("a", b"1").status, 200)
            equal(s.kill(number), 0)
            assert f"shutdown requested by {number.name}" in s.stdout()
            assert s.stdout().endswith("all data is safe on disk\nbye\n")


@test
def a_drain_lets_requests_finish_and_refuses_new_ones():
    with Server("--drain-timeout", "20s") as s:
        body = b"x" * 50000
        half, idle, asks = begun(s, set_head("half", len(body)), body[:20000]), s.connect(), s.connect()
        equal(idle.ask("GET", "/healthz").status, 200)
        asks.send(request("GET", "/shutdown"))
        s.wait_said("listeners closed; 2 connections open")
        assert idle.ended(), "an idle connection ends at once"
        try:
            socket.create_connection(("127.0.0.1", s.port), 2).close()
            raise AssertionError("still accepting")
        except ConnectionRefusedError:
            pass
        # The rest of the body, and a further request behind it, which is refused or not answered.
        half.send(body[20000:] + request("GET", "/get?key=half"))
        r = half.read()
        equal((r.status, r.fields["connection"]), (200, "close"))
        assert half.ended()
        r = asks.read()
        assert r.body.endswith(b"bye\n"), r
        equal(s.process.wait(30), 0)
        with Server(data=s.data) as again, again.connect() as w:
            equal(w.get("half").body, body)


@test
def a_second_request_for_shutdown_is_409_and_hears_the_same():
    with Server("--drain-timeout", "20s") as s:
        first = s.connect()
        half = begun(s, set_head("half", 10), b"12345")
        second = begun(s, request("GET", "/shutdown", fields=[("Content-Length", 1),
                                                              ("Expect", "100-continue")]))
        first.send(request("GET", "/shutdown"))
        s.wait_said("listeners closed")
        second.send(b"x")
        half.send(b"67890")
        equal(half.read().status, 200)
        one, two = first.read(), second.read()
        equal((one.status, two.status), (200, 409))
        equal(one.body, two.body)
        equal(s.process.wait(30), 0)


@test
def the_drain_has_a_limit_and_a_second_signal_skips_it():
    for limit, signals, words in (("300ms", 1, "limit reached"), ("60s", 2, "skipped by a second")):
        with Server("--drain-timeout", limit) as s, s.connect() as idle:
            equal(idle.put("a", b"1").status, 200)
            with begun(s, set_head("half", 10), b"12345"):
                s.process.send_signal(signal.SIGTERM)
                if signals == 2:
                    s.wait_said("listeners closed")
                    s.process.send_signal(signal.SIGTERM)
                equal(s.process.wait(50), 0)
            assert f"drain {words}" in s.stdout()
            # The idle connection is not counted, whether the drain ended it or the cut did.
            assert "0 more requests answered, 1 connections cut" in s.stdout()
            assert "all data is safe on disk" in s.stdout()
            with Server(data=s.data) as again, again.connect() as y:
                equal(y.get("a").body, b"1")
                equal(y.get("half").status, 404)


@test
def who_says_stop_until_it_has_ended_changes_nothing_about_how():
    for _ in range(10):
        with Server() as s:
            while s.process.poll() is None:
                s.process.send_signal(signal.SIGTERM)
            equal(s.process.wait(0), 0)


def load(port, stop, notes, number):
    """SETs in flight on one connection until it breaks. notes: key -> [[value, acknowledged], ...]"""
    rng = random.Random(number)
    i = 0
    try:
        with Wire(port, 10) as w:
            while not stop.is_set():
                batch = []
                for _ in range(8):
                    key = f"c{number}-{i % 500}"
                    value = b"%d-%d-" % (number, i) + b"x" * rng.randint(0, 2000)
                    batch.append((key, value, [value, False]))
                    notes.setdefault(key, []).append(batch[-1][2])
                    i += 1
                w.send(b"".join(request("POST", f"/set?key={k}", v) for k, v, _ in batch))
                for _, _, note in batch:
                    reply = w.read()
                    if reply is None or reply.status != 200:
                        return
                    note[1] = True
    except (OSError, EOFError):
        pass  # the server was killed: that is the test


@test
def kill_9_under_load_loses_nothing_acknowledged():
    for level in LEVELS:
        with Server() as first:  # for its directory
            equal(first.stop(), 0)
            for _ in range(2):
                notes = [{} for _ in range(4)]
                with Server("--durability", level, data=first.data) as s:
                    stop = threading.Event()
                    threads = [threading.Thread(target=load, args=(s.port, stop, notes[n], n))
                               for n in range(4)]
                    for t in threads:
                        t.start()
                    time.sleep(0.7)
                    until(lambda: any(note[1] for n in notes for h in list(n.values()) for note in list(h)),
                          "a write acknowledged")
                    s.kill()
                    stop.set()
                    for t in threads:
                        t.join()
                total = 0
                with Server(data=first.data) as again, again.connect() as w:
                    for key, history in [kh for n in notes for kh in n.items()]:
                        last = max((i for i, h in enumerate(history) if h[1]), default=-1)
                        if last >= 0:
                            total += 1
                            got = w.get(key)
                            equal(got.status, 200, f"{level}: {key} is gone")
                            assert got.body in [h[0] for h in history[last:]], f"{level}: {key}"
                    equal(again.stop(), 0)
                assert total > 0
                print(f"# {level}: {total} keys as acknowledged or newer")


@test
def one_directory_has_one_server_and_one_port_too():
    with Server() as s:
        second = Server(data=s.data)
        equal(second.process.wait(10), 4)
        assert "--data" in second.stderr(), second.stderr()
        third = Server(port=s.port)
        equal(third.process.wait(10), 3)
        assert f"port {s.port} is in use; try --port {s.port + 1}" in third.stderr()
        assert not os.path.exists(third.data), "a server that cannot listen touches no store"
        equal(curl(f"{s.url}/healthz")[0], 200)
        for other in (second, third):
            other.forget()


@test
def an_unreadable_directory_is_exit_7():
    with Server() as s:
        path = os.path.join(s.own_dir, "a-file")
        with open(path, "w", encoding="ascii") as f:
            f.write("x")
        other = Server(data=path)
        code = other.process.wait(10)
        assert code in (5, 7), code
        assert other.stderr().startswith("quernd: "), other.stderr()
        assert "Not a directory; choose another with --data DIR" in other.stderr(), other.stderr()
        other.forget()
        path = os.path.join(s.own_dir, "no", "where")
        other = Server(data=path)
        equal(other.process.wait(10), 7)
        assert path in other.stderr() and "make the directory above it first" in other.stderr()
        other.forget()


@test
def a_damaged_store_is_exit_5_and_says_where():
    with Server() as s:
        with s.connect() as w:
            equal(w.put("a", b"1" * 1000).status, 200)
        equal(s.stop(), 0)
        current = os.path.join(s.data, "CURRENT")
        with open(current, "r+b") as f:
            byte = f.read(1)
            f.seek(0)
            f.write(bytes([byte[0] ^ 0x20]))
        other = Server(data=s.data)
        equal(other.process.wait(10), 5)
        assert "CURRENT" in other.stderr() and s.data in other.stderr(), other.stderr()
        other.forget()


@test
def slow_heads_and_bodies_are_ended_and_others_do_not_notice():
    with Server("--header-timeout", "400ms", "--idle-timeout", "900ms") as s:
        slow = [s.connect() for _ in range(50)]
        for w in slow:
            w.send(b"GET /get?key=a HTTP/1.1\r\nX")
        body = s.connect()
        body.send(request("POST", "/set?key=a", fields=[("Content-Length", 100000)]) + b"x")
        idle = s.connect()
        began = time.monotonic()
        while time.monotonic() - began < 0.3:
            for w in slow:
                w.send(b"-")
            with s.connect() as w:
                equal(w.ask("GET", "/healthz").status, 200)
            time.sleep(0.02)
        for w in slow:
            r = w.read()
            equal((r.status, r.fields["connection"]), (408, "close"))
        assert time.monotonic() - began < 5
        equal(body.read().status, 408)
        assert idle.ended()
        for w in slow + [body, idle]:
            w.socket.close()


@test
def a_client_that_never_reads_costs_little_and_is_ended():
    with Server("--idle-timeout", "1500ms", "--header-timeout", "1s", "--durability", "os") as s:
        with s.connect() as w:
            equal(w.put("big", b"x" * 200000).status, 200)
            equal(w.put("small", b"y" * 1000).status, 200)
        before = s.memory_kib()
        deaf = [s.connect() for _ in range(20)]
        for n, w in enumerate(deaf):
            w.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            w.socket.settimeout(0.05)
            burst = request("GET", "/get?key=small" if n % 2 else "/get?key=big") * 2000
            try:
                for _ in range(20):
                    w.send(burst)
            except (TimeoutError, OSError):
                pass
        grown = s.memory_kib() - before
        print(f"# 20 deaf clients cost {grown} KiB")
        assert grown < 20 * 3 * 1024, grown
        with s.connect() as w:
            equal(w.get("small").status, 200)
        deadline = time.monotonic() + 30
        while True:
            with s.connect() as w:
                if b'"connections":1,' in w.ask("GET", "/stats").body:
                    break
            assert time.monotonic() < deadline, "deaf clients are still connected"
            time.sleep(0.1)
        for w in deaf:
            w.socket.close()


@test
def a_body_costs_what_has_arrived_not_what_was_announced():
    with Server("--max-value", "1G") as s:
        before = s.memory_kib()
        wires = [s.connect() for _ in range(20)]
        for w in wires:
            w.send(request("POST", "/set?key=a", fields=[("Content-Length", 1 << 30)]) + b"x" * 1000)
        for w in wires[:5]:
            w.send(b"y" * 100000)
        time.sleep(0.3)
        grown = s.memory_kib() - before
        print(f"# 20 GiB announced cost {grown} KiB")
        assert grown < 16 * 1024, grown
        for w in wires:
            w.socket.close()


@test
def connections_beyond_the_limit_hear_503():
    with Server("--max-connections", "5") as s:
        wires = [s.connect() for _ in range(5)]
        for w in wires:
            equal(w.ask("GET", "/healthz").status, 200)
        with s.connect() as w:
            r = w.read()
            equal((r.status, r.fields["connection"]), (503, "close"))
        wires[0].socket.close()
        deadline = time.monotonic() + 10
        while True:
            with s.connect() as w:
                r = w.ask("GET", "/healthz")
                if r.status == 200:
                    break
            assert time.monotonic() < deadline
        for w in wires[1:]:
            w.socket.close()


@test
def clients_that_hang_up_at_any_moment_do_no_harm():
    rng = random.Random(7)
    with Server("--durability", "os") as s:
        whole = (request("POST", "/set?key=a", b"x" * 3000) + request("GET", "/get?key=a") +
                 request("DELETE", "/del?key=a")) * 20
        for _ in range(200):
            w = s.connect()
            try:
                w.send(whole[:rng.randint(1, len(whole))])
            except OSError:
                pass
            if rng.random() < 0.5:  # a reset instead of an end
                w.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            w.socket.close()
        with s.connect() as w:
            equal(w.put("b", b"1").status, 200)
            equal(w.get("b").body, b"1")
        equal(s.stop(), 0)


@test
def bytes_of_other_protocols_are_refused_at_once():
    with Server() as s:
        for noise in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00" * 100, b"SSH-2.0-OpenSSH_9.2\r\n", b"\n"):
            with s.connect() as w:
                w.send(noise)
                r = w.read()
                assert r.status == 400, (noise, r)
                assert w.ended()


@test
def a_full_disk_is_507_and_reads_go_on():
    # A file size limit makes writes to the log fail as a full disk does.
    with Server() as first:
        with first.connect() as w:
            equal(w.put("before", b"1").status, 200)
        equal(first.stop(), 0)
        os.environ["QUERN_E2E_BINARY"] = os.environ["QUERND"]
        script = os.path.join(first.own_dir, "limited.sh")
        with open(script, "w", encoding="ascii") as f:
            f.write('#!/bin/sh\nulimit -f 4096\nexec "$QUERN_E2E_BINARY" "$@"\n')
        os.chmod(script, 0o755)
        with Server(data=first.data, binary=script) as s:
            assert s.port != 0, s.stderr()
            with s.connect() as w:
                seen = set()
                for i in range(60):
                    seen.add(w.put(f"k{i}", os.urandom(200000)).status)
                print(f"# statuses {sorted(seen)}")
                equal(seen, {200, 507})
                equal(w.get("before").body, b"1")


SMALL = ("--durability", "os", "--memory", "16M", "--max-value", "4M", "--loops", "2")
PART = b"x" * (3500 << 10)


def pour(wire, *parts):
    """Send it; a server that does not want all of it may close."""
    with contextlib.suppress(ConnectionError):
        for part in parts:
            wire.send(part)


def outcome(read):
    """What it was answered, if it was, within a moment."""
    try:
        return read()
    except (TimeoutError, ConnectionError, EOFError):
        return None


def many_send(s, wires, parts, answer):
    """Each sends its parts and then no more. Returns what those were answered that were."""
    before, answers = s.memory_kib("RssAnon"), []
    for w in wires:
        pour(w, *parts)
    with s.connect() as other, s.resp() as r:  # everybody else is served
        equal(other.put("k", b"small").status, 200)
        equal((other.get("k").body, r.call("GET", "k")), (b"small", b"small"))
        bound = json.loads(other.ask("GET", "/v1/admin/limits").body)["requests_bytes_max"]
        equal(bound, 32 << 20)
        until(lambda: figure(other, "quern_intake_bytes") <= bound, "those that were sent away hold nothing")
        assert figure(other, "quern_intake_bytes") > bound // 2, "the others go on"
    grown = s.memory_kib("RssAnon") - before
    print(f"# {len(wires)} clients that sent {len(wires) * len(PART) >> 20} MiB cost {grown} KiB")
    if not is_watched():
        assert grown < 90 << 10, grown
    for w in wires:
        w.socket.settimeout(0.05)
        answers.append(outcome(lambda: answer(w)))
        w.socket.settimeout(60)
    return answers


def figure(w, name):
    return int(re.search(rf"^{name} (\d+)$", w.ask("GET", "/metrics").body.decode(), re.M).group(1))


def bodies_are_bounded(head, parts, rest):
    with Server(*SMALL) as s:
        wires = [s.connect(60) for _ in range(40)]
        answers = many_send(s, wires, [head, *parts], lambda w: w.read())
        assert all(r is None or (r.status, r.fields["retry-after"]) == (503, "1") for r in answers), answers
        waiting = [w for w, r in zip(wires, answers) if r is None and not w.buffer]
        assert any(r is not None for r in answers) and len(waiting) >= 3, answers
        for w in waiting[:3]:  # whoever was let in is served
            w.send(rest)
            assert w.read().status in (201, 204)
        for w in wires:
            w.socket.close()
        with s.connect() as w:
            until(lambda: figure(w, "quern_intake_bytes") == 0, "they are gone")
            assert w.ask("PUT", "/v1/kv/last", b"x" * (4 << 20)).status == 201


@test
def bodies_of_many_clients_together_are_bounded():
    bodies_are_bounded(request("PUT", "/v1/kv/k", fields=[("Content-Length", 4 << 20)]), [PART], b"x" * ((4 << 20) - len(PART)))


@test
def bodies_of_unknown_length_together_are_bounded():
    bodies_are_bounded(request("PUT", "/v1/kv/k", fields=[("Transfer-Encoding", "chunked")]), [b"%x\r\n" % len(PART), PART, b"\r\n"], b"0\r\n\r\n")


@test
def every_write_tells_the_pressure_of_what_arrives():
    with Server(*SMALL) as s, s.connect() as w, s.connect() as slow:
        asks = [("POST", "/set?key=k&value=v", None), ("PUT", "/v1/kv/k", b"v"), ("POST", "/v1/kv/n?op=incr", None), ("POST", "/v1/batch", b'{"ops":[]}'),
                ("POST", "/v1/import", b'{"key":"k","value":"v"}\n'), ("DELETE", "/v1/keys?prefix=n", None), ("DELETE", "/v1/kv/k", None)]
        for method, target, body in asks:
            assert "quern-pressure" not in w.ask(method, target, body).fields, target
        slow.send(request("PUT", "/v1/kv/k", fields=[("Content-Length", 4 << 20)]) + PART)
        until(lambda: figure(w, "quern_intake_bytes") > len(PART), "it has arrived")
        for method, target, body in asks:
            equal(w.ask(method, target, body).fields.get("quern-pressure"), "10", target)


@test
def lines_of_imports_together_are_bounded():
    head = request("POST", "/v1/import", fields=[("Transfer-Encoding", "chunked")])
    line = b'{"key":"k","value":"' + PART
    with Server(*SMALL) as s:
        wires = [s.connect(60) for _ in range(40)]
        answers = many_send(s, wires, [head, b"%x\r\n" % len(line), line, b"\r\n"], lambda w: w.read())
        told = [r for r in answers if r is not None]
        assert told and all((r.status, r.fields["retry-after"], json.loads(r.body)["imported"]) == (503, "1", 0) for r in told), answers
        waiting = [w for w, r in zip(wires, answers) if r is None and not w.buffer]
        waiting[0].send(b'3\r\n"}\n\r\n0\r\n\r\n')
        equal(json.loads(waiting[0].read().body.splitlines()[-1])["imported"], 1)
        for w in wires:
            w.socket.close()


@test
def requests_of_the_redis_protocol_together_are_bounded():
    head = b"*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$%d\r\n" % (4 << 20)
    with Server(*SMALL) as s:
        wires = [s.resp(60) for _ in range(40)]
        answers = many_send(s, wires, [head, PART], lambda w: w.answer())
        told = [r for r in answers if r is not None]
        assert told and all(r.args[0].startswith("TRYAGAIN ") for r in told), answers
        waiting = [w for w, r in zip(wires, answers) if r is None and not w.buffer]
        waiting[0].send(b"x" * ((4 << 20) - len(PART)) + b"\r\n")
        equal(waiting[0].answer(), "OK")
        for w in wires:
            w.socket.close()


BOUND = 32 << 20  # of SMALL
CHUNKED = ("Transfer-Encoding", "chunked")
HOLDS_STILL = {  # each kind of it nearly all that all may hold: how many do so, what each sends, and then now and again
    "bodies": (False, 9, [request("PUT", "/v1/kv/k", fields=[("Content-Length", 4 << 20)]), PART], b"x"),
    "bodies of unknown length": (False, 9, [request("PUT", "/v1/kv/k", fields=[CHUNKED]), b"%x\r\n" % len(PART), PART], b"\r\n1\r\nx"),
    "lines of imports": (False, 9, [request("POST", "/v1/import", fields=[CHUNKED]), b"%x\r\n" % len(PART), PART], b"\r\n1\r\nx"),
    "requests": (True, 9, [b"*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$%d\r\n" % (4 << 20), PART], b"x"),
    "a transaction": (True, 1, [command("MULTI")] + [command("SET", "k", PART)] * 9, command("GET", "k")),
    "watched keys": (True, 1, [command("WATCH", b"%04d" % n + b"x" * 60000) for n in range(540)], command("GET", "k")),
}


@test
def what_a_client_holds_still_is_given_up_when_others_need_it():
    for what, (redis, n, parts, little) in HOLDS_STILL.items():
        with Server(*SMALL, "--header-timeout", "500ms") as s, s.connect() as w:
            wires = [s.resp(60) if redis else s.connect(60) for _ in range(n)]
            for one in wires:
                pour(one, *parts)
            until(lambda: figure(w, "quern_intake_bytes") > BOUND - (4 << 20), what)
            time.sleep(1.5)  # nobody is in need of it
            assert figure(w, "quern_intake_bytes") > BOUND - (4 << 20), what
            until(lambda: is_taken(s, wires, little), what)
            for one in wires:
                one.socket.close()


def is_taken(s, wires, little):
    for one in wires:
        pour(one, little)
    with s.connect() as w:
        status = outcome(lambda: w.ask("PUT", "/v1/kv/other", b"x" * (4 << 20)).status)
        assert status in (201, 204, 503, None), status
        return status in (201, 204)


@test
def what_is_watched_is_bounded_over_all_clients():
    with Server(*SMALL) as s, s.connect() as w:
        wires, told = [s.resp(60) for _ in range(16)], []
        for n in range(64):  # 3.8 MB each
            for r in wires:
                told.append(r.call("WATCH", b"%04d" % n + b"x" * 60000))
        assert told[0] == "OK" and any(str(t).startswith("TRYAGAIN ") for t in told), set(map(str, told))
        assert figure(w, "quern_intake_bytes") <= BOUND + (1 << 20)
        for r in wires:
            r.socket.close()


@test
def a_transaction_that_is_too_much_gives_up_at_once_what_it_has():
    with Server(*SMALL) as s, s.connect() as w, s.resp(60) as a, s.resp(60) as b:
        for r, most in ((a, 20), (b, 100)):
            equal(r.call("MULTI"), "OK")
            replies = [r.call("SET", "k", b"x" * (1 << 20)) for _ in range(most)]
        assert replies[0] == "QUEUED" and any(str(r).startswith("TRYAGAIN ") for r in replies), set(map(str, replies))
        until(lambda: figure(w, "quern_intake_bytes") < 30 << 20, "the other one's is left")
        assert str(b.call("EXEC")).startswith("EXECABORT"), "all of it or nothing"
        equal((a.call("SET", "j", "1"), a.call("EXEC")), ("QUEUED", ["OK"] * 21))


@test
def what_has_arrived_whole_is_carried_out_however_much_there_is():
    whole = [(request("PUT", "/v1/kv/k", fields=[("Content-Length", len(PART) + 2000)]) + PART, b"x" * 2000, 201),
             (request("PUT", "/v1/kv/k", fields=[("Transfer-Encoding", "chunked")]) + b"%x\r\n" % (len(PART) + 2000) + PART, b"x" * 2000 + b"\r\n0\r\n\r\n", 201),
             (request("POST", "/v1/import", fields=[("Transfer-Encoding", "chunked")]) + b"%x\r\n" % (len(PART) + 2020) + b'{"key":"k","value":"' + PART[1:], b"x" * 1999 + b'"}\r\n0\r\n\r\n', 200)]
    for begin, rest, status in whole:
        with Server(*SMALL) as s, s.connect() as w, s.connect() as filler, s.connect(60) as one:
            others = [s.connect(60) for _ in range(7)]
            one.send(begin)
            for o in others:
                pour(o, request("PUT", "/v1/kv/o", fields=[("Content-Length", 4 << 20)]), PART)
            filler.send(request("PUT", "/v1/kv/f", fields=[("Transfer-Encoding", "chunked")]) + b"%x\r\n" % len(PART) + PART + b"\r\n")
            until(lambda: figure(w, "quern_intake_bytes") >= 9 * len(PART), "all that was sent is there")
            left = BOUND - figure(w, "quern_intake_bytes") - 1000
            others.append(s.connect(60))
            others[-1].send(request("PUT", "/v1/kv/f", fields=[("Transfer-Encoding", "chunked")]) + b"%x\r\n" % left + b"x" * left)
            until(lambda: figure(w, "quern_intake_bytes") >= BOUND - 1000, "there is room for little")
            one.send(rest)
            equal(one.read().status, status)
            for o in others:
                o.socket.close()


@test
def an_idle_connection_keeps_nothing_of_a_large_request():
    with Server(*SMALL, "--idle-timeout", "60m") as s:  # the last waits until all others had their turn
        wires = [s.connect(60) for _ in range(40)]
        for w in wires[:5]:
            equal(w.put("k", b"x" * (4 << 20)).status, 200)
        before = s.memory_kib("RssAnon")
        for w in wires:
            equal(w.put("k", b"x" * (4 << 20)).status, 200)
        grown = s.memory_kib("RssAnon") - before
        print(f"# 40 idle connections cost {grown} KiB")
        if not is_watched():
            assert grown < 80 << 10, grown
        for w in wires:
            w.socket.close()


if __name__ == "__main__":
    main()
