#!/usr/bin/env python3
"""Reads that one waking of a loop brings: they become one batched get, whoever asks, and nobody sees a
difference. The server is stopped while the requests are sent, so that they come together."""

import json
import os
import random
import signal
import socket
import struct

from quernd import Server, SickDisk, answered, command, equal, main, request, test, until


def stats_of(wire):
    return json.loads(wire.ask("GET", "/stats").body)


class Together:
    """All that is sent inside is there when the loop wakes."""

    def __init__(self, server):
        self.server, self.sent = server, []

    def send(self, wire, data):
        wire.send(data)
        self.sent.append((wire.socket.getsockname()[1], len(data)))

    def __enter__(self):
        self.server.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.server.process.pid, os.WUNTRACED)
        return self

    def waiting(self):
        """By the client's port, how many bytes the server has not read."""
        with open("/proc/net/tcp", encoding="ascii") as f:
            rows = [line.split() for line in f][1:]
        return {int(r[2].split(":")[1], 16): int(r[4].split(":")[1], 16) for r in rows
                if int(r[1].split(":")[1], 16) in (self.server.port, self.server.resp_port)}

    def __exit__(self, *_):
        want = {}
        for port, n in self.sent:
            want[port] = want.get(port, 0) + n
        until(lambda: all(self.waiting().get(p, 0) >= n for p, n in want.items()), "all has arrived")
        self.server.process.send_signal(signal.SIGCONT)


def batches(wire):
    now = stats_of(wire)["server"]
    return now["read_batches"], now["reads_in_batches"]


def one_loop(**more):
    return Server("--loops", "1", "--durability", "os", **more)


@test
def what_both_doors_ask_for_in_one_turn_is_one_batched_get():
    with one_loop() as s, s.connect() as asks:
        https, resps = [s.connect() for _ in range(5)], [s.resp() for _ in range(4)]
        for n in range(9):
            equal(asks.put(f"k{n}", b"v%d" % n).status, 200)
        before = batches(asks)
        with Together(s) as t:
            for n, w in enumerate(https):
                t.send(w, request("GET", (f"/v1/kv/k{n}", f"/get?key=k{n}")[n % 2]))
            for n, r in enumerate(resps):
                t.send(r, command("GET", f"k{n + 5}"))
        equal([w.read().body for w in https], [b"v%d" % n for n in range(5)])
        equal([r.answer() for r in resps], [b"v%d" % n for n in range(5, 9)])
        after = batches(asks)
        equal((after[0] - before[0], after[1] - before[1]), (1, 9))


@test
def a_read_without_company_is_no_batch():
    with one_loop() as s, s.connect() as w, s.resp() as r:
        equal(w.put("k", b"v").status, 200)
        for _ in range(10):
            equal(w.get("k").body, b"v")
            equal(w.ask("GET", "/v1/kv/k").body, b"v")
            equal(r.call("GET", "k"), b"v")
        equal(batches(w), (0, 0))


