#!/usr/bin/env python3
"""The promises on a real kernel: disks that fill up and are freed, system calls that fail, limits
of the process, directories that cannot be written, copies of an open store, clocks that jump.

What was acknowledged is there afterwards; what is refused is refused in words; nothing crashes.

As root the whole runs in a mount namespace of its own, so that nothing mounted here is left behind.
Tests that need what this machine or this build has not are skipped, and say what they miss."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from quernd import Server, Skip, equal, main, test

EMBED = os.environ.get("QUERN_EMBED", "")
QUERN = os.environ.get("QUERN", "")
SHIM = os.environ.get("QUERN_SHIM", "")
SANITIZED = not SHIM
ROOT = os.geteuid() == 0
# Root may read and write everywhere; without these capabilities it is held to the permission bits.
HELD_TO_BITS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
SIZE = 400  # of values


class Place:
    """A directory for one test, and what is mounted in it."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="quern-kernel-")
        self.mounts = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for mount in reversed(self.mounts):
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(self.path, ignore_errors=True)

    def join(self, *names):
        return os.path.join(self.path, *names)

    def mount(self, *arguments, name="disk"):
        if not ROOT:
            raise Skip("mounting needs root")
        at = self.join(name)
        os.makedirs(at, exist_ok=True)
        done = subprocess.run(["mount", *arguments, at], capture_output=True, check=False)
        if done.returncode != 0:
            raise Skip("cannot mount: " + done.stderr.decode().strip())
        self.mounts.append(at)
        return at

    def file_system(self, kind):
        """A small file system of its own: tmpfs, or an image in a file on a loop device."""
        if kind == "tmpfs":
            return self.mount("-t", "tmpfs", "-o", "size=24m", "tmpfs")
        megabytes = {"ext4": 64, "xfs": 320, "btrfs": 128}[kind]
        maker = shutil.which("mkfs." + kind, path=os.environ["PATH"] + ":/sbin:/usr/sbin")
        if maker is None:
            raise Skip(f"there is no mkfs.{kind}")
        image = self.join("image")
        with open(image, "wb") as f:
            f.truncate(megabytes << 20)
        subprocess.run([maker, "-q", image], check=True, capture_output=True)
        return self.mount("-o", "loop", image)


