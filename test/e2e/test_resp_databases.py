#!/usr/bin/env python3
"""Databases 0 to 15 over the Redis protocol, and their flushing: as in a real redis-server, and whole
after a crash."""


from quernd import Refused, Resp, Server, command, equal, main, seeded, test, until
from real_redis import RealRedis, same


def some_words(rng):
    key = lambda: rng.choice(["a", "b", "c"])
    db = lambda: rng.choice(["0", "1", "2", "15", "16", "-1", "x", "99999999999", "9223372036854775808"])
    return rng.choice([
        lambda: ("SELECT", db()), lambda: ("SELECT", rng.choice("012")), lambda: ("SET", key(), rng.choice("123")),
        lambda: ("SET", key(), "9", "NX", "EXAT", "4102444800"), lambda: ("GET", key()), lambda: ("INCR", key()),
        lambda: ("MOVE", key(), rng.choice("012")), lambda: ("MOVE", key(), db()),
        lambda: ("COPY", key(), key(), "DB", rng.choice("012")), lambda: ("COPY", key(), key(), "DB", db(), "REPLACE"),
        lambda: ("COPY", key(), key(), "REPLACE", "DB", rng.choice("012")), lambda: ("RENAME", key(), key()),
        lambda: ("DEL", key()), lambda: ("EXISTS", key(), key()), lambda: ("MGET", key(), key(), key()),
        lambda: ("PEXPIRETIME", key()), lambda: ("MULTI",), lambda: ("EXEC",), lambda: ("EXEC",), lambda: ("DISCARD",),
        lambda: ("WATCH", key()), lambda: ("RESET",), lambda: ("GETDEL", key()),
        lambda: ("FLUSHDB", *rng.choice([(), ("SYNC",), ("async",), ("x",), ("SYNC", "SYNC")])),
        lambda: ("FLUSHALL", *rng.choice([(), ("SYNC",), ("ASYNC",), ("x",)])),
        lambda: ("SWAPDB", rng.choice("012"), rng.choice("012")), lambda: ("SWAPDB", db(), db()),
        lambda: ("DBSIZE",), lambda: ("RANDOMKEY",) if rng.random() < 0.1 else ("GET", key()),
    ])()


@test
def random_commands_over_databases_have_the_same_bytes_as_in_redis():
    rng = seeded()
    with RealRedis() as real, Server("--durability", "os") as s, Resp(real.port) as theirs, s.resp() as ours:
        said, queues = [], False
        for _ in range(8000):
            words = some_words(rng)
            if words[0] in ("RANDOMKEY",) or (queues and words[0] in ("DBSIZE", "RANDOMKEY")):
                continue  # docs/resp.md
            queues = words[0] == "MULTI" or (queues and words[0] not in ("EXEC", "DISCARD", "RESET"))
            if words[0] == "WATCH" and not queues:  # docs/resp.md: what came and went was not there
                same(theirs, ours, ("SET", words[1], "1"), said)
            said = said[-12:] + [words]
            same(theirs, ours, words, said)
        for r in (theirs, ours):
            r.call("RESET")
        for db in range(16):
            for words in (("SELECT", db), ("DBSIZE",), ("MGET", "a", "b", "c")):
                same(theirs, ours, words)


@test
def what_is_pipelined_behind_a_transaction_that_selects_a_database_is_carried_out_there():
    words = [("SET", "k", "0"), ("MULTI",), ("SELECT", "2"), ("SET", "k", "2"), ("EXEC",), ("APPEND", "k", "2"), ("SET", "l", "2"),
             ("MULTI",), ("SET", "m", "2"), ("SELECT", "1"), ("EXEC",), ("DEL", "k"), ("MSET", "k", "1", "l", "1"),
             ("WATCH", "k"), ("MULTI",), ("SELECT", "0"), ("EXEC",), ("APPEND", "k", "0"), ("GET", "k")]
    with RealRedis() as real, Server() as s:
        for port in (real.port, s.resp_port):
            with Resp(port) as r, Resp(port) as other:
                r.send(b"".join(command(*w) for w in words))
                equal([r.answer() for _ in words],
                      ["OK", "OK", "QUEUED", "QUEUED", ["OK", "OK"], 2, "OK", "OK", "QUEUED", "QUEUED", ["OK", "OK"], 0, "OK",
                       "OK", "OK", "QUEUED", ["OK"], 2, b"00"], port)
                found = [other.call(*w) for db in "012" for w in (("SELECT", db), ("MGET", "k", "l", "m"))]
                equal(found[1::2], [[b"00", None, None], [b"1", b"1", None], [b"22", b"2", b"2"]], port)


