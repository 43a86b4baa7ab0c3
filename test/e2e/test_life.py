#!/usr/bin/env python3
"""How a server lives and ends: shutdown, signals, kill -9, clients that misbehave, limits."""

import os
import random
import signal
import socket
import threading
import time

from quernd import Server, Wire, curl, equal, main, request, test, until

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


if __name__ == "__main__":
    main()
