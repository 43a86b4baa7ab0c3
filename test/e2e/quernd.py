"""quernd.py - what the end-to-end tests share: a server in a temporary directory, raw and polite
HTTP clients, and a runner that prints TAP. Python's standard library only.

Each test starts its own quernd on a free port of 127.0.0.1 and ends it by its process id."""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from urllib.parse import quote_from_bytes

BINARY = os.environ.get("QUERND", "")


def is_watched():
    """Is it built with a sanitizer, whose shadow and quarantine are memory as well?"""
    with open(BINARY, "rb") as f:
        code = f.read()
    return b"__tsan_init" in code or b"__asan_init" in code


class Server:
    """A running quernd. `with Server("--durability", "os") as s: ...`"""

    def __init__(self, *options, data=None, binary=None, command=None, env=None, wait=120, port=0,
                 resp="127.0.0.1:0"):
        self.own_dir = tempfile.mkdtemp(prefix="quern-e2e-") if data is None else None
        self.data = data or os.path.join(self.own_dir, "data")
        self.out = tempfile.TemporaryFile()
        self.err = tempfile.TemporaryFile()
        self.wanted_end = 0  # the exit status that the test takes for well
        self.process = subprocess.Popen(
            [*(command or [binary or BINARY]), "--data", self.data, "--port", str(port),
             "--resp-listen", resp, *options],
            stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err,
            env=None if env is None else {**os.environ, **env})
        self.port = self._wait_ready(wait)
        self.url = f"http://127.0.0.1:{self.port}"
        found = re.search(r"listening: rediss?://\S+:(\d+)", self.stdout())
        self.resp_port = int(found.group(1)) if found else 0

    def _wait_ready(self, limit):
        end = time.monotonic() + limit
        while time.monotonic() < end:
            text = self.stdout()
            if re.search(r'(^|")ready; ', text, re.M):
                return int(re.search(r"listening: https?://\S+:(\d+)", text).group(1))
            if self.process.poll() is not None:
                return 0
            time.sleep(0.01)
        raise AssertionError(f"quernd not ready after {limit} s: {self.stdout()} {self.stderr()}")

    @staticmethod
    def _text(file):
        return os.pread(file.fileno(), 1 << 24, 0).decode("utf-8", "replace")

    def stdout(self):
        return self._text(self.out)

    def stderr(self):
        return self._text(self.err)

    def wait_said(self, words):
        """Wait until `words` stand on standard output."""
        until(lambda: words in self.stdout(), f"{words!r} on standard output")

    def wait_told(self, words):
        """The same on standard error, which events reach by a thread of their own."""
        until(lambda: words in self.stderr(), f"{words!r} on standard error")

    def memory_kib(self, kind="VmRSS"):
        """VmRSS: what is in memory; RssAnon: of that its own; VmHWM: the most there ever was."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return int(re.search(rf"^{kind}:\s+(\d+)", f.read(), re.M).group(1))

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        return self.process.wait(60)

    def stop(self):
        """Shut down politely; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        """A test that went well also ends its server well: leaks and sanitizers speak at exit."""
        ended = self.process.poll()
        if ended is None:
            ended = self.kill() if error is not None else self.stop()
        elif ended == -signal.SIGKILL:
            ended = self.wanted_end  # the test killed it
        if error is not None or ended != self.wanted_end or "Sanitizer" in self.stderr():
            print("# stdout:\n#   " + self.stdout().replace("\n", "\n#   "))
            print("# stderr:\n#   " + self.stderr().replace("\n", "\n#   "))
        found = "Sanitizer" in self.stderr()
        self.forget()
        if error is None and (ended != self.wanted_end or found):
            raise AssertionError(f"quernd ended with {ended} (a negative number is a signal)")

    def forget(self):
        """The process has ended: remove what it left."""
        self.out.close()
        self.err.close()
        if self.own_dir:
            shutil.rmtree(self.own_dir, ignore_errors=True)

    def connect(self, timeout=30, tls=None):
        return Wire(self.port, timeout, tls)

    def resp(self, timeout=30, tls=None):
        return Resp(self.resp_port, timeout, tls)