@test
def each_database_has_its_own_keys_scans_and_counts():
    with Server("--durability", "os") as s, s.resp() as r, s.connect() as w:
        for db in (0, 3, 15):
            equal(r.call("SELECT", db), "OK")
            r.call("MSET", *[part for i in range(20) for part in (f"{db}:{i:02}", "v")])
        names = {db: [f"{db}:{i:02}".encode() for i in range(20)] for db in (0, 3, 15)}
        for db in (15, 3, 0, 7):
            equal(r.call("SELECT", db), "OK")
            cursor, some = r.call("SCAN", "0", "COUNT", 15)
            found = some
            if db == 3:
                equal(r.call("SELECT", 0), "OK")
                equal(r.call("SCAN", cursor), Refused("ERR invalid cursor"))  # of another database
                equal(r.call("SELECT", 3), "OK")
            if cursor != b"0":
                equal(r.call("SCAN", cursor, "COUNT", 15), [b"0", names[db][15:]])
                found = found + names[db][15:]
            equal(found, names.get(db, []), db)
            equal(r.call("KEYS", "*"), names.get(db, []))
            equal(r.call("DBSIZE"), len(names.get(db, [])))
            equal(r.call("QUERN.COUNT", "", ""), len(names.get(db, [])))
            equal([k for k, _ in r.call("QUERN.RANGE", "", "")], names.get(db, []))
            assert r.call("RANDOMKEY") in names.get(db, [None])
        until(lambda: [l.split(":")[0] for l in r.call("INFO", "keyspace").decode().splitlines()[1:]]
              == ["db0", "db3", "db15"], "INFO counts each")
        equal(w.get(b"0:00").status, 200)  # HTTP has database 0
        equal(w.get(b"3:00").status, 404)
        equal([r.call("SELECT", 3), r.call("QUERN.DELRANGE", "3:05", "3:10"), r.call("DBSIZE")], ["OK", "OK", 15])
        equal([r.call("SELECT", 0), r.call("DBSIZE")], ["OK", 20])
        equal([r.call("SELECT", 15), r.call("QUERN.DELRANGE", "", ""), r.call("DBSIZE")], ["OK", "OK", 0])
        equal(r.call("SELECT", 15), "OK")
        line = r.call("CLIENT", "INFO").decode()
        assert " db=15 " in line, line


@test
def a_transaction_goes_over_databases_and_watches_each():
    with Server("--durability", "os") as s, s.resp() as r, s.resp() as other:
        r.send(b"".join(command(*words.split()) for words in (
            "MULTI", "SET k 0", "SELECT 1", "SET k 1", "MOVE k 2", "SELECT 2", "GET k", "DBSIZE", "SELECT x", "INCR k",
            "EXEC", "GET k", "SELECT 0", "GET k")))
        equal([r.answer() for _ in range(10)], ["OK"] + ["QUEUED"] * 9)
        equal(r.answer(), ["OK", "OK", "OK", 1, "OK", b"1", 1,
                           Refused("ERR value is not an integer or out of range"), 2])
        equal([r.answer() for _ in range(3)], [b"2", "OK", b"0"])
        for db, conflict in ((1, True), (2, False)):
            equal([r.call("SELECT", 1), r.call("SET", "w", "1"), r.call("WATCH", "w"), r.call("SELECT", 0)],
                  ["OK", "OK", "OK", "OK"])
            other.call("SELECT", db)
            other.call("SET", "w", "2")
            equal([r.call("MULTI"), r.call("SET", "x", "1"), r.call("EXEC")],
                  ["OK", "QUEUED", None if conflict else ["OK"]])
        equal([r.call("SELECT", 5), r.call("MULTI"), r.call("SELECT", 6), r.call("DISCARD"), r.call("SET", "in5", "1"),
               r.call("SELECT", 5), r.call("GET", "in5")], ["OK", "OK", "QUEUED", "OK", "OK", "OK", b"1"])


@test
def flushing_is_one_step_and_survives_a_crash():
    with Server() as first:
        with first.resp() as r:
            for db in range(16):
                r.send(command("SELECT", db) + b"".join(command("SET", f"k{i}", db) for i in range(50)))
                equal([r.answer() for _ in range(51)], ["OK"] * 51)
            equal([r.call("SELECT", 4), r.call("FLUSHDB", "ASYNC"), r.call("DBSIZE")], ["OK", "OK", 0])
            equal([r.call("SELECT", 5), r.call("DBSIZE")], ["OK", 50])
            equal([r.call("MULTI"), r.call("FLUSHALL"), r.call("SET", "only", "1"), r.call("EXISTS", "k1"),
                   r.call("EXEC")], ["OK", "QUEUED", "QUEUED", "QUEUED", ["OK", "OK", 0]])
        first.kill()
        with Server(data=first.data) as again, again.resp() as r:
            for db in range(16):
                equal([r.call("SELECT", db), r.call("KEYS", "*")], ["OK", [b"only"] if db == 5 else []], db)
            equal([r.call("SELECT", 5), r.call("FLUSHALL"), r.call("DBSIZE")], ["OK", "OK", 0])


