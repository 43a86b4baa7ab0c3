#!/usr/bin/env python3
"""test_options.py - flags, environment and file say the same things by one table, and whoever has the
last word is told."""

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile

from quernd import BINARY, Refused, Server, equal, main, request, test, until
from v1 import is_problem

OPERATIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/operations.md")


def run(*options, env=None):
    """(status, standard output, standard error)"""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("QUERN_")}
    done = subprocess.run([BINARY, *options], capture_output=True, text=True, timeout=60, check=False,
                          env={**clean, **(env or {})})
    return done.returncode, done.stdout, done.stderr


def file_of(text):
    f = tempfile.NamedTemporaryFile("wb", prefix="quern-e2e-", suffix=".conf")
    f.write(text.encode() if isinstance(text, str) else text)
    f.flush()
    return f


def config(*options, env=None):
    """{name: (value, source)} of --print-config; what is not set is not there."""
    status, out, err = run("--print-config", *options, env=env)
    equal((status, err), (0, ""))
    found = re.findall(r"^(?:# )?([a-z-]+) = (.*?)  ; (.*)$", out, re.M)
    return {name: (value, source) for name, value, source in found}


def table():
    """(name, kind of value, default) of each option that is no action."""
    status, out, _ = run("--print-options")
    equal(status, 0)
    return re.findall(r"^\| `--([a-z-]+)(?: ([^`]*))?` \| `(QUERN_[A-Z_]+)` \| (?:`([^`]*)` )?\|", out,
                      re.M)


SAMPLES = {"DIR": "/tmp", "LEVEL": "os", "FORMAT": "json", "SEVERITY": "error", "SIZE": "2M", "TIME": "7s",
           "MODE": "strict", "N": "3", "ADDR": "127.0.0.9", "ADDR:PORT": "127.0.0.9:7",
           "NAME": "a.example", "PREFIX": "a/", "ORIGIN": "https://a.example", "": "true"}


@test
def a_flag_wins_over_the_environment_over_the_file_over_the_default():
    with file_of("# a comment\n\nmax-value = 1M ; another\n") as f:
        name = f.name
        equal(config()["max-value"], ("64M", "default"))
        equal(config("--config", name)["max-value"], ("1M", f"{name}:3"))
        env = {"QUERN_MAX_VALUE": "2M"}
        equal(config("--config", name, env=env)["max-value"], ("2M", "environment QUERN_MAX_VALUE"))
        equal(config("--config", name, "--max-value", "3M", env=env)["max-value"],
              ("3M", "flag --max-value"))
        equal(config(env={"QUERN_CONFIG": name})["max-value"], ("1M", f"{name}:3"))
        equal(config(env={"QUERN_MAX_VALUE": ""})["max-value"], ("64M", "default"), "empty: not set")


@test
def every_option_of_the_table_is_taken_from_all_three():
    rows = table()
    assert len(rows) > 15, rows
    for name, value, variable, default in rows:
        if name == "config":
            continue
        sample = SAMPLES.get(value) or {}.get(name)
        if value == "FILE":
            sample = "/dev/null"
        assert sample, f"no sample for --{name} {value}"
        equal(variable, "QUERN_" + name.upper().replace("-", "_"))
        equal(config(f"--{name}={sample}")[name], (sample, f"flag --{name}"))
        equal(config(env={variable: sample})[name], (sample, f"environment {variable}"))
        with file_of(f"{name} = {sample}\n") as f:
            equal(config("--config", f.name)[name], (sample, f"{f.name}:1"))
        equal(config().get(name, ("",))[0], default, name)


@test
def a_list_of_a_later_source_replaces_that_of_an_earlier_one():
    with file_of("listen = 127.0.0.1\nlisten = 127.0.0.2, ::1\n") as f:
        equal(config("--config", f.name)["listen"], ("127.0.0.1, 127.0.0.2, ::1", f"{f.name}:2"))
        env = {"QUERN_LISTEN": "127.0.0.3,127.0.0.4"}
        equal(config("--config", f.name, env=env)["listen"][0], "127.0.0.3, 127.0.0.4")
        equal(config("--config", f.name, "--listen", "::1", "--listen=127.0.0.5", env=env)["listen"],
              ("::1, 127.0.0.5", "flag --listen"))
    equal(config(env={"QUERN_RESP_LISTEN": "off"})["resp-listen"][0], "off")