class Reply:
    def __init__(self, status, fields, body, version):
        self.status, self.fields, self.body, self.version = status, fields, body, version

    def __repr__(self):
        return f"{self.status} {self.fields} {self.body[:200]!r}"


class Wire:
    """One connection: bytes out as they are given, replies in as they are framed."""

    def __init__(self, port, timeout=30, tls=None):
        """`tls`: an ssl.SSLContext to speak TLS by, or a function that wraps the socket."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls(self.socket) if callable(tls) else tls.wrap_socket(
                self.socket, server_hostname="localhost", suppress_ragged_eofs=False)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def _more(self):
        data = self.socket.recv(1 << 18)
        self.buffer += data
        return bool(data)

    def _take(self, n):
        if n > len(self.buffer):
            parts, have = [self.buffer], len(self.buffer)
            while have < n:
                data = self.socket.recv(1 << 20)
                if not data:
                    raise EOFError("connection ended inside a body")
                parts.append(data)
                have += len(data)
            self.buffer = b"".join(parts)
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def _line(self):
        while b"\r\n" not in self.buffer:
            if not self._more():
                raise EOFError(f"connection ended inside a line: {self.buffer[:80]!r}")
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def read(self, head_only=False, interim=False):
        """The next reply; None when the connection ended before one."""
        while not self.buffer:
            if not self._more():
                return None
        version, status, reason = self._line().split(b" ", 2)
        assert reason != b"Status", f"{status}: the server has no words for it"
        fields = {}
        while True:
            line = self._line()
            if not line:
                break
            name, value = line.split(b":", 1)
            name = name.decode().lower()
            assert name not in fields, f"field {name} twice"
            fields[name] = value.strip().decode()
        status = int(status)
        if status == 100 and not interim:
            return self.read(head_only)
        if head_only or status in (100, 204, 304):
            body = b""
        elif fields.get("transfer-encoding") == "chunked":
            parts = []
            while True:
                size = int(self._line(), 16)
                parts.append(self._take(size))
                assert self._line() == b""
                if size == 0:
                    break
            body = b"".join(parts)
        elif "content-length" in fields:
            body = self._take(int(fields["content-length"]))
        else:
            while self._more():
                pass
            body, self.buffer = self.buffer, b""
        return Reply(status, fields, body, version.decode())

    def ask(self, method, target, body=None, fields=(), head_only=False):
        self.send(request(method, target, body, fields))
        return self.read(head_only or method == "HEAD")

    def ended(self):
        """Has the server closed, with nothing more to say?"""
        try:
            return not self.buffer and not self._more()
        except ConnectionResetError:
            return True

    def put(self, key, value, more=""):
        return self.ask("POST", f"/set?key={quote(key)}{more}", value)

    def get(self, key):
        return self.ask("GET", f"/get?key={quote(key)}")

    def delete(self, key):
        return self.ask("DELETE", f"/del?key={quote(key)}")


class Refused(Exception):
    """An error of the Redis protocol, as a value: it is compared and never raised."""

    def __eq__(self, other):
        return isinstance(other, Refused) and self.args == other.args

    __hash__ = None


class Resp(Wire):
    """A connection that speaks the Redis protocol, and nothing behind its back."""

    def write(self, *arguments):
        self.send(command(*arguments))

    def raw(self):
        """The bytes of the next reply."""
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind in b"$=" and rest != b"-1":
            return line + b"\r\n" + self._take(int(rest) + 2)
        if kind in b"*~%" and rest != b"-1":
            parts = int(rest) * (2 if kind == b"%" else 1)
            return line + b"\r\n" + b"".join(self.raw() for _ in range(parts))
        return line + b"\r\n"

    def answer(self):
        return value_of(self.raw())

    def call(self, *arguments):
        self.write(*arguments)
        return self.answer()


def command(*arguments):
    parts = [a if isinstance(a, bytes) else str(a).encode() for a in arguments]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


def value_of(raw):
    return _value(raw, 0)[0]


def _value(raw, at):
    end = raw.index(b"\r\n", at)
    kind, rest = raw[at:at + 1], raw[at + 1:end]
    at = end + 2
    if kind == b"+":
        return rest.decode(), at
    if kind == b"-":
        return Refused(rest.decode("utf-8", "replace")), at
    if kind == b":":
        return int(rest), at
    if kind == b"_" or rest == b"-1":
        return None, at
    if kind == b"$":
        return raw[at:at + int(rest)], at + int(rest) + 2
    if kind == b"=":
        return raw[at + 4:at + int(rest)], at + int(rest) + 2
    items = []
    for _ in range(int(rest) * (2 if kind == b"%" else 1)):
        item, at = _value(raw, at)
        items.append(item)
    if kind == b"%":
        return {k: v for k, v in zip(items[::2], items[1::2])}, at
    return items, at


class SickDisk:
    """Orders to sick_disk.so."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="quern-e2e-")
        self.env = {"LD_PRELOAD": os.environ["SICK_DISK"], "QUERN_SICK_DISK": self.dir,
                    "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}

    def order(self, what):
        with open(os.path.join(self.dir, what), "w", encoding="ascii"):
            pass

    def revoke(self, what):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.dir, what))

    def reads_begun(self):
        with contextlib.suppress(FileNotFoundError):
            return os.path.getsize(os.path.join(self.dir, "begun"))
        return 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir)


