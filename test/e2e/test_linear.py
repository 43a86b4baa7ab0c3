#!/usr/bin/env python3
"""What many connections of both protocols do to a few keys at once is linearizable, at each
durability level, in the clear and over TLS, with connections cut in the middle, reloads, kill -9 and
restarts: every answer of the server is one that a single, never failing map could have given. What is
asked: plain writes and reads, writes under conditions (If-Match and If-None-Match, WATCH, SET NX),
counters, values that expire, several keys at once (batches, MSET, MGET, EXEC), range deletes, and a
database of its own that is flushed. Rules: linear.py, tested here on histories made by hand.

    LINEAR_SECONDS=60 LINEAR_SEED=1 test_linear.py     longer; the same requests again"""

import contextlib
import datetime
import json
import os
import random
import shutil
import signal
import tempfile
import threading
import time

from authority import Authority, options, put_in_place
from linear import ANY, NEVER, ONE_MORE, Not, Op, OrNone, check_family, check_revs
from quernd import Refused, Server, equal, main, quote, test
from v1 import batch

LEVELS = ("always", "interval:20", "os")
FAMILIES = [b"f%d/" % i for i in range(3)]
FLUSHED = b"flushed/"  # the family in a database of its own, which HTTP does not see
DATABASE = 3
KEYS = (b"a", b"b", b"n")  # of each family; the last one is a counter
COUNTER = 2
CLIENTS = 8
CUTS_MAX = 2  # of a client in one life, behind whole requests: each may be carried out at any time
OPERATIONS_MIN = 200
SECONDS = float(os.environ.get("LINEAR_SECONDS", "2"))


# ---- the rules themselves ----

def put(value, began, ended, rev=None, sure=True, end=0):
    return Op({}, {0: value and (value, end)}, began, ended, rev, sure, (began, ended))


def get(value, began, ended, rev=None):
    return Op({0: value}, {}, began, ended, rev, ms=(began, ended))


def swap(need, value, began, ended, sure=True):
    return Op({0: need}, {0: (value, 0)}, began, ended, sure=sure, ms=(began, ended))


@test
def the_rules_accept_what_can_be():
    for ops in ([], [put(b"1", 1, 10), put(b"2", 2, 9), get(b"2", 3, 4), get(b"1", 5, 6)],
                [put(b"1", 1, 10), put(b"2", 2, 9), get(b"1", 3, 4), get(b"2", 5, 6)],
                [put(b"1", 1, 2), put(None, 3, 10), get(b"1", 4, 5), get(None, 4, 6)],
                [put(b"1", 1, 4), get(b"1", 4, 5)], [get(None, 1, 2)],
                [put(b"1", 1, 5, sure=False), get(b"1", 6, 7)],
                [put(b"1", 1, 5, sure=False), get(None, 6, 7)],
                [put(b"1", 1, 5, sure=False), put(b"2", 2, 3), get(b"1", 6, 7)],
                # conditions: one of two that race; none there; there, whatever it is; another one
                [put(b"1", 1, 2), swap(b"1", b"2", 3, 9), get(b"2", 4, 5), get(Not(b"1"), 4, 8)],
                [swap(None, b"1", 1, 4), get(ANY, 2, 5)], [get(Not(b"1"), 1, 2)],
                [put(b"1", 1, 2), swap(b"7", b"2", 3, 9, sure=False), get(b"1", 10, 11)],
                # expiry: at its moment, which may be within an operation
                [put(b"1", 1, 2, end=5), get(b"1", 3, 4), get(None, 5, 6), swap(None, b"2", 7, 8)],
                [put(b"1", 1, 2, end=5), get(b"1", 3, 6), get(None, 4, 6)]):
        equal(check_family(ops), None, str(ops))
    equal(check_revs([put(b"a", 1, 2, 5), put(b"b", 3, 4, 6), get(b"a", 1, 9, 5)]), None)