@test
def what_print_config_says_is_a_file_that_says_the_same():
    options = ("--durability", "interval:50", "--listen", "127.0.0.1,::1", "--resp-listen", "off",
               "--insecure-no-auth", "--allowed-host", "a.example", "--max-value", "1M")
    _, out, _ = run("--print-config", *options)
    with file_of(out) as f:
        equal({k: v[0] for k, v in config("--config", f.name).items() if k != "config"},
              {k: v[0] for k, v in config(*options).items()})


@test
def all_that_is_wrong_in_a_file_is_said_with_its_line():
    text = ("max-vale = 1M\n"
            "port = 70000\n"
            "just words\n"
            "data = /tmp\n"
            "data = /srv\n"
            "help = true\n"
            "config = other\n"
            "resp-listen = 127.0.0.1:1,,\n"
            "allowed-host = " + "x" * 300 + "\n"
            "nonsense = 1\n"
            "[server]\n"
            "port = 1\n")
    with file_of(text) as f:
        status, out, err = run("--config", f.name)
        equal((status, out), (1, ""))
        for line, words in [
                (1, "there is no option max-vale; did you mean max-value?"),
                (2, "port = 70000: must be a number from 0 to 65535"), (3, "write NAME = VALUE"),
                (5, "data was given in line 4 already"), (6, "help is not for the file"),
                (7, "config is not for the file"), (8, "empty member"), (9, "over 197 bytes"),
                (10, "there is no option nonsense; quernd --help lists"),
                (12, "there are no sections")]:
            assert f"{f.name}:{line}: " in err and words in err, (line, words, err)
        equal(run("--config", f.name, "--print-config")[0], 1)
        equal(run("--config", f.name, "--help")[0], 0)
    with file_of(b"port = 1\0\nx\n" + b"y" * 2000000) as f:
        status, _, err = run("--config", f.name)
        equal(status, 1)
        assert "zero byte" in err and "over 1 MiB" in err, err
    status, _, err = run("--config", "/nonexistent/q.conf")
    equal(status, 1)
    assert "cannot read --config /nonexistent/q.conf: No such file" in err, err
    equal(run("--config", "/tmp")[0], 1)


@test
def the_environment_is_checked_as_well():
    for env, words in [({"QUERN_PORT": "x"}, "QUERN_PORT=x: must be a number from 0 to 65535"),
                       ({"QUERN_LISTN": "::1"}, "did you mean QUERN_LISTEN?"),
                       ({"QUERN_INSECURE_NO_AUTH": "perhaps"}, "must be true or false")]:
        status, _, err = run(env=env)
        equal(status, 2, env)
        assert words in err, err
    equal(run("--print-config", env={"QUERN_URL": "http://127.0.0.1:1", "QUERN_DB": "x"})[0], 0,
          "names of the client")
    equal(run("--check-config", "--insecure-no-auth=false", "--listen", "0.0.0.0",
              env={"QUERN_INSECURE_NO_AUTH": "1"})[0], 1, "a flag takes back what the environment says")


@test
def check_config_touches_nothing():
    with tempfile.TemporaryDirectory() as d:
        data = os.path.join(d, "data")
        equal(run("--data", data, "--check-config"), (0, "the configuration is well\n", ""))
        equal(run("--data", data, "--check-config", "--listen", "localhost")[0], 2)
        equal(run("--data", data, "--check-config", "--listen", "0.0.0.0")[0], 1)
        equal(run("--data", data, "--check-config", "--resp-listen", "127.0.0.1")[0], 2)
        equal(os.listdir(d), [])