def answered(wire, seconds):
    """Is there an answer within this time? It stays to be read."""
    wire.socket.settimeout(seconds)
    try:
        return bool(wire.socket.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return False
    finally:
        wire.socket.settimeout(30)


def quote(key):
    return quote_from_bytes(key if isinstance(key, bytes) else key.encode(), safe="")


def request(method, target, body=None, fields=()):
    head = [f"{method} {target} HTTP/1.1", "Host: localhost"]
    head += [f"{name}: {value}" for name, value in fields]
    if body is not None:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + (body or b"")


def curl(*arguments, data=None):
    """Real curl; returns (status, body)."""
    done = subprocess.run(["curl", "-sS", "-w", "\n%{http_code}", "--max-time", "60", *arguments],
                          input=data, stdout=subprocess.PIPE, check=True)
    body, status = done.stdout.rsplit(b"\n", 1)
    return int(status), body


def until(condition, what, limit=120):
    """Wait until it holds."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not after {limit} s: {what}")
        time.sleep(0.01)


def seeded():
    """What a random test draws from; TEST_SEED=n draws the same again."""
    seed = int(os.environ.get("TEST_SEED", random.randrange(1 << 32)))
    print(f"# TEST_SEED={seed}")
    return random.Random(seed)


class Skip(Exception):
    """What a test needs is not there."""


TESTS = []


def test(function):
    TESTS.append(function)
    return function


def equal(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what}: got {str(got)[:400]!r}, wanted {str(want)[:400]!r}")


def main():
    """Run the tests whose name contains an argument (all without), and print TAP."""
    wanted = [a for a in sys.argv[1:] if not a.startswith("-")]
    chosen = [t for t in TESTS if not wanted or any(w in t.__name__ for w in wanted)]
    failed = 0
    print(f"1..{len(chosen)}", flush=True)
    for number, function in enumerate(chosen, 1):
        began = time.monotonic()
        try:
            function()
            print(f"ok {number} - {function.__name__} # {time.monotonic() - began:.2f} s", flush=True)
        except Skip as why:
            print(f"ok {number} - {function.__name__} # SKIP {why}", flush=True)
        except Exception:  # a test may fail in any way
            failed += 1
            print("# " + traceback.format_exc().replace("\n", "\n# "))
            print(f"not ok {number} - {function.__name__}", flush=True)
    sys.exit(1 if failed else 0)