@test
def the_rules_refuse_what_cannot_be():
    for ops in ([put(b"1", 1, 2), get(None, 3, 4)], [put(b"1", 1, 2), put(b"2", 3, 4), get(b"1", 5, 6)],
                [get(b"1", 1, 2), put(b"1", 3, 4)], [put(b"1", 1, 10), get(b"1", 2, 3), get(None, 4, 5)],
                [put(b"1", 1, 10), put(b"2", 1, 10), get(b"1", 2, 3), get(b"2", 4, 5), get(b"1", 6, 7)],
                [put(b"1", 1, 2), put(None, 3, 4), get(b"1", 5, 6)], [put(b"1", 1, 2), get(b"7", 3, 4)],
                # lost by a kill; or done, then undone; or done after the kill
                [put(b"1", 1, 2), put(b"2", 3, 5, sure=False), get(None, 6, 7)],
                [put(b"1", 1, 5, sure=False), get(b"1", 2, 3), get(None, 6, 7)],
                [put(b"1", 1, 5, sure=False), get(None, 6, 7), get(b"1", 8, 9)],
                # conditions: both of two that race; refused though it held; there though it was not
                [put(b"1", 1, 2), swap(b"1", b"2", 3, 9), swap(b"1", b"3", 3, 9)],
                [put(b"1", 1, 2), get(Not(b"1"), 3, 4)], [get(ANY, 1, 2)],
                # expiry: too early, too late, and back again
                [put(b"1", 1, 2, end=9), get(None, 3, 8)], [put(b"1", 1, 2, end=5), get(b"1", 5, 6)],
                [put(b"1", 1, 2, end=5), get(None, 4, 6), get(b"1", 4, 9), get(None, 3, 3)]):
        assert check_family(ops) is not None, ops
    ones = [Op({}, {2: ONE_MORE}, 1, 9), Op({}, {2: ONE_MORE}, 2, 9), Op({2: b"1"}, {}, 10, 11)]
    assert check_family(ones, 3) is not None
    torn = [Op({}, {0: (b"1", 0), 1: (b"1", 0)}, 1, 9), Op({0: b"1", 1: None}, {}, 2, 9)]
    assert check_family(torn, 2) is not None
    for ops in ([put(b"a", 1, 2, 5), put(b"b", 3, 4, 5)], [put(b"a", 1, 2, 6), put(b"b", 3, 4, 5)],
                [put(b"a", 1, 2, 5), get(b"a", 3, 4, 6)]):
        assert check_revs(ops) is not None, ops


# ---- the two doors ----

class Cut(Exception):
    """The connection was cut before, or behind (`whole`), the end of what was being sent."""

    def __init__(self, whole):
        super().__init__()
        self.whole = whole


class Door:
    """A connection that can be told to break off in the middle of what it sends next."""

    def __init__(self, wire):
        self.wire, self.cut_at, self.over = wire, None, False
        self.send, wire.send = wire.send, self.send_part

    def send_part(self, data):
        if self.cut_at is None:
            return self.send(data)
        whole = self.cut_at >= 1
        with contextlib.suppress(OSError):
            self.send(data if whole else data[:int(len(data) * self.cut_at)])
        self.wire.socket.close()
        raise Cut(whole)


