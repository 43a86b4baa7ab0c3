#!/usr/bin/env python3
"""Real data through HTTP, killed in the middle, and every acknowledged byte found again.

Loads the whole Debian package index (`apt-cache dumpavail`: package name as key, its stanza as
value; a later stanza of one name wins) and /usr/share/dict/words through several pipelined
keep-alive connections. Then, each round: a second load with changed values is cut by kill -9 at a
random moment; the server is started again, with no manual step; every key is read back. A key must
hold the last value that was acknowledged for it, or one that was sent after that and not answered.

    real_input.py [--rounds N] [--durability LEVEL] [--connections N] [--part N] [--seed N] QUERND"""

import argparse
import os
import random
import subprocess
import sys
import threading
import time

from quernd import Server, Wire, quote, request

WORDS = "/usr/share/dict/words"
STATUS = "/var/lib/dpkg/status"
IN_FLIGHT = 32


def note(text):
    print("# " + text, flush=True)


def package_index():
    """Package name -> stanza."""
    try:
        text = subprocess.run(["apt-cache", "dumpavail"], stdout=subprocess.PIPE, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        text = b""
    if not text.strip():
        note(f"apt-cache dumpavail is empty (no package lists); using {STATUS} instead")
        with open(STATUS, "rb") as f:
            text = f.read()
    stanzas = {}
    for stanza in text.split(b"\n\n"):
        if stanza.startswith(b"Package: "):
            name = stanza[len(b"Package: "):].split(b"\n", 1)[0]
            stanzas[b"package/" + name] = stanza
    return stanzas


def dictionary():
    if not os.path.exists(WORDS):
        note(f"{WORDS} is missing (package wamerican); going on without it")
        return {}
    with open(WORDS, "rb") as f:
        return {b"word/" + w: b"word number %d: " % i + w for i, w in enumerate(f.read().split())}


class Ledger:
    """What each key may hold: the last acknowledged value and all sent since. One thread's own."""

    def __init__(self):
        self.may = {}

    def sent(self, key, value):
        self.may.setdefault(key, [None]).append(value)

    def acknowledged(self, key, value):
        values = self.may[key]
        self.may[key] = values[values.index(value, 1 if values[0] is None else 0):]


def put_all(port, items, ledger, stop, done):
    """SETs, IN_FLIGHT at a time, until all are acknowledged or the connection breaks."""
    try:
        with Wire(port, 60) as w:
            for at in range(0, len(items), IN_FLIGHT):
                if stop.is_set():
                    return
                part = items[at:at + IN_FLIGHT]
                for key, value in part:
                    ledger.sent(key, value)
                w.send(b"".join(request("POST", "/set?key=" + quote(k), v) for k, v in part))
                for key, value in part:
                    reply = w.read()
                    if reply is None:
                        return
                    if reply.status != 200:
                        raise AssertionError(f"set {key!r}: {reply}")
                    ledger.acknowledged(key, value)
                    done[0] += 1
    except (OSError, EOFError):
        pass  # killed; the caller knows whether that was meant


def load(server, shares, ledgers, kill_after=None):
    """All connections at once; returns acknowledged writes and seconds."""
    stop = threading.Event()
    dones = [[0] for _ in shares]
    threads = [threading.Thread(target=put_all, args=(server.port, share, ledger, stop, done))
               for share, ledger, done in zip(shares, ledgers, dones)]
    began = time.monotonic()
    for t in threads:
        t.start()
    if kill_after is not None:
        total = sum(len(share) for share in shares)
        while (sum(d[0] for d in dones) < kill_after * total and
               any(t.is_alive() for t in threads)):
            time.sleep(0.002)
        server.kill()
        stop.set()
    for t in threads:
        t.join()
    return sum(d[0] for d in dones), time.monotonic() - began


def compare(server, ledgers):
    """Read every key back; returns how many were compared, and complaints."""
    checked, wrong = [0], []

    def one(ledger):
        keys = list(ledger.may)
        with Wire(server.port, 60) as w:
            for at in range(0, len(keys), IN_FLIGHT):
                part = keys[at:at + IN_FLIGHT]
                w.send(b"".join(request("GET", "/get?key=" + quote(k)) for k in part))
                for key in part:
                    reply = w.read()
                    if reply is None:
                        wrong.append(f"{key!r}: the connection ended")
                        return
                    got = reply.body if reply.status == 200 else None
                    if reply.status not in (200, 404) or got not in ledger.may[key]:
                        wrong.append(f"{key!r}: {reply}, expected one of {len(ledger.may[key])}")
                    ledger.may[key] = [got]  # what is read once stays
                    checked[0] += 1

    threads = [threading.Thread(target=one, args=(ledger,)) for ledger in ledgers]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if checked[0] != sum(len(ledger.may) for ledger in ledgers):
        wrong.append("a reader ended before its time")
    return checked[0], wrong


def run(options):
    seed = options.seed if options.seed is not None else random.SystemRandom().getrandbits(32)
    rng = random.Random(seed)
    note(f"seed {seed}, durability {options.durability}, {options.rounds} rounds")
    data = {**package_index(), **dictionary()}
    items = list(data.items())[seed % options.part::options.part]
    note(f"{len(items)} keys, {sum(len(k) + len(v) for k, v in items)} bytes")
    n = options.connections
    ledgers = [Ledger() for _ in range(n)]
    level = ["--durability", options.durability, "--memory", options.memory]
    failures = 0
    with Server(*level, binary=options.quernd) as first:
        done, seconds = load(first, [items[i::n] for i in range(n)], ledgers)
        if done != len(items):
            raise AssertionError(f"only {done} of {len(items)} were acknowledged")
        note(f"loaded {done} in {seconds:.1f} s ({done / seconds:.0f}/s)")
        checked, wrong = compare(first, ledgers)
        failures += len(wrong)
        note(f"read back {checked}, {len(wrong)} wrong")
        if first.stop() != 0:
            raise AssertionError("the first server did not end cleanly: " + first.stderr())
        for number in range(1, options.rounds + 1):
            cut = rng.uniform(0.05, 0.9)
            order = [items[i::n] for i in range(n)]
            for share in order:
                rng.shuffle(share)
            changed = [[(k, b"round %d: " % number + v) for k, v in share] for share in order]
            with Server(*level, data=first.data, binary=options.quernd) as s:
                done, seconds = load(s, changed, ledgers, kill_after=cut)
            began = time.monotonic()
            with Server(*level, data=first.data, binary=options.quernd, wait=120) as s:
                ready = time.monotonic() - began
                checked, wrong = compare(s, ledgers)
                failures += len(wrong)
                note(f"round {number}: killed after {done} in {seconds:.1f} s; up again in "
                     f"{ready:.2f} s; {checked} keys compared, {len(wrong)} wrong")
                for line in wrong[:10]:
                    note("  " + line)
                if number % 2:  # every other restart follows a kill -9 at rest as well
                    s.kill()
                elif s.stop() != 0:
                    raise AssertionError("a clean stop failed: " + s.stderr())
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--durability", default="always")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--memory", default="64M")
    parser.add_argument("--part", type=int, default=1, help="one key in so many")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--tap", action="store_true", help="one round at each level, as TAP")
    parser.add_argument("quernd")
    options = parser.parse_args()
    if not options.tap:
        failures = run(options)
        print("FAILED" if failures else "all acknowledged values are there")
        sys.exit(1 if failures else 0)
    levels = ("always", "interval:50", "os")
    print(f"1..{len(levels)}", flush=True)
    bad = 0
    for number, options.durability in enumerate(levels, 1):
        failures = run(options)
        bad += failures != 0
        print(f"{'not ok' if failures else 'ok'} {number} - real input survives kill -9 with "
              f"--durability {options.durability}", flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