@test
def a_server_does_what_its_file_says():
    with file_of("max-value = 10\nresp-listen = off\ndurability = os\n") as f:
        with Server("--config", f.name) as s, s.connect() as w, s.connect() as other:
            equal(w.put("k", b"x" * 11).status, 413)
            equal(other.put("k", b"x" * 10).fields["quern-durability"], "buffered")
            assert s.resp_port != 0, "the harness names a Redis port, and a flag goes before the file"


def patch(w, **options):
    return w.ask("PATCH", "/v1/admin/config", json.dumps({k.replace("_", "-"): v for k, v in options.items()}).encode())


def options_of(r):
    equal(r.status, 200, r)
    return {o["name"]: o for o in json.loads(r.body)["options"]}


def value_of(w, name):
    return options_of(w.ask("GET", "/v1/admin/config"))[name]["value"]


def changeable():
    printed = run("--print-options")[1]
    return {name for name, rest in re.findall(r"^\| `--([a-z-]+)(.*)$", printed, re.M) if rest.endswith("<br>changeable while it runs |")}


@test
def the_table_says_what_changes_while_it_runs_and_all_else_is_refused_by_its_name():
    may = changeable()
    equal(may & {"log-level", "slow-log", "access-log", "max-value", "data", "memory", "token-file"}, {"log-level", "slow-log", "access-log", "max-value"})
    with Server() as s, s.connect() as w:
        found = options_of(w.ask("GET", "/v1/admin/config"))
        equal({name for name, o in found.items() if o["changeable"]}, may)
        for name, kind, _, _ in table():
            value = {"FILE": "off", "N": 3}.get(kind, SAMPLES.get(kind, "x"))
            r = patch(w, **{name: value})
            if name in may:
                told = options_of(r)[name]
                equal((told["value"], told["source"]), (str(value), "changed while it ran"), name)
            else:
                equal(is_problem(r, 422, "option_not_changeable")["option"], name)
        equal(value_of(w, "memory"), "256M")


@test
def all_of_a_change_is_done_or_none_of_it():
    with Server("--max-connections", "9") as s, s.connect() as w:
        for options, code, named in (({"slow_log": "1ms", "log_level": "loud"}, "bad_option", "log-level"), ({"slow_log": "1ms", "max_connections": 10}, "bad_option", "max-connections"),
                                     ({"slow_log": "1ms", "nope": "1"}, "unknown_option", "nope"), ({"slow_log": "1ms", "port": 1}, "option_not_changeable", "port"),
                                     ({"slow_log": "1ms", "access_log": "/nowhere/at/all"}, "bad_option", "access-log"), ({"slow_log": "1ms", "help": True}, "unknown_option", "help")):
            equal(is_problem(patch(w, **options), 422, code)["option"], named)
            equal(value_of(w, "slow-log"), "10ms")
        for body in (b"", b"[]", b"{", b'{"slow-log":null}', b'{"slow-log":"1ms","slow-log":"2ms"}', b'{"slow-log":1.5}'):
            is_problem(w.ask("PATCH", "/v1/admin/config", body), 400, "bad_json")
        equal(options_of(patch(w))["slow-log"]["value"], "10ms")


class LogMoves:
    """A server whose configuration file names its access log; `to` names another, by SIGHUP."""

    def __enter__(self):
        self.made = tempfile.TemporaryDirectory(prefix="quern-e2e-")
        self.dir = self.made.name
        self.path = os.path.join(self.dir, "quernd.conf")
        self.name("off")
        self.server = Server("--config", self.path, data=os.path.join(self.dir, "data"))
        self.server.__enter__()
        return self

    def __exit__(self, *what):
        self.server.__exit__(*what)
        self.made.cleanup()

    def name(self, log):
        with open(self.path, "w", encoding="ascii") as f:
            f.write(f"access-log = {log}\n")

    def to(self, w, log):
        self.name(log)
        self.server.process.send_signal(signal.SIGHUP)
        until(lambda: value_of(w, "access-log") == log, "the file was read again")


