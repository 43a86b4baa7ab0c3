#!/usr/bin/env python3
"""The server on a disk that is slow, sick or full.

Slow and sick: sick_disk.so is preloaded, and its orders come and go as files. Full: a small file
system in memory, which only the server's own mount namespace has; where the system does not let us
mount one, those tests are skipped, and say so."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from quernd import BINARY, Server, SickDisk, Skip, answered, equal, main, request, test, until

QUERN = os.environ["QUERN"]


def stats_of(server):
    with server.connect() as w:
        return json.loads(w.ask("GET", "/stats").body)


# ---------------------------------------------------------------- slow

@test
def a_reply_waits_for_the_sync_that_it_promises_and_for_no_other():
    for level, waits in (("always", True), ("interval:3600000", False), ("os", False)):
        with SickDisk() as disk, Server("--durability", level, env=disk.env) as s:
            with s.connect() as w, s.connect() as asks, s.connect() as reads:
                equal(w.put("a", b"0").status, 200)
                disk.order("hold")
                w.send(request("POST", "/set?key=a", b"1"))
                equal(answered(w, 0.3 if waits else 30), not waits, level)
                if not waits:
                    equal(w.read().status, 200)
                # A request may ask for more; and asking for less changes nothing.
                asks.send(request("POST", f"/set?key=b&sync={0 if waits else 1}", b"1"))
                equal(answered(asks, 0.3), False, level)
                # Nobody else waits for the disk.
                equal(reads.get("b").status, 404)
                disk.revoke("hold")
                equal(asks.read().fields["quern-durability"], "synced")
                if waits:
                    equal(w.read().status, 200)


@test
def many_writers_share_a_sync():
    with SickDisk() as disk, Server(env=disk.env) as s:
        wires = [s.connect() for _ in range(50)]
        before = stats_of(s)["store"]["log_syncs"]
        disk.order("hold")
        for n, w in enumerate(wires):
            w.send(request("POST", f"/set?key=k{n}", b"v"))
        until(lambda: stats_of(s)["server"]["writes_in_flight"] == 50, "50 writes under way")
        disk.revoke("hold")
        for w in wires:
            equal(w.read().status, 200)
            w.socket.close()
        syncs = stats_of(s)["store"]["log_syncs"] - before
        assert 1 <= syncs < 25, syncs


@test
def of_deletes_through_all_doors_that_wait_for_the_disk_together_one_finds_the_key():
    """All of them ask while it is there still."""
    with SickDisk() as disk, Server(env=disk.env) as s, s.connect() as a, s.connect() as b, \
            s.connect() as c, s.resp() as d, s.resp() as e:
        equal(a.put("k", b"v").status, 200)
        disk.order("hold")
        a.send(request("DELETE", "/del?key=k"))
        until(lambda: stats_of(s)["server"]["writes_in_flight"] == 1, "the first")
        b.send(request("DELETE", "/del?key=k")), c.send(request("DELETE", "/v1/kv/k"))
        d.write("DEL", "k"), e.write("GETDEL", "k")
        until(lambda: stats_of(s)["server"]["writes_in_flight"] == 5, "all of them")
        disk.revoke("hold")
        found = [a.read().status == 200, b.read().status == 200, c.read().status == 204,
                 d.answer() == 1, e.answer() == b"v"]
        equal(sum(found), 1, found)
        equal((a.get("k").status, d.call("GET", "k")), (404, None))


@test
def a_sync_is_never_skipped_at_shutdown():
    with SickDisk() as disk, Server("--drain-timeout", "100ms", env=disk.env) as s, s.connect() as w:
        equal(w.put("a", b"1").status, 200)
        disk.order("hold")
        w.send(request("POST", "/set?key=b", b"2"))
        until(lambda: stats_of(s)["server"]["writes_in_flight"] == 1, "a write under way")
        for _ in range(3):
            s.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
        equal(s.process.poll(), None, "it waits for the sync")
        disk.revoke("hold")
        equal(s.process.wait(30), 0)
        assert "1 connections cut" in s.stdout() and "all data is safe on disk" in s.stdout()
        with Server(data=s.data) as again, again.connect() as r:
            equal([r.get("a").body, r.get("b").body], [b"1", b"2"])


@test
def writes_beyond_what_may_be_under_way_hear_503_busy():
    each, wires, more = 1024, [], []
    with SickDisk() as disk, Server(env=disk.env) as s:
        def is_refused():  # or it is under way as well
            more.append(s.connect(60))
            more[-1].send(request("POST", f"/set?key=more-{len(more)}&value=v"))
            return answered(more[-1], 0.3)

        disk.order("hold")
        try:
            for n in range(66):
                wires.append(s.connect(60))
                wires[-1].send(b"".join(request("POST", f"/set?key={n}-{i}&value=v")
                                        for i in range(each)))
            until(lambda: stats_of(s)["server"]["writes_in_flight"] >= 65536, "65536 under way")
            until(is_refused, "a write that is refused")
        finally:
            disk.revoke("hold")
        equal(more[-1].read().status, 503)
        busy, seen = f"more-{len(more)}", {503: 1}
        for n, w in enumerate(wires):
            for i in range(each):
                r = w.read()
                seen[r.status] = seen.get(r.status, 0) + 1
                if r.status == 503:
                    equal((r.fields["retry-after"], r.body),
                          ("1", b"error: the store is busy; try again in a moment\n"))
                    busy = f"{n}-{i}"
            w.socket.close()
        for w in more:
            w.socket.close()
        print(f"# {seen}")
        equal(set(seen), {200, 503})
        with s.connect() as w:
            equal(w.get(busy).status, 404, "a write that was refused is not there")
            equal(w.put(busy, b"v").status, 200)


# ---------------------------------------------------------------- sick

def refused(wire, why):
    """Writes are refused, and reads go on."""
    for r in (wire.put("c", b"3"), wire.delete("a"), wire.ask("GET", "/healthz")):
        equal((r.status, "retry-after" in r.fields), (503, False))
        assert r.body.startswith(b"error: the store takes no writes until it is restarted: "), r
        assert why in r.body and r.body.count(b"\n") == 1, r
    equal(wire.get("a").body, b"1")


@test
def a_failed_sync_is_an_unknown_outcome_and_ends_writing():
    with SickDisk() as disk:
        with Server(env=disk.env) as s, s.connect() as w:
            equal(w.put("a", b"1").status, 200)
            disk.order("eio")
            r = w.put("b", b"2")
            equal(r.status, 500)
            assert r.body.startswith(b"error: the write may or may not survive; read it back after a "
                                     b"restart: "), r
            assert b"log segment" in r.body and b"Input/output error" in r.body, r
            assert "quern-durability" not in r.fields
            disk.revoke("eio")
            refused(w, b"Input/output error")
            r = w.ask("POST", "/set?key=c&value=3", fields=[("Accept", "application/json")])
            equal(json.loads(r.body)["error"]["code"], "read_only")
            stats = json.loads(w.ask("GET", "/stats").body)["store"]
            equal(stats["read_only"], True)
            assert "Input/output error" in stats["failure"]
            r = w.ask("GET", "/shutdown")
            assert b"NOT all data is safe on disk: " in r.body and r.body.endswith(b"bye\n"), r
            assert b"start quernd again" in r.body and b"\nall data is safe" not in r.body, r
            equal(s.process.wait(30), 8)
            s.wait_told("failed: ")
            s.wanted_end = 8
            with Server(data=s.data) as again, again.connect() as r:
                equal(r.get("a").body, b"1")
                assert r.get("b").status in (200, 404)
                equal(r.get("c").status, 404)
                equal(r.put("c", b"3").status, 200)
                equal(r.ask("GET", "/healthz").status, 200)


@test
def a_sync_that_fails_behind_an_interval_is_told_to_all_who_write_later():
    with SickDisk() as disk, Server("--durability", "interval:50", env=disk.env) as s, \
            s.connect() as w:
        equal(w.put("a", b"1").status, 200)
        until(lambda: stats_of(s)["store"]["durable_seq"] == 1, "the interval's sync")
        disk.order("eio")
        equal(w.put("b", b"2").fields["quern-durability"], "buffered")
        until(lambda: w.ask("GET", "/healthz").status == 503, "a red healthz")
        refused(w, b"Input/output error")
        s.wait_told("sync failed: ")
        s.process.send_signal(signal.SIGTERM)
        equal(s.process.wait(30), 8)
        s.wanted_end = 8


# ---------------------------------------------------------------- full

class SmallDisk:
    """A small file system that only a mount namespace of its own knows, and a process that keeps
    that namespace."""

    def __init__(self, size):
        self.size = size
        self.dir = tempfile.mkdtemp(prefix="quern-e2e-")
        self.keeper = None

    def __enter__(self):
        plain = ["unshare", "--mount"]
        mine = plain if os.geteuid() == 0 else [*plain, "--map-root-user"]
        script = 'mount -t tmpfs -o size="$1" tmpfs "$2" && echo mounted && exec sleep 600'
        self.keeper = subprocess.Popen([*mine, "sh", "-c", script, "sh", self.size, self.dir],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if self.keeper.stdout.readline() != b"mounted\n":
            why = self.keeper.stderr.read().decode().strip()
            self.__exit__()
            raise Skip("cannot mount a tmpfs here: " + why)
        return self

    def __exit__(self, *_):
        self.keeper.kill()
        self.keeper.communicate()
        shutil.rmtree(self.dir)

    def command(self, *words):
        """Words that run `words` where the small disk is seen; they become it, by exec."""
        who = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", *who, "--mount", "--target", str(self.keeper.pid), *words]

    def serve(self, *options):
        return Server(*options, data=os.path.join(self.dir, "data"), command=self.command(BINARY))

    def quern(self, *words, stdin=b""):
        done = subprocess.run(self.command(QUERN, "--db", os.path.join(self.dir, "data"), *words),
                              input=stdin, capture_output=True, check=False, timeout=60)
        return done.returncode, done.stdout, done.stderr.decode()

    def seen(self, name):
        """The path of a file on it, for us who are outside."""
        return f"/proc/{self.keeper.pid}/root{self.dir}/{name}"


def fill(path, leave):
    """Take all space of the file system but `leave` bytes."""
    with open(path, "wb") as f:
        with contextlib.suppress(OSError):
            while True:
                f.write(bytes(1 << 16))
                f.flush()
    have = os.path.getsize(path)
    os.truncate(path, max(have - leave, 0))


def fill_with_writes(wire, value):
    """Writes until one is refused; returns the keys that were acknowledged, and the refusal."""
    kept = []
    for i in range(3000):
        r = wire.put(f"k{i}", value)
        if r.status != 200:
            return kept, r
        kept.append(f"k{i}")
    raise AssertionError("the disk does not fill")


@test
def a_full_disk_refuses_writes_and_they_resume_by_themselves():
    value = os.urandom(100000)
    for level in ("always", "interval:20"):
        with SmallDisk("80m") as disk, disk.serve("--durability", level, "--memory", "16M") as s, \
                s.connect() as w:
            fill(disk.seen("wedge"), 24 << 20)
            kept, r = fill_with_writes(w, value)
            equal(r.status, 507, level)
            assert r.body.startswith(b"error: the disk is full, nothing was written; free some space "
                                     b"and try again: "), r
            assert len(kept) > 10, len(kept)
            # Many insist at once; reads and syncs go on meanwhile.
            stop, odd = threading.Event(), []

            def insist(n):
                with s.connect() as mine:
                    while not stop.is_set():
                        r = mine.put(f"more{n}", value, "&sync=1")
                        if r.status not in (200, 507):
                            odd.append(r)

            threads = [threading.Thread(target=insist, args=(n,)) for n in range(3)]
            for t in threads:
                t.start()
            try:
                for key in kept:
                    equal(w.get(key).body, value, key)
                equal(w.ask("GET", "/healthz").status, 200, "nothing is lost, nothing to restart for")
                equal(stats_of(s)["store"]["read_only"], False)
                os.unlink(disk.seen("wedge"))
                until(lambda: not stats_of(s)["store"]["no_space"], "space is seen")
                until(lambda: w.put("again", value).status == 200, "writes resume")
            finally:
                stop.set()
                for t in threads:
                    t.join()
            equal(odd, [], level)
            equal(w.put("last", b"1").status, 200)
            until(lambda: stats_of(s)["store"]["durable_seq"] == stats_of(s)["store"]["visible_seq"],
                  "syncs go on")
            for key in [*kept, "again"]:
                equal(w.get(key).body, value, key)
            equal(w.delete(kept[0]).status, 200)
            assert w.ask("GET", "/shutdown").body.endswith(b"all data is safe on disk\nbye\n")
            equal(s.process.wait(30), 0)


@test
def a_server_that_ends_on_a_full_disk_has_all_that_it_acknowledged_in_the_log():
    value = os.urandom(100000)
    for level in ("always", "os"):
        with SmallDisk("40m") as disk:
            with disk.serve("--durability", level, "--memory", "16M") as s, s.connect() as w:
                fill(disk.seen("wedge"), 16 << 20)
                kept, refusal = fill_with_writes(w, value)
                equal(refusal.status, 507)
                said = w.ask("GET", "/shutdown").body
                assert b"MemDB not flushed: " in said, said
                assert said.endswith(b"all data is safe on disk\nbye\n"), said
                assert b"NOT" not in said, said
                equal(s.process.wait(30), 0)
            # Whether it can be opened at all is for the ballast to decide; if not, it says why.
            with disk.serve("--memory", "16M") as s:
                if s.port == 0:
                    equal(s.process.wait(30), 6)
                    assert "free some space on that disk and start again" in s.stderr(), s.stderr()
                    s.wanted_end = 6
            os.unlink(disk.seen("wedge"))
            with disk.serve("--memory", "16M") as s, s.connect() as w:
                for key in kept:
                    equal(w.get(key).body, value, key)
                equal(w.put("more", value).status, 200)


@test
def the_command_on_a_full_disk_says_so_and_keeps_what_it_had():
    with SmallDisk("40m") as disk:
        equal(disk.quern("set", "a", "1"), (0, b"", ""))
        fill(disk.seen("wedge"), 2 << 20)
        line = json.dumps({"key": "k%d", "value": "v" * 100000}) + "\n"
        code, _, err = disk.quern("load", "--no-end",
                                  stdin="".join(line % i for i in range(300)).encode())
        equal(code, 4)
        assert "No space left" in err or "disk is full" in err, err
        print("# " + err.strip().replace("\n", "\n# "))
        os.unlink(disk.seen("wedge"))
        equal(disk.quern("get", "a"), (0, b"1", ""))
        equal(disk.quern("verify")[0], 0)


if __name__ == "__main__":
    main()