@test
def replies_of_a_batch_are_what_they_are_alone():
    asked = [
        ("GET", "/v1/kv/small", ()),
        ("GET", "/get?key=small", ()),
        ("HEAD", "/v1/kv/small", ()),
        ("GET", "/v1/kv/s%6dall?meta=json", ()),
        ("GET", "/v1/kv?key=c21hbGw&enc=b64u", ()),
        ("GET", "/v1/kv/small?db=1", ()),
        ("GET", "/v1/kv/nowhere", ()),
        ("GET", "/get?key=nowhere", (("Accept", "application/json"),)),
        ("GET", "/v1/kv/page", ()),
        ("GET", "/v1/kv/large", ()),
        ("GET", "/v1/kv/large", (("Range", "bytes=65530-65541"),)),
        ("GET", "/v1/kv/small", (("Range", "bytes=1-2"),)),
        ("GET", "/v1/kv/small", (("If-None-Match", "*"),)),
        ("GET", "/v1/kv/small", (("If-Match", '"x"'),)),
        ("GET", "/v1/kv/small", (("If-Match", "x"),)),
        ("GET", "/v1/kv/", ()),
        ("GET", "/v1/kv/" + "k" * 9000, ()),
        ("GET", "/v1/kv/" + "k" * 9001, ()),
    ]

    def shown(reply):
        fields = {k: v for k, v in reply.fields.items() if k not in ("date", "x-request-id")}
        return reply.status, fields, reply.body.replace(reply.fields["x-request-id"].encode(), b"ID")

    with one_loop() as s, s.connect() as asks:
        for key, value in (("small", b"abcd"), ("page", b"p" * 5000), ("large", b"l" * 100000)):
            equal(asks.put(key, value).status, 200)
        equal(asks.ask("PUT", "/v1/kv/small?db=1", b"of another database").status, 201)
        texts = [request(m, t, None, (("X-Request-Id", f"id{n}"), *f)) for n, (m, t, f) in enumerate(asked)]
        wires = [s.connect() for _ in asked]
        want = []
        for w, text, (method, _, _) in zip(wires, texts, asked):
            w.send(text)
            want.append(shown(w.read(method == "HEAD")))
        before = batches(asks)
        with Together(s) as t:
            for w, text in zip(wires, texts):
                if len(text) < 16000:
                    t.send(w, text)
        for n, (w, (method, target, _)) in enumerate(zip(wires, asked)):
            reply = w.read(method == "HEAD")
            equal(reply.fields["x-request-id"], f"id{n}")
            equal(shown(reply), want[n], target)
        assert batches(asks)[1] - before[1] >= 13, "they were a batch"


def some_value(rng):
    return b"%d" % rng.randrange(1000) * rng.choice((1, 1, 30, 3000))


def some_requests(rng, has):
    """Requests of one connection, and what each must say: `has` is what is stored under its keys."""
    out = []
    for _ in range(rng.randrange(1, 40)):
        key = rng.choice(list(has))
        what = rng.choice(("get", "get", "get", "kv", "kv", "put", "delete", "none"))
        if what == "put":
            has[key] = some_value(rng)
            out.append((request("POST", f"/set?key={key}", has[key]), 200, b"OK\n"))
        elif what == "delete":
            out.append((request("DELETE", f"/del?key={key}"), *((200, b"OK\n") if has[key] is not None else (404, None))))
            has[key] = None
        elif what == "none":
            out.append((request("GET", f"/none?key={key}"), 404, None))
        else:
            target = f"/get?key={key}" if what == "get" else f"/v1/kv/{key}"
            out.append((request("GET", target), *((200, has[key]) if has[key] is not None else (404, None))))
    return out


def some_commands(rng, has):
    out = []
    for _ in range(rng.randrange(1, 40)):
        key = rng.choice(list(has))
        what = rng.choice(("GET", "GET", "GET", "MGET", "SET", "DEL", "ECHO"))
        if what == "SET":
            has[key] = some_value(rng)
            out.append((command("SET", key, has[key]), "OK"))
        elif what == "DEL":
            out.append((command("DEL", key), int(has[key] is not None)))
            has[key] = None
        elif what == "ECHO":
            out.append((command("ECHO", key), key.encode()))
        elif what == "MGET":
            out.append((command("MGET", *has), list(has.values())))
        else:
            out.append((command("GET", key), has[key]))
    return out


@test
def pipelined_reads_and_writes_of_many_connections_are_answered_in_order_and_see_what_was_written_before():
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    with one_loop() as s:
        https, resps = [s.connect() for _ in range(6)], [s.resp() for _ in range(6)]
        stores = [{f"{door}{n}.{i}": None for i in range(4)} for door in "hr" for n in range(6)]
        for _ in range(8):
            wires = https + resps
            plans = [some_requests(rng, has) if n < 6 else some_commands(rng, has) for n, has in enumerate(stores)]
            with Together(s) as t:
                for w, plan in zip(wires, plans):
                    text = b"".join(p[0] for p in plan)
                    t.send(w, text[:30000])  # what a socket takes at once
                    plan.append(text[30000:])
            for w, plan in zip(wires, plans):
                w.send(plan.pop())
            for w, plan in zip(https, plans):
                for text, status, body in plan:
                    reply = w.read()
                    equal(reply.status, status, (seed, text[:60]))
                    if body is not None:
                        equal(reply.body, body, (seed, text[:60]))
            for r, plan in zip(resps, plans[6:]):
                for text, want in plan:
                    equal(r.answer(), want, (seed, text[:60]))


