"""real_redis.py - a real redis-server beside quernd: the same commands are sent to both."""

import random
import shutil
import subprocess
import tempfile

from quernd import Resp, Skip, equal, until, value_of


def need(program):
    if shutil.which(program) is None:
        raise Skip(f"no {program} here")


class RealRedis:
    """A private redis-server on a free port of 127.0.0.1, without a file."""

    def __enter__(self):
        need("redis-server")
        self.dir = tempfile.mkdtemp(prefix="quern-e2e-")
        self.process = None
        for _ in range(20):
            port = random.randrange(20000, 30000)
            process = subprocess.Popen(
                ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly",
                 "no", "--slowlog-log-slower-than", "-1", "--dir",
                 self.dir], stdout=subprocess.DEVNULL)
            try:
                until(lambda: process.poll() is not None or self._answers(port), "redis-server", 10)
            except AssertionError:
                process.kill()
                raise
            if process.poll() is None:
                self.process, self.port = process, port
                return self
        raise Skip("no redis-server came up")

    @staticmethod
    def _answers(port):
        try:
            with Resp(port, 2) as r:
                return r.call("PING") == "PONG"
        except OSError:
            return False

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)
        shutil.rmtree(self.dir, ignore_errors=True)


def same(theirs, ours, words, said=(), alike=None):
    """Send it to both: the replies must be the same bytes, or `alike` as values."""
    theirs.write(*words)
    ours.write(*words)
    want, got = theirs.raw(), ours.raw()
    if want != got and not (alike and alike(value_of(got), value_of(want))):
        for earlier in said:
            print(f"# {earlier}")
        equal(got, want, words)
    return got
