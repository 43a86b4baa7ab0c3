#!/usr/bin/env python3
"""test_cli.py - the command `quern` as its user meets it: what it prints, how it exits, what it keeps.

    test_cli.py QUERN [QUERND] [PART]...

Speaks TAP; PARTs pick the tests whose names contain them. Needs Python's standard library only.
"""

import base64
import fcntl
import json
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import termios
import time
import traceback
import urllib.error
import urllib.request

QUERN = os.path.abspath(sys.argv[1])
QUERND = None
PARTS = sys.argv[2:]
if PARTS and os.path.isfile(PARTS[0]):
    QUERND = os.path.abspath(PARTS.pop(0))

TESTS = []


def test(function):
    TESTS.append(function)
    return function


def needs_server(function):
    function.needs_server = True
    return test(function)


class Store:
    """A directory for one test, and the command run on it."""

    def __init__(self, base):
        self.base = base
        self.path = os.path.join(base, "db")
        self.place = ["--db", self.path]

    def run(self, *words, stdin=b"", place=None, env=None):
        """(exit code, standard output, standard error)"""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("QUERN_")}
        environment.update(env or {})
        place = self.place if place is None else place
        done = subprocess.run([QUERN, *place, *words], input=stdin, capture_output=True,
                              env=environment, cwd=self.base, timeout=120, check=False)
        return done.returncode, done.stdout, done.stderr.decode()

    def good(self, *words, stdin=b"", place=None):
        code, out, err = self.run(*words, stdin=stdin, place=place)
        assert code == 0, f"quern {words}: exit {code}: {err}"
        return out

    def fill(self, entries):
        """Load a dict of bytes."""
        lines = "".join(line_of(k, v) for k, v in entries.items())
        self.good("load", "--no-end", stdin=lines.encode())

    def file(self, name, data):
        path = os.path.join(self.base, name)
        with open(path, "wb") as out:
            out.write(data)
        return path


def line_of(key, value):
    member = {}
    for name, data in (("key", key), ("value", value)):
        try:
            member[name] = data.decode()
        except UnicodeDecodeError:
            member[name + "_b64"] = base64.b64encode(data).decode()
    return json.dumps(member) + "\n"


def entry_of(line):
    member = json.loads(line)
    key, value = (member[n].encode() if n in member else base64.b64decode(member[n + "_b64"])
                  for n in ("key", "value"))
    return key, value


def wait_until_read(process):
    """Write an entry into the pipe of a `load` and wait until it was taken: then the store is open."""
    process.stdin.write(line_of(b"~", b"").encode())
    process.stdin.flush()
    deadline = time.monotonic() + 60
    left = b"...."
    while any(left):
        assert process.poll() is None, "load ended by itself"
        assert time.monotonic() < deadline, "load does not read"
        time.sleep(0.01)
        left = fcntl.ioctl(process.stdin, termios.FIONREAD, bytes(4))


def equal(got, want):
    assert got == want, f"got {got!r:.300}, want {want!r:.300}"


def contains(text, part):
    assert part in text, f"{part!r} is not in {text!r:.500}"


# ---------------------------------------------------------------- one entry

@test
def a_value_set_is_got_byte_for_byte(store):
    every = bytes(range(256)) * 300
    store.good("set", "plain", "value1")
    store.good("set", "stdin", "-", stdin=every)
    store.good("set", "file", "@" + store.file("f", every))
    store.good("set", "empty", "")
    equal(store.good("get", "plain"), b"value1")
    equal(store.good("get", "stdin"), every)
    equal(store.good("get", "file"), every)
    equal(store.good("get", "empty"), b"")


@test
def a_missing_key_is_exit_code_1(store):
    store.good("set", "a", "1")
    code, out, err = store.run("get", "b")
    equal((code, out), (1, b""))
    contains(err, "not found")
    equal(store.run("del", "b")[0], 1)
    code, out, _ = store.run("get", "b", "--json")
    equal((code, json.loads(out)), (1, {"found": False}))


@test
def a_deleted_key_is_gone(store):
    store.good("set", "a", "1")
    store.good("del", "a")
    equal(store.run("get", "a")[0], 1)
    equal(store.good("count"), b"0\n")


