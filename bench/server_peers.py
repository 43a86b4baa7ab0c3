"""server_peers.py - the servers that bench/server measures: quernd and its peers, each started in a
directory of its own, on loopback, pinned to one core, and ended by its process id."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time

SERVER_CORE, LOAD_CORE = "0", "1"
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def pinned(core, command):
    return ["taskset", "-c", core, *[str(word) for word in command]]


class Peer:
    """A server with all of its processes. `url` and `port` are how to reach it."""

    def __init__(self, name, directory):
        self.name = name
        self.dir = os.path.join(directory, name)
        os.makedirs(self.dir)
        self.processes = []
        self.log = open(os.path.join(self.dir, "log"), "wb")

    def run(self, *command, env=None):
        self.processes.append(subprocess.Popen(
            pinned(SERVER_CORE, command), stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT,
            cwd=self.dir, env=None if env is None else {**os.environ, **env}))

    def wait(self, port):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if self.processes[-1].poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return port
            except OSError:
                time.sleep(0.05)
        with open(self.log.name, "rb") as log:
            raise RuntimeError(f"{self.name} did not come up: {log.read()[-2000:].decode('utf-8', 'replace')}")

    def cpu_seconds(self):
        """Processor time of its processes and their children so far."""
        total = 0
        for process in self.processes:
            for pid in [process.pid, *children_of(process.pid)]:
                try:
                    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
                        fields = stat.read().rsplit(")", 1)[1].split()
                    total += int(fields[11]) + int(fields[12])
                except OSError:
                    pass
        return total / TICKS

    def stop(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as children:
            return [int(word) for word in children.read().split()]
    except OSError:
        return []


def quern(binary, directory, name="quern", *options, wrapper=()):
    peer = Peer(name, directory)
    port, resp = free_port(), free_port()
    peer.run(*wrapper, binary, "--data", os.path.join(peer.dir, "data"), "--port", port, "--resp-listen",
             f"127.0.0.1:{resp}", "--loops", 1, *options)
    peer.url = f"http://127.0.0.1:{peer.wait(port)}"
    peer.port = peer.wait(resp)
    return peer


def nginx(directory, body):
    peer = Peer("nginx", directory)
    port = free_port()
    config = os.path.join(peer.dir, "nginx.conf")
    temporary = "".join(f"{kind}_temp_path {peer.dir}/tmp;" for kind in
                        ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    with open(config, "w", encoding="utf-8") as f:
        f.write(f"daemon off; master_process off; worker_processes 1; pid {peer.dir}/pid; error_log {peer.dir}/err;"
                "events { worker_connections 1024; }"
                f"http {{ access_log off; keepalive_requests 1000000000; {temporary}"
                f"server {{ listen 127.0.0.1:{port}; location / {{ return 200 '{body}'; }} }} }}")
    peer.run("/usr/sbin/nginx", "-c", config, "-p", peer.dir, "-e", f"{peer.dir}/err")
    peer.url = f"http://127.0.0.1:{peer.wait(port)}"
    return peer


def redis(directory, name, *options):
    peer = Peer(name, directory)
    port = free_port()
    peer.run("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", peer.dir, *options)
    peer.port = peer.wait(port)
    return peer


def webdis(directory):
    """webdis, and the redis behind it, on one core."""
    peer = redis(directory, "webdis", "--appendonly", "no")
    port = free_port()
    config = os.path.join(peer.dir, "webdis.json")
    with open(config, "w", encoding="utf-8") as f:
        json.dump({"redis_host": "127.0.0.1", "redis_port": peer.port, "http_host": "127.0.0.1", "http_port": port,
                   "threads": 1, "pool_size": 20, "daemonize": False, "websockets": False, "verbosity": 0,
                   "logfile": os.path.join(peer.dir, "webdis.log")}, f)
    peer.run("webdis", config)
    peer.url = f"http://127.0.0.1:{peer.wait(port)}"
    return peer


def etcd(directory):
    peer = Peer("etcd", directory)
    port, other = free_port(), free_port()
    client, members = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{other}"
    peer.run("etcd", "--data-dir", os.path.join(peer.dir, "data"), "--listen-client-urls", client,
             "--advertise-client-urls", client, "--listen-peer-urls", members, "--initial-advertise-peer-urls", members,
             "--initial-cluster", f"default={members}", env={"GOMAXPROCS": "1"})
    peer.url = f"http://127.0.0.1:{peer.wait(port)}"
    time.sleep(1)  # it elects itself
    return peer