@test
def what_is_asked_for_after_a_change_stands_in_the_new_access_log_though_the_old_one_is_stuck():
    with LogMoves() as moves, moves.server.connect() as w:
        pipe, new = os.path.join(moves.dir, "pipe"), os.path.join(moves.dir, "new")
        os.mkfifo(pipe)
        end = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(end, b"x" * 4096)
        moves.to(w, pipe)
        for _ in range(3):
            w.get("k")
        moves.to(w, new)
        for _ in range(10):
            w.get("k")
        taken = b""
        while taken.count(b"route=/get") < 3:
            with contextlib.suppress(BlockingIOError):
                taken += os.read(end, 65536)
        until(lambda: open(new, encoding="ascii").read().count("route=/get") == 10, "the new one has them")
        equal(taken.count(b"route=/get"), 3)
        os.close(end)


@test
def a_client_turns_the_access_log_on_and_off_and_names_no_file():
    with tempfile.TemporaryDirectory(prefix="quern-e2e-") as d:
        mine = os.path.join(d, "mine")
        with Server("--access-log", mine, data=os.path.join(d, "data")) as s, s.connect() as w:
            before = sorted(os.listdir(d))
            for value in (False, True, 5, os.path.join(s.data, "new"), os.path.join(d, "new"), "new", os.path.join(d, "data", "..", "mine")):
                equal(is_problem(patch(w, access_log=value, slow_log="1ms"), 422, "bad_option")["option"], "access-log", value)
            equal((sorted(os.listdir(d)), value_of(w, "access-log"), value_of(w, "slow-log")), (before, mine, "10ms"))
            for value in ("off", "-", mine):
                options_of(patch(w, access_log=value))
                equal(value_of(w, "access-log"), value)


@test
def a_change_is_heeded_at_once_and_seen_by_both_doors():
    with Server("--log-level", "warning") as s, s.connect() as w, s.resp() as r:
        equal(w.put("k", b"x" * 2000).status, 200)
        options_of(patch(w, max_value="1K", slow_log="123us", slow_log_length=7, max_connections=5, latency_log="8ms"))
        with s.connect() as one:
            equal(one.put("k", b"x" * 2000).status, 413)
        equal(json.loads(w.ask("GET", "/v1/admin/limits").body)["value_bytes_max"], 1024)
        for name, value in (("slowlog-log-slower-than", b"123"), ("slowlog-max-len", b"7"), ("maxclients", b"5"), ("latency-monitor-threshold", b"8")):
            equal(r.call("CONFIG", "GET", name)[1], value, name)
        equal(r.call("CONFIG", "SET", "slowlog-log-slower-than", "-1", "maxclients", "4"), "OK")
        equal((value_of(w, "slow-log"), value_of(w, "max-connections")), ("off", "4"))
        equal(r.call("CONFIG", "SET", "maxclients", "3", "slowlog-max-len", "-1").__class__, Refused)
        equal(value_of(w, "max-connections"), "4")
        assert "slow-log is now" not in s.stderr()
        options_of(patch(w, log_level="info", slow_log="7ms"))
        s.wait_told("slow-log is now 7ms")


@test
def an_access_log_is_begun_moved_and_ended_while_it_runs():
    with LogMoves() as moves, moves.server.connect() as w:
        one, two = os.path.join(moves.dir, "one"), os.path.join(moves.dir, "two")
        lines = lambda path: open(path, encoding="ascii").read().count("route=/get")
        w.get("k")
        for path in (one, two, one):
            before = lines(path) if os.path.exists(path) else 0
            moves.to(w, path)
            for _ in range(10):
                w.get("k")
            until(lambda: lines(path) == before + 10, path)
        options_of(patch(w, access_log="off"))
        for _ in range(10):
            w.get("k")
        moves.to(w, two)
        w.get("k")
        until(lambda: lines(two) == 11, "after it was off")
        equal((lines(one), lines(two)), (20, 11))