@test
def a_range_is_removed_in_one_step_and_all_only_in_so_many_words(store):
    for key in ("a", "s/1", "s/2", "t", "u", "z"):
        store.good("set", key, "1")
    store.good("del", "--prefix", "s/")
    equal(store.good("scan", "--keys-only"), b"a\nt\nu\nz\n")
    equal(json.loads(store.good("del", "--start", "t", "--end", "z", "--json"))["ok"], True)
    equal(store.good("scan", "--keys-only"), b"a\nz\n")
    store.good("del", "--hex", "--start", "7a")
    equal(store.good("scan", "--keys-only"), b"a\n")
    store.good("del", "--prefix", "nothing")
    for words in (["del"], ["del", "--prefix", ""], ["del", "--start", "", "--end", ""], ["del", "a", "--all"]):
        code, _, err = store.run(*words)
        equal(code, 2)
        contains(err, "--all")
    equal(store.good("count"), b"1\n")
    store.good("del", "--all")
    equal(store.good("count"), b"0\n")


@test
def hex_keys_reach_any_byte(store):
    store.good("set", "--hex", "00ff0a", "x")
    equal(store.good("get", "--hex", "00FF0A"), b"x")
    equal(json.loads(store.good("get", "--hex", "00ff0a", "--json")),
          {"key_b64": "AP8K", "value": "x"})
    equal(store.good("scan"), b"\\x00\\xFF\\x0A\tx\n")
    equal(store.good("scan", "-0"), b"\x00\xff\x0a\0x\0")


# ---------------------------------------------------------------- many entries

FRUIT = {b"apple": b"1", b"apricot": b"2", b"banana": b"3", b"cherry": b"4"}


@test
def scan_goes_in_key_order_within_its_bounds(store):
    store.fill(FRUIT)

    def keys(*options):
        return store.good("scan", "--keys-only", *options).decode().split()

    equal(keys(), ["apple", "apricot", "banana", "cherry"])
    equal(keys("--reverse"), ["cherry", "banana", "apricot", "apple"])
    equal(keys("--prefix", "ap"), ["apple", "apricot"])
    equal(keys("--prefix", "ap", "--reverse", "--limit", "1"), ["apricot"])
    equal(keys("--start", "apricot", "--end", "cherry"), ["apricot", "banana"])
    equal(keys("--limit", "0"), [])
    equal(keys("--start", "z", "--end", "a"), [])
    equal(keys("--prefix", "a", "--start", "b"), [])
    equal(store.good("scan", "--limit", "2"), b"apple\t1\napricot\t2\n")
    equal([entry_of(line) for line in store.good("scan", "--json").splitlines()],
          list(FRUIT.items()))


@test
def count_agrees_with_scan(store):
    store.fill(FRUIT)
    equal(store.good("count"), b"4\n")
    equal(store.good("count", "--prefix", "ap"), b"2\n")
    equal(store.good("count", "--start", "b", "--json"), b'{"count":2}\n')
    equal(store.good("count", "--prefix", "a", "--end", "apr"), b"1\n")
    equal(store.good("count", "--start", "z", "--end", "a"), b"0\n")


@test
def scan_stops_quietly_when_its_reader_goes_away(store):
    store.fill({b"%07d" % i: b"x" * 100 for i in range(20000)})
    done = subprocess.run(f"'{QUERN}' --db '{store.path}' scan 2>err | head -n 1",
                          shell=True, cwd=store.base, capture_output=True, timeout=60, check=True)
    equal(done.stdout, b"0000000\t" + b"x" * 100 + b"\n")
    equal(open(os.path.join(store.base, "err")).read(), "")
    equal(store.good("count"), b"20000\n")


# ---------------------------------------------------------------- dump and load

def random_entries(count, seed):
    dice = random.Random(seed)
    return {dice.randbytes(dice.randint(1, 40)): dice.randbytes(dice.randint(0, 300))
            for _ in range(count)}


@test
def a_dump_loads_into_an_equal_store(store):
    entries = random_entries(5000, 7) | {"schlüssel".encode(): "wört\0\n".encode()}
    store.fill(entries)
    dump = store.good("dump")
    lines = dump.decode().splitlines()
    equal([entry_of(line) for line in lines[:-1]], sorted(entries.items()))
    equal(json.loads(lines[-1])["count"], len(entries))
    other = ["--db", os.path.join(store.base, "other")]
    store.good("load", stdin=dump, place=other)
    equal(store.good("dump", place=other), dump)
    store.good("dump", os.path.join(store.base, "file"))
    equal(open(os.path.join(store.base, "file"), "rb").read(), dump)
    equal(os.path.exists(os.path.join(store.base, "file.tmp")), False)
    third = ["--db", os.path.join(store.base, "third")]
    equal(store.good("load", os.path.join(store.base, "file"), "--json", place=third),
          b'{"loaded":%d}\n' % len(entries))
    equal(store.good("dump", place=third), dump)


