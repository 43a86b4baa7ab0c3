#!/usr/bin/env python3
"""Expiry over the Redis protocol: the same commands sent to a real redis-server have the same replies,
and what has expired is gone for every door, after a restart too."""

import re
import time

from quernd import Refused, Resp, Server, SickDisk, command, equal, main, seeded, test, until
from real_redis import RealRedis, same
from v1 import batch, get, put

FAR = 4102444800  # the year 2100, in seconds
NEAR_S, NEAR_MS = 900, 900000  # by so much may two servers differ that were asked one after the other


def alike(got, want):
    """Times from now on differ by what lay between the two; all else is the same."""
    if isinstance(want, list) and isinstance(got, list):
        return len(got) == len(want) and all(g == w or alike(g, w) for g, w in zip(got, want))
    if not isinstance(want, int) or not isinstance(got, int) or want < 1000000:
        return False
    return abs(got - want) < (NEAR_S if want < 5000000000 else NEAR_MS)


class Words:
    """Random commands. Every time from now on is used once, and is further from any other than the two
    servers can be apart: what GT and LT find must not depend on how fast they are."""

    def __init__(self, rng):
        self.rng = rng
        self.places = list(range(3000))
        rng.shuffle(self.places)

    def key(self):
        return self.rng.choice(["a", "b", "c"])

    def bad(self):
        return self.rng.choice(["0", "-1", "x", "", "1.5", "9223372036854775807", "-9223372036854775808",
                                "9223372036854775", "9223372036854776", "-9223372036854775", " 1"])

    def span(self, ms):
        if not self.places or self.rng.random() < 0.2:
            return self.bad()
        seconds = 6000000 + 1000 * self.places.pop()
        return str(seconds * 1000 if ms else seconds)

    def moment(self, ms):
        if self.rng.random() < 0.2:
            return self.rng.choice(["0", "-1", "1", "x", "", "-9223372036854775808", "9223372036854776"])
        seconds = FAR + self.rng.randrange(4)
        return str(seconds * 1000 + self.rng.choice([0, 499, 500, 999]) if ms else seconds)

    def time_words(self):
        return self.rng.choice([lambda: ("EX", self.span(False)), lambda: ("px", self.span(True)),
                                lambda: ("ExAt", self.moment(False)), lambda: ("PXAT", self.moment(True)),
                                lambda: ("EX",), lambda: ("KEEPTTL",), lambda: ("PERSIST",)])()

    def conditions(self):
        return self.rng.choice([(), (), ("NX",), ("XX",), ("GT",), ("LT",), ("XX", "GT"), ("lt", "xx"),
                                ("NX", "GT"), ("GT", "LT"), ("NOPE",), ("NX", "NX")])

    def set(self):
        more = [self.time_words()]
        more += self.rng.choice([[], [], [("NX",)], [("XX",)], [("GET",)], [("NX",), ("GET",)], [("NOPE",)],
                                 [("KEEPTTL",)], [self.time_words()]])
        self.rng.shuffle(more)
        return ("SET", self.key(), "7", *[w for words in more for w in words])

    def one(self):
        rng, key = self.rng, self.key
        return rng.choice([
            self.set, self.set, self.set,
            lambda: ("SETEX", key(), self.span(False), "5"), lambda: ("PSETEX", key(), self.span(True), "6"),
            lambda: ("GETEX", key(), *self.time_words()), lambda: ("GETEX", key()),
            lambda: ("GETEX", key(), *self.time_words(), *self.time_words()),
            lambda: ("EXPIRE", key(), self.span(False), *self.conditions()),
            lambda: ("PEXPIRE", key(), self.span(True), *self.conditions()),
            lambda: ("EXPIREAT", key(), self.moment(False), *self.conditions()),
            lambda: ("PEXPIREAT", key(), self.moment(True), *self.conditions()),
            lambda: ("PERSIST", key()), lambda: ("TTL", key()), lambda: ("PTTL", key()),
            lambda: ("EXPIRETIME", key()), lambda: ("PEXPIRETIME", key()),
            lambda: ("SET", key(), "1"), lambda: ("GETSET", key(), "2"), lambda: ("MSET", key(), "3", key(), "4"),
            lambda: ("SETNX", key(), "5"), lambda: ("MSETNX", key(), "6", key(), "7"),
            lambda: ("INCR", key()), lambda: ("DECRBY", key(), "2"), lambda: ("INCRBYFLOAT", key(), "2"),
            lambda: ("APPEND", key(), "1"), lambda: ("SETRANGE", key(), "0", "2"), lambda: ("GETDEL", key()),
            lambda: ("RENAME", key(), key()), lambda: ("RENAMENX", key(), key()), lambda: ("COPY", key(), key()),
            lambda: ("COPY", key(), key(), "REPLACE"), lambda: ("GET", key()), lambda: ("EXISTS", key(), key()),
            lambda: ("DEL", key()), lambda: ("TTL",), lambda: ("EXPIRE", key()), lambda: ("SETEX", key(), "1"),
            lambda: ("MULTI",), lambda: ("EXEC",), lambda: ("EXEC",), lambda: ("WATCH", key()),
        ])()