@test
def sighup_makes_what_may_change_as_its_sources_say_it_now():
    with tempfile.TemporaryDirectory(prefix="quern-e2e-") as d:
        path = os.path.join(d, "quernd.conf")

        def write(text):
            with open(path, "w", encoding="ascii") as f:
                f.write(text)

        write("slow-log = 1ms\nmax-value = 5K\nidle-timeout = 30s\n")
        with Server("--config", path, "--max-value", "7K") as s, s.connect() as w:
            equal([value_of(w, n) for n in ("slow-log", "max-value", "idle-timeout")], ["1ms", "7K", "30s"])
            options_of(patch(w, header_timeout="3s", slow_log="2ms"))
            write("\nslow-log = 4ms\nmax-value = 6K\ncompact-interval = 5s\n")
            s.process.send_signal(signal.SIGHUP)
            s.wait_told("compact-interval is another now, which takes a restart")
            until(lambda: value_of(w, "slow-log") == "4ms", "the file was read again")
            until(lambda: value_of(w, "idle-timeout") == "60s", "what is not in the file any more is at its default")
            found = options_of(w.ask("GET", "/v1/admin/config"))
            equal([found[n]["value"] for n in ("max-value", "header-timeout", "compact-interval")], ["7K", "10s", "10s"])
            equal(found["slow-log"]["source"], f"{path}:2")
            write("slow-log = 9ms\nmax-valu = 1\n")
            s.process.send_signal(signal.SIGHUP)
            s.wait_told("the options stay as they were")
            s.wait_told("did you mean max-value")
            equal(value_of(w, "slow-log"), "4ms")
            write("access-log = /nowhere/at/all\nslow-log = 9ms\n")
            s.process.send_signal(signal.SIGHUP)
            s.wait_told("access-log: open /nowhere/at/all")
            until(lambda: value_of(w, "slow-log") == "9ms", "the others are done")


@test
def memory_may_be_a_share_of_what_there_is_and_what_it_comes_to_is_told():
    value, source = config("--memory", "25%")["memory"]
    equal(value, "25%")
    found = re.fullmatch(r"flag --memory: (\d+)M", source)
    with open("/proc/meminfo", encoding="ascii") as f:
        total = int(re.search(r"MemTotal: +(\d+) kB", f.read()).group(1)) // 1024
    assert 1 <= int(found.group(1)) <= total // 4, (source, total)
    half = int(re.search(r": (\d+)M", config("--memory", "50%")["memory"][1]).group(1))
    assert abs(half - 2 * int(found.group(1))) <= 2, (half, source)
    with Server("--memory", "1%") as s, s.connect() as w:
        told = options_of(w.ask("GET", "/v1/admin/config"))["memory"]
        budget = json.loads(w.ask("GET", "/stats").body)["store"]["memory_budget"]
        equal((told["value"], told["resolved"]), ("1%", f"{budget >> 20}M"))
    for wrong in ("101%", "%", "25 %", "-1%", "0%"):
        equal(run("--memory", wrong, "--check-config")[0], 2, wrong)


@test
def a_name_that_no_host_field_can_have_is_refused():
    for name in ("kv.example", "192.0.2.1", "[2001:db8::1]"):
        equal(run("--allowed-host", name, "--check-config")[0], 0, name)
    for name in ("kv.example:8080", "https://kv.example", "kv.example/", "2001:db8::1", "a b", "*"):
        status, _, err = run("--allowed-host", name, "--check-config")
        equal(status, 2, name)
        assert "without scheme and port" in err, err


@test
def the_help_names_the_words_that_an_option_takes():
    _, text, _ = run("--help")
    rows = re.split(r"^  --", text, flags=re.M)[1:]
    for name, words in (("durability", "always interval:MS os"), ("recover", "tail strict point-in-time"),
                        ("log-format", "text logfmt json"), ("log-level", "debug info warning error")):
        row = next(r for r in rows if r.startswith(name + " "))
        for word in words.split():
            assert re.search(rf"\b{word}\b", row), (word, row)


@test
def the_page_on_operations_has_the_table_of_options():
    printed = run("--print-options")[1]
    with open(OPERATIONS, encoding="utf-8") as f:
        assert printed in f.read(), "docs/operations.md: put the output of quernd --print-options there"


if __name__ == "__main__":
    main()