@test
def a_dump_carries_expiries(store):
    lines = [b'{"key":"a","value":"1"}', b'{"key":"b","value":"2","expires_ms":9999999999999}']
    late = b'{"key":"c","value":"3","expires_ms":1}'
    store.good("load", "--no-end", stdin=b"\n".join(lines + [late]) + b"\n")
    dump = store.good("dump")
    equal(dump.splitlines()[:-1], lines)
    other = ["--db", os.path.join(store.base, "other")]
    store.good("load", stdin=dump, place=other)
    equal(store.good("dump", place=other), dump)


def expires_in(store, *place):
    """For how many ms the one key lives, or None: for ever."""
    entry = json.loads(store.good("dump", place=place or None).splitlines()[0])
    return entry["expires_ms"] - time.time() * 1000 if "expires_ms" in entry else None


def lives_as_long_as_was_said(store, *place):
    hour = 3600 * 1000
    store.good("set", "k", "v", "--ttl", "2h", place=place or None)
    assert hour < expires_in(store, *place) <= 2 * hour, expires_in(store, *place)
    store.good("set", "k", "", "--ttl=1d", place=place or None)
    assert 23 * hour < expires_in(store, *place) <= 24 * hour, expires_in(store, *place)
    store.good("set", "k", "v", place=place or None)
    equal(expires_in(store, *place), None)
    store.good("set", "k", "v", "--ttl", "1ms", place=place or None)
    deadline = time.monotonic() + 120
    while store.run("get", "k", place=place or None)[0] != 1:
        assert time.monotonic() < deadline, "it lives on"


@test
def a_value_set_with_a_ttl_lives_as_long_as_was_said(store):
    lives_as_long_as_was_said(store)


@test
def a_dump_carries_databases_and_load_restores_them(store):
    store.good("set", "k", "zero")
    store.good("set", "k", "three", "--database", "3")
    store.good("set", "x", "fifteen", "--database=15")
    equal(store.good("get", "k"), b"zero")
    equal(store.good("get", "k", "--database", "3"), b"three")
    equal(store.good("scan", "--database", "15"), b"x\tfifteen\n")
    equal(store.good("count", "--database", "4"), b"0\n")
    dump = store.good("dump")
    equal(dump.splitlines()[:-1], [b'{"key":"k","value":"zero"}',
                                   b'{"key":"k","value":"three","database":3}',
                                   b'{"key":"x","value":"fifteen","database":15}'])
    equal(store.good("scan", "--json", "--database", "3"), dump.splitlines(keepends=True)[1])
    equal(store.good("dump", "--database", "3").splitlines()[:-1], dump.splitlines()[1:2])
    other = ["--db", os.path.join(store.base, "other")]
    store.good("load", stdin=dump, place=other)
    equal(store.good("dump", place=other), dump)
    third = ["--db", os.path.join(store.base, "third")]
    store.good("load", "--database", "5", stdin=store.good("dump", "--database", "15"), place=third)
    equal(store.good("get", "x", "--database", "5", place=third), b"fifteen")
    store.good("del", "k", "--database", "3")
    equal(store.good("count"), b"1\n")
    for words in (["get", "k", "--database", "16"], ["stats", "--database", "1"]):
        equal(store.run(*words)[0], 2)