@test
def random_commands_have_the_same_bytes_as_in_redis():
    words = Words(seeded())
    with RealRedis() as real, Server("--durability", "os") as s, Resp(real.port) as theirs, s.resp() as ours:
        said = []
        for _ in range(8000):
            said = said[-12:] + [words.one()]
            if said[-1][0] == "WATCH":  # docs/resp.md: what came and went was not there
                same(theirs, ours, ("SET", said[-1][1], "1"), said)
            same(theirs, ours, said[-1], said, alike)
            for key in "abc":
                if said[-1][0] != "MULTI" and len(said[-1]) > 1 and key == said[-1][1]:
                    same(theirs, ours, ("PEXPIRETIME", key), said, alike)


@test
def times_that_cannot_be_are_refused_in_redis_words():
    def invalid(name):
        return Refused(f"ERR invalid expire time in '{name}' command")
    integer = Refused("ERR value is not an integer or out of range")
    most = 9223372036854775807
    with Server("--durability", "os") as s, s.resp() as r:
        r.call("SET", "k", "v")
        for words, wanted in (
                ("SET k v EX 0", invalid("set")), ("SET k v EX -1", invalid("set")), ("SET k v EX x", integer),
                (f"SET k v EX {most}", invalid("set")), (f"SET k v PX {most}", invalid("set")),
                ("SET k v EXAT 0", invalid("set")), (f"SET k v EXAT {most // 1000 + 1}", invalid("set")),
                ("SETEX k 0 v", invalid("setex")), ("PSETEX k -5 v", invalid("psetex")),
                ("GETEX k EX 0", invalid("getex")), ("GETEX none EX 0", None),
                (f"EXPIRE k {most}", invalid("expire")), (f"EXPIRE k -{most}", invalid("expire")),
                (f"PEXPIRE k {most}", invalid("pexpire")), (f"EXPIREAT k {most}", invalid("expireat")),
                ("EXPIRE k 1 NOPE", Refused("ERR Unsupported option NOPE")), ("TTL k", -1), ("GET k", b"v"),
                (f"SET k v PXAT {most}", "OK"), (f"PEXPIREAT k {most}", 1), ("PEXPIRETIME k", most),
                ("GET k", b"v")):
            equal(r.call(*words.split()), wanted, words)


@test
def a_time_that_has_passed_deletes():
    with Server("--durability", "os") as s, s.resp() as r:
        for words in ("EXPIRE k 0", "EXPIRE k -5", "PEXPIRE k -1", "EXPIREAT k 1", "PEXPIREAT k 1"):
            equal([r.call("SET", "k", "v"), r.call(*words.split()), r.call("EXISTS", "k"), r.call("TTL", "k")],
                  ["OK", 1, 0, -2], words)
        for words in ("SET k v EXAT 1", "SET k v PXAT 1", "SET k v XX PXAT 1"):
            equal([r.call("SET", "k", "v"), r.call(*words.split()), r.call("GET", "k"), r.call("DBSIZE")],
                  ["OK", "OK", None, 0], words)
        equal([r.call("SET", "k", "v"), r.call("GETEX", "k", "PXAT", "1"), r.call("GET", "k")],
              ["OK", b"v", None])
        for words in ("MULTI", "SET k v PXAT 1", "GET k", "SET k w", "GET k"):
            r.call(*words.split())
        equal(r.call("EXEC"), ["OK", None, "OK", b"w"])


@test
def what_has_expired_is_gone_for_every_door_and_after_a_restart():
    with Server() as first:
        with first.resp() as r, first.connect() as w:
            equal(r.call("SET", "soon", "v", "PX", 300), "OK")
            equal(r.call("SET", "stays", "v", "PXAT", (FAR * 1000)), "OK")
            equal(r.call("SET", "over", "v", "PX", 1), "OK")
            equal(r.call("SET", "over", "v"), "OK")
            equal(r.call("INCR", "number"), 1)
            equal(r.call("PEXPIRE", "number", 300), 1)
            until(lambda: r.call("GET", "soon") is None, "soon has expired")
            until(lambda: r.call("EXISTS", "number") == 0, "number has expired")
            equal(w.get(b"soon").status, 404)
            equal([r.call("TTL", "soon"), r.call("INCR", "number"), r.call("TTL", "number")], [-2, 1, -1])
            equal(r.call("SETNX", "soon", "again"), 1)
            equal(r.call("PEXPIRE", "soon", 1), 1)
            until(lambda: r.call("DBSIZE") == 3, "it is counted no more")
            equal(r.call("KEYS", "*"), [b"number", b"over", b"stays"])
        equal(first.stop(), 0)
        with Server(data=first.data) as again, again.resp() as r:
            equal(r.call("MGET", "soon", "stays", "over"), [None, b"v", b"v"])
            equal(r.call("PEXPIRETIME", "stays"), FAR * 1000)