class Embed:
    """The program that embeds the library, running."""

    def __init__(self, *words, limits=(), env=None, wrap=()):
        def before():
            for what, most in limits:
                resource.setrlimit(what, (most, most))

        self.lines = []
        self.process = subprocess.Popen(
            [*wrap, EMBED, *map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, preexec_fn=before if limits else None, text=True,
            env={**os.environ, **(env or {})})
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait(self, seconds=120):
        """The exit code; a signal or a sanitizer's report fails the test."""
        code = self.process.wait(seconds)
        self.reader.join()
        self.stderr = self.process.stderr.read()
        if code < 0 or code > 2 or "Sanitizer" in self.stderr:
            raise AssertionError(f"embed ended with {code}: {self.lines[-3:]} {self.stderr[-3000:]}")
        if code == 2 or any(line.startswith("WRONG") for line in self.lines):
            raise AssertionError(f"wrong: {[li for li in self.lines if 'ok' not in li][-5:]}")
        return code

    def kill(self):
        self.process.kill()
        self.process.wait(60)
        self.reader.join()
        self.process.stderr.close()

    def numbers(self, word):
        return [int(li.split()[1]) for li in list(self.lines) if li.startswith(word + " ")]

    def said(self, word):
        return any(li.startswith(word) for li in list(self.lines))

    def until(self, word, seconds=60):
        end = time.monotonic() + seconds
        while not self.said(word):
            assert self.process.poll() is None and time.monotonic() < end, \
                f"never said {word!r}: {self.lines[-3:]}"
            time.sleep(0.005)

    def story(self):
        """Why it was refused; must be there when it was."""
        last = [li for li in self.lines if li.startswith("refused ")]
        assert last and len(last[-1].split(": ", 1)[1]) > 10, self.lines[-3:]
        return last[-1]


def embed(*words, **more):
    one = Embed(*words, **more)
    return one.wait(), one


def all_there(store, numbers, size=SIZE, to=None):
    """Every acknowledged number, and no value that is not whole."""
    numbers = set(numbers)
    if to is None:
        to = max(numbers, default=0) + 10
    code, one = embed(store, "check", 0, to, size)
    if code == 1 and not numbers and "no store" in one.story():
        return
    equal(code, 0, one.lines[-2:])
    missing = numbers - set(one.numbers("has"))
    assert not missing, f"acknowledged and gone: {sorted(missing)[:10]} of {len(numbers)}"


def free_bytes(path):
    st = os.statvfs(path)
    return st.f_bavail * st.f_frsize


def leave_free(path, most):
    """Fill the disk but for so many bytes. fill_up's file is made too: a full disk might refuse it."""
    hog = os.path.join(path, "hog")
    open(os.path.join(path, "dregs"), "wb").close()
    with open(hog, "wb") as f:
        want = free_bytes(path) - most
        while want > 0:
            try:
                os.posix_fallocate(f.fileno(), f.tell(), want)
                break
            except OSError:
                want -= want // 8 + 4096
    return hog


def fill_up(path):
    """To the last byte."""
    with open(os.path.join(path, "dregs"), "ab", buffering=0) as f:
        for piece in (1 << 16, 4096, 1):
            try:
                while f.write(b"x" * piece) == piece:
                    pass
            except OSError:
                pass


# ---- full disks ----

def full_and_freed(kind):
    with Place() as place:
        disk = place.file_system(kind)
        store = os.path.join(disk, "db")
        equal(embed(store, "put", 0, 10, SIZE)[0], 0)
        hog = leave_free(disk, 3 << 20)
        one = Embed(store, "insist", 10, 60000, SIZE)
        one.until("full")
        fill_up(disk)
        before = len(one.numbers("ok"))
        time.sleep(0.2)
        os.remove(hog)
        os.remove(os.path.join(disk, "dregs"))
        one.until("resumed")
        time.sleep(0.2)
        one.kill()
        acked = one.numbers("ok")
        print(f"# {kind}: {before} acknowledged until it was full, {len(acked) - before} afterwards")
        assert len(acked) > before
        all_there(store, acked)


@test
def a_full_tmpfs_refuses_writes_and_they_resume_when_it_is_freed():
    full_and_freed("tmpfs")


@test
def a_full_ext4_refuses_writes_and_they_resume_when_it_is_freed():
    full_and_freed("ext4")


@test
def a_full_xfs_refuses_writes_and_they_resume_when_it_is_freed():
    full_and_freed("xfs")


@test
def a_full_btrfs_refuses_writes_and_they_resume_when_it_is_freed():
    full_and_freed("btrfs")


@test
def a_store_killed_on_a_full_disk_opens_or_says_so_and_keeps_everything():
    for kind in ("tmpfs", "ext4"):
        with Place() as place:
            disk = place.file_system(kind)
            store = os.path.join(disk, "db")
            equal(embed(store, "put", 0, 10, SIZE)[0], 0)
            hog = leave_free(disk, 4 << 20)
            one = Embed(store, "insist", 10, 60000, SIZE)
            one.until("full")
            one.kill()
            fill_up(disk)
            code, again = embed(store, "put", 0, 1, SIZE)
            print(f"# {kind}: at the full disk: {again.lines[-1]}")
            if code == 1:
                assert "no space" in again.story(), again.lines
            os.remove(hog)
            os.remove(os.path.join(disk, "dregs"))
            all_there(store, one.numbers("ok"))


@test
def a_server_on_a_full_disk_answers_507_and_then_200_again():
    with Place() as place:
        disk = place.file_system("ext4")
        with Server("--flush-interval", "200ms", data=os.path.join(disk, "db")) as s:
            with s.connect() as w:
                equal(w.put("before", b"1").status, 200)
                hog = leave_free(disk, 3 << 20)
                acked, status = [], 200
                for i in range(4000):
                    status = w.put(f"k{i}", b"%d" % i * 2000).status
                    if status != 200:
                        break
                    acked.append(i)
                equal(status, 507)
                equal(w.get("before").body, b"1")
                os.remove(hog)
                end = time.monotonic() + 30
                while w.put("after", b"2").status != 200:
                    assert time.monotonic() < end, "writes do not resume"
                    time.sleep(0.05)
                for i in acked:
                    equal(w.get(f"k{i}").body, b"%d" % i * 2000)
            equal(s.stop(), 0)


# ---- system calls that fail ----

# Not mmap: memory is had by it as well, and where liburcu gets none it ends the process.
CALLS = ("openat", "pwritev", "pwrite64", "pread64", "fdatasync", "fsync", "ftruncate", "unlinkat",
         "renameat,renameat2", "newfstatat,fstat", "getdents64", "linkat")


def need_strace():
    if SANITIZED:
        raise Skip("strace and the leak check of a sanitizer exclude each other")
    if shutil.which("strace") is None:
        raise Skip("there is no strace")
    if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True,
                      check=False).returncode != 0:
        raise Skip("strace may not trace here")