@test
def connections_that_end_in_a_batch_are_forgotten_and_the_others_are_answered():
    with one_loop() as s, s.connect() as asks:
        equal(asks.put("k", b"v").status, 200)
        for _ in range(10):
            https, resps = [s.connect() for _ in range(6)], [s.resp() for _ in range(6)]
            with Together(s) as t:
                for n, w in enumerate(https + resps):
                    t.send(w, (request("GET", "/get?key=k") if n < 6 else command("GET", "k")) * 3)
            for w in (https[1], resps[1]):  # a reset, before or behind the replies
                w.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                w.socket.close()
            for w in (https[2], resps[2]):  # all was sent; the replies are waited for
                w.socket.shutdown(socket.SHUT_WR)
            for n in (0, 2, 3, 4, 5):
                equal([https[n].read().body for _ in range(3)], [b"v"] * 3)
                equal([resps[n].answer() for _ in range(3)], [b"v"] * 3)
            for w in https + resps:
                w.socket.close()
        until(lambda: stats_of(asks)["server"]["connections"] == 1, "one connection")


@test
def what_in_a_batch_is_not_in_memory_is_waited_for_by_those_who_asked_for_it_alone():
    with SickDisk() as disk:
        data = os.path.join(disk.dir, "data")
        with one_loop(data=data) as s, s.connect() as asks:
            for n in range(8):
                equal(asks.put(f"k{n}", b"%d" % n).status, 200)
        with one_loop(data=data, env=disk.env) as s, s.connect() as asks:  # it lies in a table now
            equal(asks.put("there", b"1").status, 200)
            disk.order("hold-reads")
            https, resps = [s.connect() for _ in range(8)], [s.resp() for _ in range(8)]
            try:
                with Together(s) as t:
                    for n in range(8):
                        key = f"k{n}" if n % 2 else "there"
                        t.send(https[n], request("GET", f"/v1/kv/{key}") + request("GET", "/v1/kv/there"))
                        t.send(resps[n], command("GET", key) + command("GET", "there"))
                for n in (0, 2, 4, 6):
                    equal([https[n].read().body for _ in range(2)], [b"1"] * 2)
                    equal([resps[n].answer() for _ in range(2)], [b"1"] * 2)
                for w in https[1::2] + resps[1::2]:
                    equal(answered(w, 0.01), False)
                https[1].socket.close()
                resps[1].socket.close()
            finally:
                disk.revoke("hold-reads")
            for n in (3, 5, 7):
                equal([https[n].read().body for _ in range(2)], [b"%d" % n, b"1"])
                equal([resps[n].answer() for _ in range(2)], [b"%d" % n, b"1"])


@test
def batches_take_no_memory_once_the_server_is_warm():
    with one_loop() as s, s.connect() as asks:
        for n in range(8):
            equal(asks.put(f"k{n}", b"v" * 100 * n).status, 200)
        https, resps = [s.connect() for _ in range(8)], [s.resp() for _ in range(8)]

        def one_round(many):
            with Together(s) as t:
                for n in range(8):
                    t.send(https[n], request("GET", f"/v1/kv/k{n}") * many)
                    t.send(resps[n], command("GET", f"k{n}") * many)
            for n in range(8):
                for _ in range(many):
                    equal((https[n].read().status, len(resps[n].answer())), (200, 100 * n))

        def taken():
            return stats_of(asks)["server"]["loop_allocations"]

        for _ in range(3):
            one_round(16)
        grown = 1
        for _ in range(3):  # a text of /stats that has become longer takes more, for once
            before = taken()
            by_stats = taken() - before
            for _ in range(10):
                one_round(4)
            grown = taken() - before - 2 * by_stats
            if grown == 0:
                break
        equal(grown, 0)


if __name__ == "__main__":
    main()