@test
def a_watched_key_that_expires_stops_exec():
    with Server("--durability", "os") as s, s.resp() as r, s.resp() as other:
        for more in range(200, 30000, 1000):  # on a busy machine it may have expired before it is watched
            r.call("SET", "k", "v", "PX", more)
            r.call("WATCH", "k")
            if r.call("EXISTS", "k") == 1:
                break
            r.call("UNWATCH")
        until(lambda: other.call("EXISTS", "k") == 0, "k has expired")
        equal([r.call("MULTI"), r.call("SET", "x", "1"), r.call("EXEC")], ["OK", "QUEUED", None])
        r.call("SET", "k", "v")
        r.call("WATCH", "k")
        equal(other.call("EXPIRE", "k", 1000), 1)
        equal([r.call("MULTI"), r.call("SET", "x", "1"), r.call("EXEC")], ["OK", "QUEUED", None])


@test
def info_counts_the_keys_that_expire():
    with Server("--durability", "os") as s, s.resp() as r:
        r.send(b"".join(command("SET", f"k{i}", i) for i in range(20)) +
               b"".join(command("SET", f"t{i}", i, "EX", 100000) for i in range(10)))
        equal([r.answer() for _ in range(30)], ["OK"] * 30)

        def counted():
            line = r.call("INFO", "keyspace").decode().splitlines()[1]
            return dict(part.split("=") for part in line.removeprefix("db0:").split(","))
        until(lambda: counted()["keys"] == "30", "what was counted is at most a second old")
        equal(counted()["expires"], "10")
        assert 99000000 < int(counted()["avg_ttl"]) <= 100000000, counted()
        r.send(b"".join(command("PERSIST", f"t{i}") for i in range(10)))
        equal([r.answer() for _ in range(10)], [1] * 10)
        until(lambda: counted()["expires"] == "0", "none expires any more")
        equal(counted()["avg_ttl"], "0")


@test
def info_counts_what_has_expired_once_it_is_cleared_up():
    with Server("--durability", "os") as s, s.resp() as r, s.connect() as w:
        def expired():
            return int(re.search(rb"\r\nexpired_keys:(\d+)\r\n", r.call("INFO", "stats")).group(1))
        r.send(b"".join(command("SET", f"k{i}", i, "PX", 400) for i in range(10)) +
               b"".join(command("SET", f"t{i}", i, "EX", 100000) for i in range(6)) + command("DEL", "t5"))
        equal([r.answer() for _ in range(17)], ["OK"] * 16 + [1])
        until(lambda: r.call("DBSIZE") == 5, "they have expired")
        equal(expired(), 0)  # that is later
        equal(w.ask("POST", "/v1/admin/compact?wait=true").status, 200)
        equal(expired(), 10)
        equal([r.call("CONFIG", "RESETSTAT"), expired()], ["OK", 0])


@test
def kill_9_keeps_when_keys_expire():
    with Server() as first:
        with first.resp() as r:
            moment = FAR * 1000 + 123
            r.send(command("SET", "a", "1", "PXAT", moment) + command("APPEND", "a", "x") + command("COPY", "a", "b") +
                   command("RENAME", "b", "c") + command("SET", "d", "1", "PX", 1))
            equal([r.answer() for _ in range(5)], ["OK", 2, 1, "OK", "OK"])
        first.kill()
        time.sleep(0.01)
        with Server(data=first.data) as again, again.resp() as r:
            equal([r.call("PEXPIRETIME", k) for k in "abcd"], [moment, -2, moment, -2])


@test
def what_is_to_live_for_a_while_does_though_the_clock_of_the_machine_was_set_back():
    with SickDisk() as machine, Server(env=machine.env) as s, s.resp() as r, s.connect() as w:
        equal([r.call("SET", "dump", "1", "EX", 1000), r.call("GET", "dump")], ["OK", b"1"])
        machine.order("back")
        equal([r.call("SET", "lock", "1", "NX", "EX", 1000), r.call("SET", "lock", "2", "NX", "EX", 1000)], ["OK", None])
        equal(r.call("MSET", *(word for key in "efg" for word in (key, "1"))), "OK")
        equal([r.call("EXPIRE", "e", 1000), r.call("PEXPIRE", "f", 1000000), r.call("GETEX", "g", "EX", 1000)], [1, 1, b"1"])
        equal(r.call("RESTORE", "r", 1000000, r.call("DUMP", "dump")), "OK")
        equal([put(w, key, b"1", "?ttl=1000s").status for key in "hi"], [201, 201])
        equal(w.ask("POST", "/v1/kv/i?op=touch&ttl=1000s").status, 200)
        equal(batch(w, {"op": "put", "key": "j", "value": "1", "ttl": 1000}).status, 200)
        for key in ["lock", *"efghijr"]:
            equal([r.call("GET", key), get(w, key).status], [b"1", 200], key)
            assert 0 < r.call("TTL", key) <= 1000, (key, r.call("TTL", key))


if __name__ == "__main__":
    main()