@test
def a_damaged_dump_is_refused_and_says_what_was_loaded(store):
    store.fill({b"%04d" % i: b"v" for i in range(2500)})
    dump = store.good("dump")
    lines = dump.splitlines(keepends=True)
    damaged = {
        "no end line": b"".join(lines[:-1]),
        "cut in a line": dump[:len(dump) // 2],
        "a line is missing": b"".join(lines[:7] + lines[8:]),
        "a value changed": dump.replace(b'"0042","value":"v"', b'"0042","value":"w"'),
        "something after the end": dump + b"{}\n",
        "no JSON": lines[0] + b"zebra\n" + b"".join(lines[1:]),
        "empty": b"",
    }
    for number, (name, data) in enumerate(damaged.items()):
        place = ["--db", os.path.join(store.base, f"d{number}")]
        code, _, err = store.run("load", stdin=data, place=place)
        assert code == 6, f"{name}: exit {code}: {err}"
        contains(err, "entries were loaded")
        loaded = int(err.split(" entries were loaded")[0].split()[-1])
        equal(store.good("count", place=place), b"%d\n" % loaded)
    equal(store.run("load", "/nonexistent/file")[0], 2)


@test
def a_dump_of_a_range_is_whole_by_itself(store):
    store.fill(FRUIT)
    dump = store.good("dump", "--prefix", "ap")
    equal(json.loads(dump.splitlines()[-1])["count"], 2)
    store.good("load", stdin=dump, place=["--db", os.path.join(store.base, "o")])


# ---------------------------------------------------------------- care

@test
def verify_finds_every_table_sound_and_a_flipped_bit_not(store):
    entries = random_entries(3000, 3)
    store.fill(entries)
    store.good("compact")
    contains(store.good("verify").decode(), "sound")
    report = json.loads(store.good("verify", "--json"))
    equal((report["ok"], report["entries"], report["damages"]), (True, len(entries), []))
    tables = [os.path.join(d, f) for d, _, files in os.walk(store.path) for f in files
              if f.endswith(".sst")]
    assert tables, "there are no tables"
    flip(tables[0], os.path.getsize(tables[0]) // 3)
    code, out, err = store.run("verify")
    equal(code, 6)
    contains(out.decode() + err, os.path.basename(tables[0]))


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def files_of(store):
    files = {}
    for name in sorted(set(os.listdir(store.path)) - {"LOCK"}):
        with open(os.path.join(store.path, name), "rb") as file:
            files[name] = file.read()
    return files


@test
def verify_tells_all_that_is_wrong_with_a_store_that_does_not_open(store):
    store.fill(random_entries(3000, 3))
    store.good("compact")
    table = [f for f in os.listdir(store.path) if f.endswith(".sst")][0]
    flip(os.path.join(store.path, table), 1000)
    flip(os.path.join(store.path, "CURRENT"), 3)
    before = files_of(store)
    equal(store.run("count")[0], 6)
    code, out, _ = store.run("verify", "--json")
    report = json.loads(out)
    equal((code, report["ok"], report["damage_count"]), (6, False, 2))
    equal([d["file"] for d in report["damages"]], ["CURRENT", table])
    assert report["damages"][1]["last_key"], report
    assert files_of(store) == before, "verify changed the store"


@test
def repair_copies_what_is_sound_and_tells_the_rest(store):
    entries = random_entries(3000, 3)
    store.fill(entries)
    store.good("compact")
    new = os.path.join(store.base, "new")
    at_new = ["--db", new]
    os.remove(os.path.join(store.path, "CURRENT"))
    before = files_of(store)
    code, out, err = store.run("repair", store.path, new)
    equal(code, 0)
    contains(out.decode(), "whole: 3000 entries" if len(entries) == 3000 else "whole")
    equal(dict(map(entry_of, store.good("dump", place=at_new).splitlines()[:-1])), entries)

    table = [f for f in os.listdir(store.path) if f.endswith(".sst")][0]
    flip(os.path.join(store.path, table), 5000)
    before[table] = files_of(store)[table]
    code, out, err = store.run("repair", store.path, new)
    equal(code, 3)
    contains(err, "not empty")
    shutil.rmtree(new)
    code, out, err = store.run("repair", store.path, new, "--json")
    report = json.loads(out)
    equal((code, report["losses"], report["damage_count"]), (6, 1, 2))
    lost = report["damages"][1]
    equal((lost["file"], lost["lost"]), (table, True))
    left = dict(map(entry_of, store.good("dump", place=at_new).splitlines()[:-1]))
    assert len(entries) - 200 < len(left) < len(entries), len(left)
    assert all(entries[key] == value for key, value in left.items()), "wrong values"
    equal(report["entries"], len(left))
    contains(store.good("verify", place=at_new).decode(), "sound")
    assert files_of(store) == before, "repair changed the store"


@test
def repair_of_what_is_no_store_makes_none(store):
    os.mkdir(store.path)
    code, _, err = store.run("repair", store.path, os.path.join(store.base, "new"))
    equal(code, 3)
    contains(err, "no store")
    assert not os.path.exists(os.path.join(store.base, "new"))


@test
def compact_merges_a_database_alone(store):
    for database in ("2", "5", "5"):  # each a table of its own
        store.good("set", "k", "v", "--database", database)
    entries = lambda: json.loads(store.good("stats", "--json"))["table_entries"]
    for words in (["--database", "2"], ["--database", "5", "--prefix", "x"]):
        store.good("compact", *words)
        equal(entries(), 3)
    store.good("compact", "--database", "5")
    equal(entries(), 2)


@test
def compact_gives_space_back(store):
    store.fill({b"%06d" % i: os.urandom(200) for i in range(5000)})
    store.good("compact")
    store.fill({b"%06d" % i: b"" for i in range(5000)})
    sizes = json.loads(store.good("compact", "--json"))
    assert sizes["table_bytes_after"] < sizes["table_bytes_before"] / 3, sizes
    equal(store.good("count"), b"5000\n")


@test
def a_checkpoint_is_a_store_of_its_own(store):
    store.fill(FRUIT)
    copy = os.path.join(store.base, "copy")
    store.good("checkpoint", copy)
    store.good("set", "later", "x")
    equal(store.good("count", place=["--db", copy]), b"4\n")
    equal(store.run("checkpoint", copy)[0], 4)


@test
def stats_come_as_lines_and_as_json(store):
    store.fill(FRUIT)
    stats = json.loads(store.good("stats", "--json"))
    assert stats["disk_bytes"] > 0, stats
    contains(store.good("stats").decode(), "disk_bytes ")


# ---------------------------------------------------------------- when things go wrong

@test
def a_wrong_command_line_is_exit_code_2_and_a_hint(store):
    for words, hint in ((["gte", "a"], "get"), (["get"], "KEY"), (["scan", "--limt", "3"], "--limit"),
                        (["frob"], "--help"), ([], "--help"), (["get", ""], "1 to"),
                        (["scan", "a"], "no words"), (["set", "a"], "KEY VALUE"),
                        (["scan", "--limit", "-1"], "number"), (["get", "--hex", "0g"], "hex"),
                        (["get", "a", "--sync"], "no option --sync"), (["get", "a", "--db", "x"], "twice"),
                        (["set", "a", "@nofile"], "nofile: No such file"),
                        (["load", "nofile"], "nofile: No such file"), (["scan", "--json", "-0"], "exclude")):
        code, out, err = store.run(*words)
        equal((code, out), (2, b""))
        contains(err, hint)
    for url, hint in (("", "such as http://"), ("ftp://x", "Unsupported")):
        code, _, err = store.run("get", "a", place=["--url", url])
        equal(code, 2)
        contains(err, hint)


@test
def a_place_that_is_no_store_says_what_is_wrong_there(store):
    file = store.file("file", b"x")
    empty = os.path.join(store.base, "empty")
    os.mkdir(empty)
    missing = os.path.join(store.base, "no", "where")
    for place, words, hints in (
            (file, ["get", "a"], (file, "Not a directory")), (file, ["set", "a", "1"], ("Not a directory",)),
            (empty, ["get", "a"], (empty, "no store in this directory", "--db DIR")),
            (missing, ["set", "a", "1"], (missing, "No such file", "not the directory above it"))):
        code, _, err = store.run(*words, place=["--db", place])
        equal(code, 3)
        for hint in hints:
            contains(err, hint)


# Root may read and write everywhere; without these capabilities it is held to the permission bits.
HELD_TO_BITS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


@test
def a_directory_that_may_only_be_read_is_read_and_its_refusal_of_writes_told(store):
    store.fill(FRUIT)
    os.chmod(store.base, 0o755)
    for name in os.listdir(store.path):
        os.chmod(os.path.join(store.path, name), 0o644)
    os.chmod(store.path, 0o555)

    def run(*words):
        done = subprocess.run([*HELD_TO_BITS, QUERN, *store.place, *words], capture_output=True,
                              cwd="/", timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr.decode()

    equal(run("get", "apple"), (0, b"1", ""))
    equal(run("count"), (0, b"4\n", ""))
    for words in (["set", "a", "1"], ["del", "apple"], ["compact"], ["load", "--no-end"]):
        code, _, err = run(*words)
        equal(code, 3)
        contains(err, "Permission denied")
        contains(err, store.path)
    os.chmod(store.path, 0)
    code, _, err = run("get", "apple")
    equal(code, 3)
    contains(err, "Permission denied")
    os.chmod(store.path, 0o700)


@test
def output_that_cannot_be_written_is_told_and_exit_code_4(store):
    store.fill(FRUIT)
    for words in (["get", "apple"], ["scan"], ["scan", "--json"], ["dump"], ["count"], ["stats"],
                  ["--help"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([QUERN, *store.place, *words], stdout=full, check=False,
                                  stderr=subprocess.PIPE, timeout=60)
        equal(done.returncode, 4)
        contains(done.stderr.decode(), "No space left on device")


@test
def a_dump_never_replaces_what_is_no_file(store):
    store.fill(FRUIT)
    pipe = os.path.join(store.base, "pipe")
    os.mkfifo(pipe)
    reader = subprocess.Popen(["timeout", "30", "cat", pipe], stdout=subprocess.PIPE)
    store.good("dump", pipe)
    equal(reader.communicate()[0], store.good("dump"))
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)
    equal([n for n in os.listdir(store.base) if n.endswith(".tmp")], [])
    code, _, err = store.run("dump", store.base)
    equal(code, 4)
    contains(err, "Is a directory")


@test
def help_speaks_of_every_verb(store):
    overview = store.good("--help").decode()
    for verb in "get set del scan count stats verify repair compact checkpoint dump load".split():
        contains(overview, f"    {verb}")
        contains(store.good(verb, "--help").decode(), f"quern {verb}")
    contains(overview, "Exit codes")
    contains(store.good("--version").decode(), "quern ")


@test
def reading_makes_no_store(store):
    for words in (["get", "a"], ["count"], ["dump"], ["del", "a"], ["verify"]):
        code, _, err = store.run(*words)
        equal(code, 3)
        contains(err, "--url")
        assert not os.path.exists(store.path), f"{words} made {store.path}"


@test
def the_place_comes_from_the_environment_too(store):
    store.good("set", "a", "1")
    equal(store.run("get", "a", place=[], env={"QUERN_DB": store.path})[1], b"1")
    code, _, err = store.run("get", "a", place=[], env={"QUERN_URL": "http://127.0.0.1:1"})
    equal(code, 3)
    contains(err, "127.0.0.1:1")
    contains(err, "is a quernd running")
    equal(store.run("get", "a", "--url", "http://127.0.0.1:1")[0], 2)


@test
def a_locked_store_says_so(store):
    store.good("set", "a", "1")
    holder = subprocess.Popen([QUERN, *store.place, "load", "--no-end"], stdin=subprocess.PIPE)
    try:
        wait_until_read(holder)
        code, _, err = store.run("get", "a")
        equal(code, 3)
        contains(err, "open in another process")
        contains(err, "--url")
        code, _, err = store.run("checkpoint", "copy")
        equal(code, 3)
        contains(err, "checkpoint needs it for itself: stop that one first")
    finally:
        holder.stdin.close()
        equal(holder.wait(30), 0)
    equal(store.good("get", "a"), b"1")


@test
def read_only_reads_without_a_lock_and_writes_nothing(store):
    store.fill(FRUIT)
    store.good("compact")

    def state():
        return {os.path.join(d, f): os.stat(os.path.join(d, f)).st_mtime_ns
                for d, _, files in os.walk(store.path) for f in files}

    before = state()
    equal(store.good("get", "apple", "--read-only"), b"1")
    equal(store.good("count", "--read-only"), b"4\n")
    equal(state(), before)
    equal(store.run("set", "--read-only", "a", "1")[0], 2)


@test
def an_interrupted_load_keeps_what_was_loaded(store):
    load = subprocess.Popen([QUERN, *store.place, "load", "--no-end"], stdin=subprocess.PIPE,
                            stderr=subprocess.PIPE)
    load.stdin.write("".join(line_of(b"%05d" % i, b"v") for i in range(4500)).encode())
    wait_until_read(load)
    load.send_signal(signal.SIGINT)
    equal(load.wait(30), 130)
    err = load.stderr.read().decode()
    load.stdin.close()
    contains(err, "entries were loaded")
    loaded = int(err.split(" entries were loaded")[0].split()[-1])
    equal(store.good("count"), b"%d\n" % loaded)


# ---------------------------------------------------------------- over HTTP

class Server:
    """A quernd of the test's own on a free port."""

    def __init__(self, store):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = open(os.path.join(store.base, "quernd.log"), "wb")
        self.process = subprocess.Popen([QUERND, "--data", store.path, "--port", str(port),
                                         "--resp-listen", "off"],
                                        stdout=self.log, stderr=self.log, cwd=store.base)
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(self.url + "/healthz", timeout=5).read()
                return
            except (urllib.error.URLError, ConnectionError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60)
        self.log.close()


@needs_server
def the_same_verbs_work_over_http(store):
    every = bytes(range(256)) * 50
    with Server(store) as server:
        url = ["--url", server.url]
        store.good("set", "a/b c+d", "-", stdin=every, place=url)
        equal(store.good("get", "a/b c+d", place=url), every)
        store.good("set", "empty", "", place=url)
        equal(store.good("get", "empty", place=url), b"")
        store.good("set", "--hex", "00ff", "x", place=url)
        equal(store.good("get", "--hex", "00ff", place=url), b"x")
        answer = json.loads(store.good("set", "s", "1", "--sync", "--json", place=url))
        equal(answer, {"ok": True, "durability": "synced"})
        equal(json.loads(store.good("get", "s", "--json", place=url)), {"key": "s", "value": "1"})
        store.good("del", "s", place=url)
        equal(store.run("get", "s", place=url)[0], 1)
        equal(store.run("del", "s", place=url)[0], 1)
        json.loads(store.good("stats", "--json", place=url + []))
        code, _, err = store.run("get", "empty")
        equal(code, 3)
        contains(err, "--url")
    equal(store.good("get", "a/b c+d"), every)


@needs_server
def load_over_http_stores_all(store):
    entries = random_entries(500, 11)
    with Server(store) as server:
        lines = "".join(line_of(k, v) for k, v in entries.items()).encode()
        equal(store.good("load", "--no-end", "--json", stdin=lines, place=["--url", server.url]),
              b'{"loaded":500}\n')
    equal([entry_of(line) for line in store.good("dump").splitlines()[:-1]],
          sorted(entries.items()))


@needs_server
def of_two_lines_with_one_key_the_later_wins(store):
    lines = [line_of(b"k%d" % (i % 7), b"%d" % i) for i in range(700)]
    with Server(store) as server:
        store.good("load", "--no-end", stdin="".join(lines).encode(), place=["--url", server.url])
    for i in range(7):
        equal(store.good("get", f"k{i}"), b"%d" % (693 + i))


@needs_server
def expiries_are_loaded_into_a_server_and_dumped_from_it(store):
    lines = b'{"key":"a","value":"1"}\n{"key":"b","value":"2","expires_ms":4102444800123}\n'
    with Server(store) as server:
        url = ["--url", server.url]
        store.good("load", "--no-end", stdin=lines + b'{"key":"c","value":"over","expires_ms":1}\n', place=url)
        equal(store.good("dump", place=url).splitlines(True)[:2], lines.splitlines(True))
    equal(store.good("dump").splitlines(True)[:2], lines.splitlines(True))


@needs_server
def a_value_set_over_http_with_a_ttl_lives_as_long_as_was_said(store):
    with Server(store) as server:
        lives_as_long_as_was_said(store, "--url", server.url)


@needs_server
def every_verb_means_the_database_that_it_is_told_over_http(store):
    lines = (b'{"key":"k","value":"zero"}\n{"key":"k","value":"three","database":3}\n'
             b'{"key":"x","value":"1","database":15}\n{"key":"y","value":"2","database":15}\n')
    with Server(store) as server:
        url = ["--url", server.url]
        store.good("load", "--no-end", stdin=lines, place=url)
        equal(store.good("get", "k", place=url), b"zero")
        equal(store.good("get", "k", "--database", "3", place=url), b"three")
        equal(store.good("scan", "--database", "15", place=url), b"x\t1\ny\t2\n")
        equal(store.good("count", "--database", "15", place=url), b"2\n")
        dump = store.good("dump", place=url)
        equal(dump.splitlines(True)[:-1], lines.splitlines(True))
        equal(store.good("dump", "--database", "15", place=url).splitlines(True)[:-1], lines.splitlines(True)[2:])
        store.good("load", "--no-end", "--database", "7", stdin=lines, place=url)
        equal(store.good("count", "--database", "7", place=url), b"3\n")
        store.good("set", "k", "9", "--database", "9", "--sync", place=url)
        equal(json.loads(store.good("get", "k", "--json", "--database", "9", place=url)), {"key": "k", "value": "9", "database": 9})
        store.good("del", "k", "--database", "9", "--sync", place=url)
        equal(store.run("get", "k", "--database", "9", place=url)[0], 1)
        store.good("del", "--all", "--database", "7", place=url)
        equal(store.good("dump", place=url).splitlines(True)[:-1], lines.splitlines(True))
    equal(store.good("dump").splitlines(True)[:-1], lines.splitlines(True))


@needs_server
def many_entries_are_scanned_counted_dumped_and_deleted_over_http_as_from_a_directory(store):
    entries = random_entries(400, 12)
    entries[b"large"] = os.urandom(1 << 20) * 2
    lines = "".join(line_of(k, v) for k, v in entries.items()).encode()
    store.good("load", "--no-end", stdin=lines)
    some = sorted(entries)[100:200]
    asked = [("scan",), ("scan", "--json"), ("scan", "-0"), ("scan", "--keys-only"), ("scan", "--reverse", "--limit", "7"), ("scan", "--limit", "0"),
             ("scan", "--hex", "--start", some[0].hex(), "--end", some[-1].hex()), ("scan", "--hex", "--prefix", some[5][:1].hex()),
             ("count",), ("count", "--json"), ("count", "--hex", "--start", some[0].hex(), "--end", some[-1].hex())]
    before = [store.good(*words) for words in asked]
    dump = store.good("dump")
    with Server(store) as server:
        url = ["--url", server.url]
        for words, want in zip(asked, before):
            assert store.good(*words, place=url) == want, words
        got = store.good("dump", place=url)
        equal(got.splitlines()[:-1], dump.splitlines()[:-1])
        equal(json.loads(got.splitlines()[-1])["xxh3"], json.loads(dump.splitlines()[-1])["xxh3"])
        file = os.path.join(os.path.dirname(store.path), "copy.jsonl")
        store.good("dump", file, place=url)
        with open(file, "rb") as f:
            equal(f.read(), got)
        contains(store.good("compact", place=url).decode(), "table bytes: ")
        contains(store.good("verify", place=url).decode(), "sound: ")
        code, _, err = store.run("scan", place=["--url", server.url + "/nowhere"])
        equal(code, 4)
        contains(err, "no quernd")
        store.good("del", "--hex", "--start", some[0].hex(), "--end", some[-1].hex(), place=url)
        equal(store.good("count", place=url), b"%d\n" % (len(entries) - 99))
    equal(store.good("count"), b"%d\n" % (len(entries) - 99))


@needs_server
def a_load_that_the_server_refuses_says_what_was_loaded(store):
    lines = [line_of(b"%04d" % i, b"v") for i in range(100)]
    lines.append(line_of(b"x" * 40000, b"v"))
    with Server(store) as server:
        code, _, err = store.run("load", "--no-end", stdin="".join(lines).encode(),
                                 place=["--url", server.url])
        equal(code, 4)
        contains(err, "414")
        contains(err, "100 entries were loaded")
        code, _, err = store.run("load", "--no-end", stdin=lines[0].encode(),
                                 place=["--url", server.url + "/nowhere"])
        equal(code, 4)
        contains(err, "no quernd")
    equal(store.run("load", "--no-end", stdin=lines[0].encode(),
                    place=["--url", "http://127.0.0.1:1"])[0], 3)


@needs_server
def verbs_that_need_the_directory_say_so(store):
    with Server(store) as server:
        code, _, err = store.run("checkpoint", "c", place=["--url", server.url])
        equal(code, 2)
        contains(err, "--db")
        contains(err, "/v1/admin/checkpoint?dir=NAME")
        code, _, err = store.run("repair", "a", "b", place=[], env={"QUERN_URL": server.url})
        equal(code, 2)
        contains(err, "leave out --url, or QUERN_URL")


def main():
    number = bad = 0
    for function in TESTS:
        name = function.__name__
        if PARTS and not any(part in name for part in PARTS):
            continue
        number += 1
        if getattr(function, "needs_server", False) and QUERND is None:
            print(f"ok {number} - {name} # SKIP no quernd was given")
            continue
        base = tempfile.mkdtemp(prefix="quern-cli-")
        try:
            function(Store(base))
            print(f"ok {number} - {name}", flush=True)
        except Exception:  # a failed test must not stop the others
            bad += 1
            for line in traceback.format_exc().splitlines():
                print(f"# {line}")
            print(f"not ok {number} - {name}", flush=True)
        shutil.rmtree(base, ignore_errors=True)
    print(f"1..{number}")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
