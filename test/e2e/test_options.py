#!/usr/bin/env python3
"""test_options.py - flags, environment and file say the same things by one table, and whoever has the
last word is told."""

import os
import re
import subprocess
import tempfile

from quernd import BINARY, Server, equal, main, test

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
           "NAME": "a.example", "ORIGIN": "https://a.example", "": "true"}


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


@test
def the_page_on_operations_has_the_table_of_options():
    printed = run("--print-options")[1]
    with open(OPERATIONS, encoding="utf-8") as f:
        assert printed in f.read(), "docs/operations.md: put the output of quernd --print-options there"


if __name__ == "__main__":
    main()