@test
def databases_change_places_for_all_connections_and_for_good():
    with Server() as first:
        with first.resp() as r, first.resp() as other, first.connect() as w:
            equal([r.call("SET", "k", "zero"), r.call("SELECT", 7), r.call("SET", "k", "seven", "EX", 1000)],
                  ["OK", "OK", "OK"])
            equal([other.call("GET", "k"), r.call("SWAPDB", 0, 7), r.call("GET", "k"), r.call("TTL", "k")],
                  [b"zero", "OK", b"zero", -1])
            equal([other.call("GET", "k"), w.get(b"k").body], [b"seven", b"seven"])  # HTTP has database 0
            assert 990 < other.call("TTL", "k") <= 1000
            equal([r.call("SWAPDB", 3, 3), r.call("SWAPDB", 0, 16), r.call("SWAPDB", "x", 16), r.call("SWAPDB", 1)],
                  ["OK", Refused("ERR DB index is out of range"), Refused("ERR invalid first DB index"),
                   Refused("ERR wrong number of arguments for 'swapdb' command")])
            # In a transaction, commands behind it find the databases in their places.
            r.send(b"".join(command(*words.split()) for words in (
                "MULTI", "SET before 1", "SWAPDB 7 2", "GET k", "SET behind 1", "SELECT 2", "GET k", "GET before", "EXEC")))
            equal([r.answer() for _ in range(8)], ["OK"] + ["QUEUED"] * 7)
            equal(r.answer(), ["OK", "OK", None, "OK", "OK", b"zero", b"1"])
            equal([r.call("DBSIZE"), r.call("SELECT", 7), r.call("KEYS", "*")], [2, "OK", [b"behind"]])
        first.kill()
        with Server(data=first.data) as again, again.resp() as r:
            equal([r.call("GET", "k"), r.call("SELECT", 2), r.call("GET", "k"), r.call("SELECT", 7), r.call("KEYS", "*")],
                  [b"seven", "OK", b"zero", "OK", [b"behind"]])


@test
def a_watched_key_is_another_where_its_database_has_changed_places():
    with Server("--durability", "os") as s, s.resp() as r, s.resp() as other:
        # One write of both: the revisions do not tell them apart.
        equal([r.call("MULTI"), r.call("SET", "k", "0"), r.call("SELECT", 1), r.call("SET", "k", "1"), r.call("EXEC"),
               r.call("SELECT", 0)], ["OK", "QUEUED", "QUEUED", "QUEUED", ["OK", "OK", "OK"], "OK"])
        for a, b, key, conflict in ((0, 1, "k", True), (1, 0, "k", True), (1, 2, "k", False), (0, 0, "k", False),
                                    (2, 0, "none", False), (0, 2, "k", True)):
            equal([r.call("WATCH", key), other.call("SWAPDB", a, b), r.call("MULTI"), r.call("PING"),
                   r.call("GET", "x"), r.call("EXEC")],
                  ["OK", "OK", "OK", "QUEUED", "QUEUED", None if conflict else ["PONG", None]], (a, b, key))
        equal([r.call("SWAPDB", 0, 1), r.call("WATCH", "k"), r.call("MULTI"), r.call("GET", "x"), r.call("EXEC")],
              ["OK", "OK", "OK", "QUEUED", [None]])  # before it was watched


@test
def databases_survive_a_crash():
    with Server() as first:
        with first.resp() as r:
            for db in range(16):
                equal([r.call("SELECT", db), r.call("SET", "k", db)], ["OK", "OK"])
            equal([r.call("MOVE", "k", 3), r.call("DEL", "k")], [0, 1])
            equal([r.call("SELECT", 3), r.call("MOVE", "k", 15), r.call("EXISTS", "k")], ["OK", 1, 0])
        first.kill()
        with Server(data=first.data) as again, again.resp() as r:
            for db in range(16):
                equal([r.call("SELECT", db), r.call("GET", "k")],
                      ["OK", None if db == 3 else b"3" if db == 15 else str(db).encode()], db)


if __name__ == "__main__":
    main()
