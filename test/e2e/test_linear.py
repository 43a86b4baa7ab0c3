#!/usr/bin/env python3
"""What many connections do to a few keys at once is linearizable, at each durability level, with kill
-9 and restarts in between: every answer of the server is one that a single, never failing map could
have given. Rules: linear.py, which is tested here on histories made by hand.

    LINEAR_SECONDS=60 LINEAR_SEED=1 test_linear.py     longer; the same requests again"""

import os
import random
import shutil
import tempfile
import threading
import time

from linear import check_key, check_revs
from quernd import Server, equal, main, test

LEVELS = ("always", "interval:20", "os")
KEYS = [b"linear/%d" % i for i in range(6)]
CLIENTS = 8
SECONDS = float(os.environ.get("LINEAR_SECONDS", "2"))
NEVER = float("inf")


# ---- the rules themselves ----

def put(value, began, ended, rev=None, sure=True):
    return ["set", began, ended, value, rev, sure]


def get(value, began, ended, rev=None):
    return ["get", began, ended, value, rev, True]


@test
def the_rules_accept_what_can_be():
    for ops in ([], [put(1, 1, 10), put(2, 2, 9), get(2, 3, 4), get(1, 5, 6)],
                [put(1, 1, 10), put(2, 2, 9), get(1, 3, 4), get(2, 5, 6)],
                [put(1, 1, 2), put(None, 3, 10), get(1, 4, 5), get(None, 4, 6)],
                [put(1, 1, 4), get(1, 4, 5)], [get(None, 1, 2)],
                [put(1, 1, 5, sure=False), get(1, 6, 7)],
                [put(1, 1, 5, sure=False), get(None, 6, 7)],
                [put(1, 1, 5, sure=False), put(2, 2, 3), get(1, 6, 7)]):
        equal(check_key(ops), None, str(ops))
    equal(check_revs([put(1, 1, 2, 5), put(2, 3, 4, 6), get(1, 1, 9, 5)]), None)


@test
def the_rules_refuse_what_cannot_be():
    for ops in ([put(1, 1, 2), get(None, 3, 4)], [put(1, 1, 2), put(2, 3, 4), get(1, 5, 6)],
                [get(1, 1, 2), put(1, 3, 4)], [put(1, 1, 10), get(1, 2, 3), get(None, 4, 5)],
                [put(1, 1, 10), put(2, 1, 10), get(1, 2, 3), get(2, 4, 5), get(1, 6, 7)],
                [put(1, 1, 2), put(None, 3, 4), get(1, 5, 6)], [put(1, 1, 2), get(7, 3, 4)],
                # lost by a kill; or done, then undone; or done after the kill
                [put(1, 1, 2), put(2, 3, 5, sure=False), get(None, 6, 7)],
                [put(1, 1, 5, sure=False), get(1, 2, 3), get(None, 6, 7)],
                [put(1, 1, 5, sure=False), get(None, 6, 7), get(1, 8, 9)]):
        assert check_key(ops) is not None, ops
    for ops in ([put(1, 1, 2, 5), put(2, 3, 4, 5)], [put(1, 1, 2, 6), put(2, 3, 4, 5)],
                [put(1, 1, 2, 5), get(1, 3, 4, 6)]):
        assert check_revs(ops) is not None, ops


# ---- clients ----

class Client(threading.Thread):
    """Asks until it is told to stop or the server is gone; keeps what it asked and heard."""

    def __init__(self, server, number, seed, stop):
        super().__init__()
        self.server, self.number, self.stop = server, number, stop
        self.random = random.Random(seed)
        self.ops = {key: [] for key in KEYS}
        self.open, self.error, self.count = None, None, 0

    def value(self):
        self.count += 1
        head = b"%s-%d-%d." % (self.server.name, self.number, self.count)
        return head + bytes([65 + self.count % 26]) * (self.random.choice((0, 10, 100, 2000)))

    def ask(self, wire):
        r, key = self.random, self.random.choice(KEYS)
        more = "&sync=1" if r.random() < 0.05 else ""
        kind = r.random()
        began = time.monotonic_ns()
        if kind < 0.4:
            value = self.value()
            self.open = (key, put(value, began, NEVER, sure=False))
            reply = wire.put(key, value, more)
            op = put(value, began, time.monotonic_ns(), reply.fields.get("quern-rev"))
        elif kind < 0.5:
            self.open = (key, put(None, began, NEVER, sure=False))
            reply = wire.delete(key)
            ended = time.monotonic_ns()
            if reply.status == 404:  # it deleted nothing: it was a read
                op = get(None, began, ended)
            else:
                op = put(None, began, ended, reply.fields["quern-rev"])
        else:
            self.open = None
            reply = wire.get(key)
            ended = time.monotonic_ns()
            op = get(reply.body if reply.status == 200 else None, began, ended,
                     reply.fields.get("quern-rev"))
        assert reply.status in (200, 404), reply
        assert op[0] == "get" or reply.status == 200, reply
        if op[4] is not None:
            op[4] = int(op[4])
        self.open = None
        self.ops[key].append(op)

    def run(self):
        try:
            with self.server.connect() as wire:
                while not self.stop.is_set():
                    self.ask(wire)
        except (OSError, EOFError, AttributeError) as e:  # AttributeError: no reply came
            if not self.server.killed:
                self.error = e
        except Exception as e:  # told by the main thread
            self.error = e


def one_life(data, level, history, rng, name, polite):
    """Clients ask, the server is killed under them (or ends well); what they heard is added."""
    server = Server("--durability", level, data=data)
    server.name, server.killed = name, False
    stop = threading.Event()
    clients = [Client(server, i, rng.random(), stop) for i in range(CLIENTS)]
    for c in clients:
        c.start()
    time.sleep(rng.uniform(0.02, 0.35))
    if polite:
        stop.set()
    else:
        server.killed = True
        server.kill()
    for c in clients:
        c.join()
    died = time.monotonic_ns()
    if polite:
        equal(server.stop(), 0)
    assert "Sanitizer" not in server.stderr(), server.stderr()
    server.forget()
    for c in clients:
        if c.error is not None:
            raise AssertionError(f"client {c.number}: {c.error!r}")
        if c.open is not None:
            key, op = c.open
            op[2] = died
            history[key].append(op)
        for key in KEYS:
            history[key] += c.ops[key]


def many_lives(level):
    seed = int(os.environ.get("LINEAR_SEED", time.time_ns() % 1000000007))
    rng = random.Random(f"{seed} {level}")
    data = tempfile.mkdtemp(prefix="quern-linear-")
    history = {key: [] for key in KEYS}
    end, lives = time.monotonic() + SECONDS, 0
    while time.monotonic() < end or lives < 4:
        lives += 1
        one_life(os.path.join(data, "store"), level, history, rng, b"%d" % lives, lives % 4 == 3)
    try:
        for key, ops in history.items():
            why = check_key(ops)
            assert why is None, f"{key}: {why}"
        why = check_revs([op for ops in history.values() for op in ops])
        assert why is None, why
    except AssertionError:
        print(f"# repeat with LINEAR_SEED={seed}; the store is kept in {data}")
        raise
    shutil.rmtree(data)
    count = sum(map(len, history.values()))
    print(f"# stress: operations {count}, histories {len(KEYS)}, kills {lives - lives // 4}, "
          f"restarts {lives}")
    assert count > 100, count


@test
def linearizable_when_always_durable_across_kills():
    many_lives("always")


@test
def linearizable_when_durable_at_intervals_across_kills():
    many_lives("interval:20")


@test
def linearizable_when_the_system_decides_across_kills():
    many_lives("os")


main()