def calls_of(place):
    """How often each call is made before the store is touched, and in all."""
    trace = place.join("trace")
    names = ",".join(CALLS)
    code, _ = embed(place.join("calm"), "flush", 0, 300, SIZE,
                    wrap=["strace", "-f", "-qq", "-o", trace, "-e", f"trace=write,{names}"])
    equal(code, 0)
    counts, begun = {}, False
    with open(trace, encoding="utf-8", errors="replace") as f:
        for line in f:
            begun |= 'write(1, "begin' in line
            found = re.match(r"\d+\s+(\w+)\(", line)
            if found:
                before, whole = counts.get(found.group(1), (0, 0))
                counts[found.group(1)] = (before + (not begun), whole + 1)
    return counts


def with_failing(place, call, error, when):
    """One load in which a call fails; returns what was acknowledged and the exit code."""
    store = place.join("db")
    shutil.rmtree(store, ignore_errors=True)
    code, one = embed(store, "flush", 0, 300, SIZE,
                      wrap=["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
                            "-e", f"inject={call}:error={error}:when={when}"])
    if code == 1:
        one.story()
    all_there(store, one.numbers("ok"), to=310)
    return code, one


def failing_calls(error, each):
    need_strace()
    tried = refused = 0
    with Place() as place:
        counts = calls_of(place)
        for call in CALLS:
            before, whole = map(sum, zip(*[counts.get(c, (0, 0)) for c in call.split(",")]))
            own = whole - before
            chosen = sorted({before + 1 + own * i // each for i in range(each) if own > 0})
            for when in chosen:
                try:
                    code, _ = with_failing(place, call, error, when)
                except AssertionError as e:
                    raise AssertionError(f"{call} call {when} fails with {error}: {e}") from e
                tried += 1
                refused += code
    print(f"# {error}: {tried} calls failed once, {refused} loads were refused, none lost anything")


@test
def a_call_that_fails_with_eio_loses_nothing_acknowledged():
    failing_calls("EIO", 5)


@test
def a_call_that_fails_with_enospc_loses_nothing_acknowledged():
    failing_calls("ENOSPC", 4)


@test
def interrupted_calls_are_made_again_and_nobody_notices():
    need_strace()
    with Place() as place:
        counts = calls_of(place)
        for call in ("openat", "pwritev", "pwrite64", "pread64", "ftruncate"):
            before, whole = counts.get(call, (0, 0))
            if whole == before:
                continue
            for when in {before + 1, max(before + 1, (before + whole) // 2), whole}:
                code, one = with_failing(place, call, "EINTR", when)
                equal(code, 0, f"{call} call {when}: {one.lines[-1:]}")


@test
def short_reads_and_writes_are_carried_on():
    if not SHIM:
        raise Skip("a sanitizer does not let a library be loaded before it")
    with Place() as place:
        shim = {"LD_PRELOAD": SHIM, "SHIM_SHORT": "1"}
        code, one = embed(place.join("db"), "flush", 0, 1500, 3000, env=shim)
        equal(code, 0, one.lines[-1:])
        code, two = embed(place.join("db"), "check", 0, 1500, 3000, env=shim)
        equal(code, 0, two.lines[-1:])
        all_there(place.join("db"), one.numbers("ok"), size=3000)
        code, three = embed(place.join("synced"), "put", 0, 60, 60000, "sync", env=shim)
        equal(code, 0, three.lines[-1:])
        all_there(place.join("synced"), three.numbers("ok"), size=60000)


# ---- limits of the process ----

@test
def few_file_descriptors_are_told_of_or_enough():
    with Place() as place:
        store = place.join("db")
        code, one = embed(store, "flush", 0, 2000, 3000)  # some two hundred tables
        equal(code, 0, one.lines[-1:])
        tables = sum(name.endswith(".sst") for name in os.listdir(store))
        for most in (16, 24, 32, 64):
            limits = [(resource.RLIMIT_NOFILE, most)]
            code, two = embed(store, "check", 0, 2000, 3000, limits=limits)
            told = two.story() if code else "enough"
            print(f"# {tables} tables, {most} descriptors: {told}")
            if code:
                assert "Too many open files; raise the limit (ulimit -n)" in told, told
            fresh = place.join(f"fresh{most}")
            code, three = embed(fresh, "flush", 0, 2000, 3000, limits=limits)
            if code:
                assert "raise the limit" in three.story(), three.story()
            all_there(fresh, three.numbers("ok"), size=3000)
        all_there(store, one.numbers("ok"), size=3000)


@test
def a_file_size_limit_is_a_full_disk():
    with Place() as place:
        for most in (64 << 10, 1 << 20, 3 << 20):
            store = place.join(f"db{most}")
            code, one = embed(store, "put", 0, 3000, 3000, limits=[(resource.RLIMIT_FSIZE, most)])
            if code:
                assert "no space" in one.story(), one.story()
            all_there(store, one.numbers("ok"), size=3000)
        lines = b"".join(b'{"key":"k%d","value":"%s"}\n' % (i, b"x" * 3000) for i in range(3000))
        done = subprocess.run([QUERN, "--db", place.join("cli"), "load", "--no-end"], input=lines,
                              capture_output=True, timeout=60, check=False,
                              preexec_fn=lambda: resource.setrlimit(
                                  resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))
        print(f"# quern load: exit {done.returncode}: {' '.join(done.stderr.decode().split())[:200]}")
        assert done.returncode in (0, 3, 4), (done.returncode, done.stderr)


@test
def little_memory_is_a_clean_error():
    if SANITIZED:
        raise Skip("a sanitizer needs terabytes of addresses")
    with Place() as place:
        stories = set()
        for megabytes in (3, 4, 5, 6, 8, 10, 14, 20, 28, 40, 56, 80, 110, 160, 220, 400):
            store = place.join(f"db{megabytes}")
            one = Embed(store, "flush", 0, 600, SIZE,
                        limits=[(resource.RLIMIT_AS, megabytes << 20)])
            code = one.process.wait(60)
            one.reader.join()
            stderr = one.process.stderr.read()
            if code == 127 or "error while loading" in stderr:
                continue  # too little for the dynamic linker
            assert code in (0, 1), f"{megabytes} MiB: {code} {one.lines[-2:]} {stderr}"
            if code:
                stories.add(re.sub(r"[0-9]+|/\S+", "N", one.story()))
            all_there(store, one.numbers("ok"), to=610)
        for story in sorted(stories):
            print("# " + story[:150])


# ---- directories ----

@test
def a_read_only_mount_can_be_read_and_says_why_it_cannot_be_written():
    with Place() as place:
        disk = place.file_system("tmpfs")
        store = os.path.join(disk, "db")
        equal(embed(store, "put", 0, 500, SIZE)[0], 0)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        done = subprocess.run([QUERN, "--db", store, "get", "key-00000007"], capture_output=True,
                              timeout=60, check=False)
        equal(done.returncode, 0, done.stderr)
        assert done.stdout.startswith(b"00000007 "), done
        for words in (["set", "a", "b"], ["del", "key-00000007"]):
            done = subprocess.run([QUERN, "--db", store, *words], capture_output=True, timeout=60,
                                  check=False)
            assert done.returncode in (3, 4), done
            assert b"ead-only" in done.stderr, done.stderr
        other = Server(data=store)
        equal(other.process.wait(10), 7)
        assert "Read-only file system" in other.stderr(), other.stderr()
        print("# " + other.stderr().strip())
        other.forget()


@test
def a_directory_without_permission_is_named_and_left_alone():
    with Place() as place:
        home = place.join("home")
        os.mkdir(home)
        store = os.path.join(home, "db")
        equal(embed(store, "put", 0, 100, SIZE, wrap=HELD_TO_BITS)[0], 0)
        for mode in (0o500, 0o000):
            os.chmod(store, mode)
            code, one = embed(store, "put", 100, 101, SIZE, wrap=HELD_TO_BITS)
            equal(code, 1)
            assert "denied" in one.story() and store in one.story(), one.story()
            print("# " + one.story())
        os.chmod(store, 0o700)
        os.chmod(home, 0o500)
        code, one = embed(os.path.join(home, "new"), "put", 0, 1, SIZE, wrap=HELD_TO_BITS)
        equal(code, 1)
        assert "denied" in one.story(), one.story()
        all_there(store, range(100))


@test
def a_copy_of_an_open_store_opens_or_refuses_and_is_never_wrong():
    opened = refused = 0
    with Place() as place:
        store = place.join("db")
        one = Embed(store, "churn", 4)
        one.until("round 2")
        for n in range(10):
            copy = place.join(f"copy{n}")
            subprocess.run(["cp", "-r", store, copy], stderr=subprocess.DEVNULL, check=False)
            code, two = embed(copy, "check", 0, 500, 0)  # wrong values end it with 2
            if code == 0:
                opened += 1
            else:
                refused += 1
                print("# " + two.story()[:160])
            shutil.rmtree(copy)
        equal(one.wait(), 0)
        all_there(store, range(500), size=0)
    print(f"# {opened} copies opened, {refused} said that they are none")


@test
def a_checkpoint_is_the_copy_to_make():
    with Place() as place:
        store = place.join("db")
        equal(embed(store, "put", 0, 2000, SIZE)[0], 0)
        equal(embed(store, "checkpoint", place.join("copy"))[0], 0)
        equal(embed(store, "churn", 1)[0], 0)
        all_there(place.join("copy"), range(2000))


# ---- clocks ----

YEAR = 365 * 86400


class Clock:
    """The wall clock of the processes that are started with `env`."""

    def __init__(self, place):
        if not SHIM:
            raise Skip("a sanitizer does not let a library be loaded before it")
        self.path = place.join("clock")
        self.env = {"LD_PRELOAD": SHIM, "SHIM_CLOCK": self.path}
        self.set(0)

    def set(self, seconds):
        with open(self.path + "~", "w", encoding="ascii") as f:
            f.write(str(seconds))
        os.rename(self.path + "~", self.path)


@test
def a_wall_clock_that_jumps_changes_nothing_but_the_date():
    with Place() as place:
        clock = Clock(place)
        before = dict(os.environ)
        os.environ.update(clock.env)
        try:
            s = Server("--flush-interval", "100ms", "--compact-interval", "100ms",
                       "--idle-timeout", "60s", data=place.join("db"))
        finally:
            os.environ.clear()
            os.environ.update(before)
        with s, s.connect() as idle, s.connect() as w:
            for number, offset in enumerate((0, -YEAR, YEAR, -40 * YEAR, 0)):
                clock.set(offset)
                time.sleep(0.05)
                flushes = flush_count(w)
                for i in range(50):
                    equal(w.put(f"k{number}-{i}", b"v" * i, "&sync=1").status, 200)
                end = time.monotonic() + 20
                while flush_count(w) == flushes:
                    assert time.monotonic() < end, f"no flush after a jump by {offset} s"
                    time.sleep(0.02)
                year = int(w.get("k0-1").fields["date"].split()[3])
                want = time.gmtime(time.time() + offset).tm_year
                assert abs(year - want) <= 1, (year, want)
                equal(w.get(f"k{number}-49").body, b"v" * 49)
            equal(idle.ask("GET", "/healthz").status, 200)
            equal(s.stop(), 0)
        clock.set(-YEAR)
        code, one = embed(place.join("db"), "put", 0, 300, SIZE, env=clock.env)
        equal(code, 0, one.lines[-1:])
        clock.set(0)
        all_there(place.join("db"), range(300))


def flush_count(w):
    return int(re.search(rb'"flushes":\s*(\d+)', w.ask("GET", "/stats").body).group(1))


@test
def a_monotonic_clock_that_begins_anew_changes_nothing():
    later = ["unshare", "--time", "--fork", "--monotonic", "100000000", "--boottime", "100000000"]
    if not ROOT or subprocess.run([*later, "true"], capture_output=True,
                                  check=False).returncode != 0:
        raise Skip("a time namespace cannot be had")
    with Place() as place:
        store = place.join("db")
        code, one = embed(store, "flush", 0, 500, SIZE, wrap=later)
        equal(code, 0, one.lines[-1:])
        code, one = embed(store, "flush", 500, 1000, SIZE)
        equal(code, 0, one.lines[-1:])
        all_there(store, range(1000))


# ---- processes ----

@test
def a_child_hears_that_the_store_is_not_its_own():
    with Place() as place:
        code, one = embed(place.join("db"), "fork")
        equal(code, 0, one.lines)
        assert one.said("child "), one.lines
        print("# " + [li for li in one.lines if li.startswith("child")][0])
        all_there(place.join("db"), [1, 3], size=50)


def closed(*descriptors):
    def close():
        for fd in descriptors:
            os.close(fd)
    return close


@test
def closed_standard_descriptors_never_become_files_of_the_store():
    with Place() as place:
        store = place.join("db")
        process = subprocess.Popen([os.environ["QUERND"], "--data", store, "--port", "0",
                                    "--resp-listen", "off"],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, preexec_fn=closed(0, 1, 2))
        try:
            end = time.monotonic() + 30
            while not os.path.exists(os.path.join(store, "CURRENT")):
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.01)
            time.sleep(0.3)
            for fd in (0, 1, 2):
                at = os.readlink(f"/proc/{process.pid}/fd/{fd}")
                assert not at.startswith(store) and "socket" not in at, f"descriptor {fd} is {at}"
        finally:
            process.terminate()
            code = process.wait(30)
        equal(code, 0)
        lines = b"".join(b'{"key":"k%d","value":"%d"}\n' % (i, i) for i in range(2000))
        done = subprocess.run([QUERN, "--db", store, "load", "--no-end"], input=lines, timeout=60,
                              preexec_fn=closed(1, 2), check=False)
        equal(done.returncode, 0)
        done = subprocess.run([QUERN, "--db", store, "verify"], capture_output=True, timeout=60,
                              check=False)
        equal(done.returncode, 0, done.stderr)


@test
def a_reader_that_goes_away_ends_the_command_and_not_the_store():
    with Place() as place:
        store = place.join("db")
        equal(embed(store, "put", 0, 20000, SIZE)[0], 0)
        scan = subprocess.Popen([QUERN, "--db", store, "scan"], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)
        scan.stdout.readline()
        scan.stdout.close()
        code = scan.wait(60)
        said = scan.stderr.read().decode()
        scan.stderr.close()
        print(f"# scan | head -1: exit {code} {said.strip()[:100]}")
        assert code in (0, 4, -signal.SIGPIPE), (code, said)
        with open("/dev/full", "wb") as full:
            done = subprocess.run([QUERN, "--db", store, "dump"], stdout=full,
                                  stderr=subprocess.PIPE, timeout=60, check=False)
        equal(done.returncode, 4)
        assert b"No space left" in done.stderr, done.stderr
        all_there(store, range(20000))


def in_namespace():
    """As root: once more, in a mount namespace of our own."""
    if ROOT and "QUERN_KERNEL_NS" not in os.environ and shutil.which("unshare"):
        os.environ["QUERN_KERNEL_NS"] = "1"
        words = ["unshare", "--mount", "--propagation", "private"]
        if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
            os.execvp("unshare", [*words, os.path.abspath(__file__), *sys.argv[1:]])


if __name__ == "__main__":
    in_namespace()
    main()