class Http(Door):
    """Each answers (what it was asked, number of the write)."""

    def __init__(self, server, tls, _):
        super().__init__(server.connect(tls=tls))

    def ask(self, method, target, *status, body=None, fields=()):
        reply = self.wire.ask(method, target, body, fields)
        assert reply.status in status, reply
        rev = reply.fields.get("quern-rev")
        self.over = reply.fields.get("connection") == "close"
        return reply, rev and int(rev)

    def set(self, key, value, end, more):
        if not end:
            sync = "&sync=1" if more else ""
            return True, self.ask("POST", f"/set?key={quote(key)}{sync}", 200, body=value)[1]
        at = datetime.datetime.fromtimestamp(end // 1000, datetime.timezone.utc)
        reply, rev = self.ask("PUT", f"/v1/kv?key={quote(key)}&expires_at={at:%Y-%m-%dT%H:%M:%S}."
                              f"{end % 1000:03}Z", 201, 204, 400, body=value)
        return reply.status != 400, rev  # else its time was over before it came here

    def get(self, key):
        reply, rev = self.ask("GET", f"/get?key={quote(key)}", 200, 404)
        return (reply.body if reply.status == 200 else None), rev

    def delete(self, key):
        reply, rev = self.ask("DELETE", f"/del?key={quote(key)}", 200, 404)
        return reply.status == 200, rev

    def create(self, key, value, more):
        if more:
            op = {"key": key.decode()}
            reply = batch(self.wire, {"op": "check", "exists": False, **op},
                          {"op": "put", "value": value.decode(), **op})
            assert reply.status in (200, 409), reply
            return reply.status == 200, json.loads(reply.body).get("rev")
        reply, rev = self.ask("PUT", f"/v1/kv?key={quote(key)}", 201, 412, body=value,
                              fields=[("If-None-Match", "*")])
        return reply.status == 201, rev

    def look(self, key):
        reply, _ = self.ask("GET", f"/v1/kv?key={quote(key)}", 200, 404)
        self.tag = reply.fields.get("etag")
        return reply.body if reply.status == 200 else None

    def swap(self, key, value):
        """If it is still what look() found."""
        field = ("If-Match", self.tag) if self.tag else ("If-None-Match", "*")
        reply, rev = self.ask("PUT", f"/v1/kv?key={quote(key)}", 201, 204, 412, body=value, fields=[field])
        return reply.status != 412, rev

    def count(self, key):
        reply, rev = self.ask("POST", f"/v1/kv?key={quote(key)}&op=incr", 200)
        return json.loads(reply.body)["value"], rev

    def replace(self, key, value):
        reply, rev = self.ask("POST", f"/v1/kv?key={quote(key)}&op=getset", 200, 204, body=value)
        return (reply.body if reply.status == 200 else None), rev

    def set_all(self, keys, values):
        reply = batch(self.wire, *({"op": "put", "key": k.decode(), "value": v.decode()}
                                   for k, v in zip(keys, values)))
        equal(reply.status, 200)
        return True, json.loads(reply.body)["rev"]

    def get_all(self, keys):
        reply = batch(self.wire, *({"op": "get", "key": k.decode()} for k in keys))
        equal(reply.status, 200)
        items = [r["item"] for r in json.loads(reply.body)["results"]]
        return [i and i["value"].encode() for i in items]

    def wipe(self, family):
        self.ask("DELETE", f"/v1/keys?prefix={quote(family)}", 200)


class Redis(Door):
    def __init__(self, server, tls, family):
        super().__init__(server.resp(tls=tls))
        if family == FLUSHED:
            equal(self.wire.call("SELECT", DATABASE), "OK")

    def call(self, *words):
        answer = self.wire.call(*words)
        assert not isinstance(answer, Refused), answer
        return answer

    def set(self, key, value, end, _):
        equal(self.call("SET", key, value, *(("PXAT", end) if end else ())), "OK")
        return True, None

    def get(self, key):
        return self.call("GET", key), None

    def delete(self, key):
        return self.call("DEL", key) == 1, None

    def create(self, key, value, more):
        if more:
            return self.call("SETNX", key, value) == 1, None
        return self.call("SET", key, value, "NX") == "OK", None

    def look(self, key):
        equal(self.call("WATCH", key), "OK")
        return self.call("GET", key)

    def swap(self, key, value):
        self.wire.send(b"".join(map(lambda c: self.line(*c), (("MULTI",), ("SET", key, value), ("EXEC",)))))
        answers = [self.wire.answer() for _ in range(3)]
        assert answers in (["OK", "QUEUED", ["OK"]], ["OK", "QUEUED", None]), answers
        return answers[2] is not None, None

    @staticmethod
    def line(*words):
        return b" ".join(w if isinstance(w, bytes) else w.encode() for w in words) + b"\r\n"

    def count(self, key):
        return self.call("INCR", key), None

    def replace(self, key, value):
        return self.call("SET", key, value, "GET"), None

    def set_all(self, keys, values):
        equal(self.call("MSET", *(word for pair in zip(keys, values) for word in pair)), "OK")
        return True, None

    def get_all(self, keys):
        return self.call("MGET", *keys)

    def wipe(self, _):
        equal(self.call("FLUSHDB"), "OK")


# ---- clients ----

class Client(threading.Thread):
    """Asks until it is told to stop or the server is gone; keeps what it asked and heard."""

    def __init__(self, server, number, seed, stop, tls, cuts):
        super().__init__()
        self.server, self.number, self.stop, self.tls, self.cuts = server, number, stop, tls, cuts
        self.random = random.Random(seed)
        self.kind = Redis if number % 2 else Http
        self.only = FLUSHED if number % 4 == 3 else None
        self.ops = {family: [] for family in [*FAMILIES, FLUSHED]}
        self.lost = []  # (family, operation) whose answers nobody waits for
        self.open, self.error, self.said = None, None, 0

    def value(self):
        self.said += 1
        head = b"%s-%d-%d." % (self.server.name, self.number, self.said)
        return head + bytes([65 + self.said % 26]) * (self.random.choice((0, 10, 100, 2000)))

    def begin(self, puts=()):
        self.began = time.monotonic_ns(), time.time_ns() // 1000000
        if puts:
            self.open = self.family, Op({}, dict(puts), self.began[0], sure=False, ms=self.began)

    def heard(self, needs=(), puts=(), rev=None):
        ended, ms = time.monotonic_ns(), time.time_ns() // 1000000
        self.open = None
        self.ops[self.family].append(
            Op(dict(needs), dict(puts), self.began[0], ended, rev, ms=(self.began[1], ms)))

    # Each asks one thing of keys of self.family.

    def set(self, door, at, key):
        end = 0 if self.random.random() < 0.7 else time.time_ns() // 1000000 + self.random.randrange(1, 80)
        puts = {at: (self.value(), end)}
        self.begin(puts)
        done, rev = door.set(key, puts[at][0], end, self.random.random() < 0.1)
        self.heard(puts=puts if done else (), rev=rev)

    def get(self, door, at, key):
        self.begin()
        value, rev = door.get(key)
        self.heard({at: value}, rev=rev)

    def delete(self, door, at, key):
        self.begin({at: None})
        found, rev = door.delete(key)
        self.heard({at: ANY if found else None}, {at: None} if found else (), rev)

    def create(self, door, at, key):
        puts = {at: (self.value(), 0)}
        self.begin(puts)
        done, rev = door.create(key, puts[at][0], self.random.random() < 0.5)
        self.heard({at: None if done else ANY}, puts if done else (), rev if done else None)

    def swap(self, door, at, key):
        self.begin()
        found = door.look(key)
        self.heard({at: found})
        puts = {at: (self.value(), 0)}
        self.begin(puts)
        done, rev = door.swap(key, puts[at][0])
        if done and isinstance(door, Http):
            self.heard({at: found}, puts, rev)
        elif done:  # docs/resp.md: what was absent at WATCH and is at EXEC has not changed
            self.heard({at: found and OrNone(found)}, puts, rev)
        elif found is not None and isinstance(door, Http):
            self.heard({at: Not(found)})
        else:  # it was there for a moment; or another one came between WATCH and GET
            self.heard()

    def replace(self, door, at, key):
        puts = {at: (self.value(), 0)}
        self.begin(puts)
        before, rev = door.replace(key, puts[at][0])
        self.heard({at: before}, puts, rev)

    def count(self, door, *_):
        self.begin({COUNTER: ONE_MORE})
        n, rev = door.count(self.family + KEYS[COUNTER])
        self.heard({COUNTER: b"%d" % (n - 1) if n > 1 else None}, {COUNTER: ONE_MORE}, rev)

    def set_all(self, door, *_):
        puts = {at: (self.value(), 0) for at in range(COUNTER)}
        self.begin(puts)
        _, rev = door.set_all([self.family + KEYS[at] for at in puts], [v for v, _ in puts.values()])
        self.heard(puts=puts, rev=rev)

    def get_all(self, door, *_):
        self.begin()
        values = door.get_all([self.family + key for key in KEYS])
        self.heard(dict(enumerate(values)))

    def wipe(self, door, *_):
        if self.family != FLUSHED and isinstance(door, Redis):
            return
        puts = {at: None for at in range(len(KEYS))}
        self.begin(puts)
        door.wipe(self.family)
        self.heard(puts=puts)

    ASKED = {set: 24, get: 22, get_all: 14, set_all: 8, delete: 7, create: 8, swap: 8, count: 5, replace: 2,
             wipe: 2}

    def ask_one(self, door):
        r = self.random
        self.family = self.only or r.choice(FAMILIES)
        if self.cuts and r.random() < 0.03:
            door.cut_at = r.choice((r.random(), 0.999, 1)) if self.cuts_left else r.random()
        ask, = r.choices(list(self.ASKED), self.ASKED.values())
        at = r.randrange(COUNTER)
        ask(self, door, at, self.family + KEYS[at])

    def run(self):
        self.cuts_left = CUTS_MAX
        try:
            while not self.stop.is_set():
                door = self.kind(self.server, self.tls, self.only)
                with door.wire, contextlib.suppress(Cut):
                    self.ask_many(door)
        except (OSError, EOFError, AttributeError) as e:  # AttributeError: no reply came
            if not self.server.killed:
                self.error = e
        except Exception as e:  # told by the main thread
            self.error = e

    def ask_many(self, door):
        """Until it is cut. What did not arrive whole must not be carried out, so it is forgotten."""
        try:
            while not self.stop.is_set() and not door.over:
                self.ask_one(door)
        except Cut as cut:
            if cut.whole and self.open is not None:
                self.cuts_left -= 1
                self.lost.append(self.open)
            self.open = None
            raise


def reload(server, pairs, seconds):
    """Let the time pass; the server takes up another certificate now and then."""
    end = time.monotonic() + seconds
    while pairs and time.monotonic() < end:
        for fresh, used in zip(pairs[1], pairs[0]):
            put_in_place(fresh, used)
        pairs = [pairs[0], *pairs[2:], pairs[1]]
        server.process.send_signal(signal.SIGHUP)
        time.sleep(0.03)
    time.sleep(max(0, end - time.monotonic()))


def one_life(data, level, history, rng, name, polite, ca=None, pairs=()):
    """Clients ask, the server is killed under them (or ends well); what they heard is added."""
    server = Server("--durability", level, *(options(pairs[0]) if pairs else ()), data=data)
    server.name, server.killed = name, False
    stop = threading.Event()
    clients = [Client(server, i, rng.random(), stop, ca and ca.client(), ca is not None)
               for i in range(CLIENTS)]
    for c in clients:
        c.start()
    reload(server, pairs, rng.uniform(0.02, 0.35))
    if polite:
        stop.set()
    else:
        server.killed = True
        server.kill()
    for c in clients:
        c.join()
    if polite:
        equal(server.stop(), 0)
    died, ms = time.monotonic_ns(), time.time_ns() // 1000000
    assert "Sanitizer" not in server.stderr(), server.stderr()
    server.forget()
    for c in clients:
        if c.error is not None:
            raise AssertionError(f"client {c.number}: {c.error!r}")
        for family, op in [*c.lost, *([c.open] if c.open else [])]:
            op.ended, op.ms = died, (op.ms[1], ms)
            history[family].append(op)
        for family in history:
            history[family] += c.ops[family]


def many_lives(level, ca=None, pairs=()):
    seed = int(os.environ.get("LINEAR_SEED", time.time_ns() % 1000000007))
    rng = random.Random(f"{seed} {level}")
    data = tempfile.mkdtemp(prefix="quern-linear-")
    history = {family: [] for family in [*FAMILIES, FLUSHED]}
    end, lives, count = time.monotonic() + SECONDS, 0, 0
    while time.monotonic() < end or lives < 4 or count < OPERATIONS_MIN:
        lives += 1
        one_life(os.path.join(data, "store"), level, history, rng, b"%d" % lives, lives % 4 == 3, ca, pairs)
        count = sum(map(len, history.values()))
    try:
        for family, ops in history.items():
            why = check_family(ops, len(KEYS))
            assert why is None, f"{family}: {why}"
        why = check_revs([op for ops in history.values() for op in ops])
        assert why is None, why
    except AssertionError:
        print(f"# repeat with LINEAR_SEED={seed}; the store is kept in {data}")
        raise
    shutil.rmtree(data)
    print(f"# stress: operations {count}, histories {len(history)}, kills {lives - lives // 4}, "
          f"restarts {lives}")


@test
def linearizable_when_always_durable_across_kills():
    many_lives("always")


@test
def linearizable_when_durable_at_intervals_across_kills():
    many_lives("interval:20")


@test
def linearizable_when_the_system_decides_across_kills():
    many_lives("os")


@test
def linearizable_over_tls_across_cuts_reloads_and_kills():
    with Authority() as ca:
        many_lives("always", ca, [ca.issue(name) for name in ("used", "one", "two")])


main()
