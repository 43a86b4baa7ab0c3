#!/usr/bin/env python3
"""test_access.py - who gets in, by which way, and to which keys: tokens, scopes, prefixes, unix sockets.

Each test tries to come by something it must not have; docs/security.md names them."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile

from quernd import BINARY, Refused, Resp, Server, SickDisk, Wire, answered, command, curl, equal, main, quote, request, test, until

QUERN = os.environ.get("QUERN", "")
DENIED = Refused("NOPERM this user has no permissions to access one of the keys used as arguments")
NOAUTH = Refused("NOAUTH Authentication required.")
WRONGPASS = Refused("WRONGPASS invalid username-password pair or user is disabled.")


def quern(*arguments, env=None):
    done = subprocess.run([QUERN, *arguments], capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, **(env or {})})
    return done.returncode, done.stdout, done.stderr


@contextlib.contextmanager
def directory():
    path = tempfile.mkdtemp(prefix="quern-e2e-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Tokens:
    """A token file; tokens by name."""

    def __init__(self, path):
        self.path = os.path.join(path, "tokens")
        self.of = {}

    def make(self, name, scopes, *more):
        status, out, err = quern("token", "create", self.path, name, "--scopes", scopes, *more)
        equal((status, err), (0, ""))
        self.of[name] = out.strip()
        return self.of[name]

    def field(self, name):
        return [("Authorization", "Bearer " + self.of[name])]


@contextlib.contextmanager
def guarded(*options):
    """A server and its tokens: all (everything), reader, writer, admin, app (read and write below app/
    alone)."""
    with directory() as d:
        t = Tokens(d)
        t.make("all", "read,write,admin")
        t.make("reader", "read")
        t.make("writer", "write")
        t.make("admin", "admin")
        t.make("app", "read,write", "--prefix", "app/")
        with Server("--token-file", t.path, *options) as s:
            yield s, t


ROUTES = [  # method, target, body, what it takes: the scopes, or None: nothing
    ("POST", "/set?key=app/r&value=1", None, "write"), ("GET", "/get?key=app/r", None, "read"),
    ("DELETE", "/del?key=app/r", None, "write"),
    ("PUT", "/v1/kv/app/r", b"1", "write"), ("GET", "/v1/kv/app/r", None, "read"),
    ("HEAD", "/v1/kv/app/r", None, "read"), ("GET", "/v1/kv?key=app/r", None, "read"),
    ("POST", "/v1/kv/app/r?op=append", b"1", "read write"),
    ("POST", "/v1/kv/app/r?op=getset", b"1", "read write"),
    ("POST", "/v1/kv/app/n?op=incr", None, "read write"),
    ("DELETE", "/v1/kv/app/r?return=old", None, "read write"),
    ("PUT", "/v1/kv/app/r", b"1", "write"), ("DELETE", "/v1/kv/app/r", None, "write"),
    ("GET", "/v1/keys?prefix=app/", None, "read"),
    ("POST", "/v1/batch", b'{"ops":[{"op":"get","key":"app/r"}]}', "read"),
    ("POST", "/v1/batch", b'{"ops":[{"op":"put","key":"app/r","value":"1"}]}', "write"),
    ("POST", "/v1/batch", b'{"ops":[{"op":"check","key":"app/r","exists":true},'
     b'{"op":"delete","key":"app/r"}]}', "read write"),
    ("POST", "/v1/batch", b'{"ops":[{"op":"delete_range","prefix":"app/none/"}]}', "write"),
    ("DELETE", "/v1/keys?prefix=app/none/", None, "write"), ("GET", "/v1/export?prefix=app/", None, "read"),
    ("POST", "/v1/snapshots?ttl=1s", None, "read"), ("DELETE", "/v1/snapshots/none", None, "read"),
    *(("POST", f"/v1/admin/{job}", None, "admin") for job in ("flush", "compact", "verify", "checkpoint?dir=one")),
    *(("GET", f"/v1/admin/{look}", None, "admin")
      for look in ("jobs", "jobs/1", "levels", "files", "events", "clients", "limits")),
    ("GET", "/v1/admin/stats", None, "admin"), ("GET", "/v1/admin/tls", None, "admin"),
    ("GET", "/v1/admin/slowlog", None, "admin"),
    ("GET", "/metrics", None, "read"), ("GET", "/v1/admin/config", None, "admin"), ("PATCH", "/v1/admin/config", b"{}", "admin"),
    ("GET", "/stats", None, "read"), ("GET", "/version", None, "read"),
    ("GET", "/livez", None, None), ("GET", "/readyz", None, None), ("GET", "/healthz", None, None),
    ("GET", "/v1/openapi.json", None, None), ("GET", "/", None, None),
]
IMPORT = ("POST", "/v1/import", b'{"key":"app/i","value":"1"}\n', "write")


def ask(s, method, target, body=None, fields=()):
    with s.connect() as w:
        return w.ask(method, target, body, fields)


@test
def every_route_asks_for_its_scope_and_no_other():
    scopes = {"reader": {"read"}, "writer": {"write"}, "admin": {"admin"}, "app": {"read", "write"},
              "all": {"read", "write", "admin"}}
    with guarded() as (s, t):
        for method, target, body, needs in ROUTES:
            what = f"{method} {target}"
            reply = ask(s, method, target, body)
            if needs is None:
                equal(reply.status, 200, what)
                continue
            equal(reply.status, 401, what)
            equal(reply.fields["www-authenticate"], 'Bearer realm="quern"', what)
            for name, has in scopes.items():
                reply = ask(s, method, target, body, t.field(name))
                lacking = set(needs.split()) - has
                if lacking:
                    equal(reply.status, 403, f"{what} as {name}")
                    assert 'error="insufficient_scope"' in reply.fields["www-authenticate"]
                    if target.startswith("/v1") and method != "HEAD":
                        equal(json.loads(reply.body)["code"], "insufficient_scope", what)
                else:
                    assert reply.status not in (401, 403), f"{what} as {name}: {reply}"


@test
def a_prefix_holds_in_every_database_and_no_database_opens_another():
    with guarded() as (s, t):
        app = t.field("app")
        for db in (0, 5):
            equal(ask(s, "PUT", f"/v1/kv/app/k?db={db}", b"%d" % db, app).status, 201)
            equal(ask(s, "GET", f"/v1/kv/app/k?db={db}", None, app).body, b"%d" % db)
            equal(ask(s, "GET", f"/v1/export?prefix=app/&db={db}", None, app).status, 200)
            for method, target in (("PUT", "/v1/kv/other"), ("GET", "/v1/kv/other"), ("DELETE", "/v1/keys?prefix=a"), ("GET", "/v1/keys?prefix=a"),
                                   ("GET", "/v1/export?prefix=a"), ("POST", "/v1/import")):
                mark = "&" if "?" in target else "?"
                equal(ask(s, method, f"{target}{mark}db={db}", b"x" if method in ("PUT", "POST") else None, app).status, 403, (method, target, db))
        equal(ask(s, "GET", "/v1/export?prefix=app/&all=true", None, app).status, 200)
        equal(ask(s, "GET", "/v1/export?all=true", None, app).status, 403)


@test
def what_names_no_keys_beforehand_wants_a_token_for_all():
    """And a range that is not wholly the token's is nobody's it."""
    with guarded() as (s, t):
        method, target, body, _ = IMPORT
        equal([ask(s, method, target, body, t.field(n)).status for n in ("reader", "admin", "writer", "all")], [403, 403, 200, 200])
        for method, target, body in (IMPORT[:3], ("DELETE", "/v1/keys?prefix=ap", None), ("DELETE", "/v1/keys?all=true", None),
                                     ("DELETE", "/v1/keys?start=app/&end=b", None), ("GET", "/v1/export", None), ("GET", "/v1/export?prefix=b", None),
                                     ("POST", "/v1/batch", b'{"ops":[{"op":"delete_range","prefix":"a"}]}'),
                                     ("POST", "/v1/batch", b'{"ops":[{"op":"delete_range","start":"app/","end":"b"}]}')):
            reply = ask(s, method, target, body, t.field("app"))
            equal((reply.status, json.loads(reply.body)["code"]), (403, "key_not_allowed"), target)
        equal(ask(s, "GET", "/get?key=app/i", None, t.field("reader")).body, b"1")


@test
def a_route_that_openapi_names_is_tried_above():
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/openapi.json"),
              encoding="utf-8") as f:
        paths = json.load(f)["paths"]
    tried = {(m, t.split("?")[0].replace("/v1/kv/app/r", "/v1/kv/{key}")
              .replace("/v1/kv/app/n", "/v1/kv/{key}").replace("/jobs/1", "/jobs/{id}")
              .replace("/snapshots/none", "/snapshots/{id}")) for m, t, _, _ in [*ROUTES, IMPORT]}
    tried |= {(m, "/v1/kv") for m, t in tried if t == "/v1/kv/{key}"}  # the same functions
    for path, methods in paths.items():
        for method in methods:
            if method in ("get", "put", "post", "delete") and path != "/shutdown":
                assert (method.upper(), path) in tried, f"{method} {path}: which scope has it?"


@test
def a_wrong_token_gets_nothing_and_is_not_told_why():
    with guarded() as (s, t):
        right = t.of["all"]
        for value in ["Bearer " + right[:-1], "Bearer " + right + "x", "Bearer", "Bearer ", "Basic " + right,
                      right, "bearer\t" + right, "Bearer " + right.lower(), "Bearer  " + right,
                      "Bearer quern_" + "A" * 43]:
            reply = ask(s, "GET", "/v1/kv/k", None, [("Authorization", value)])
            equal(reply.status, 401, value)
            equal(reply.fields["www-authenticate"], 'Bearer realm="quern", error="invalid_token"')
            equal(json.loads(reply.body)["code"], "invalid_token")
        equal(ask(s, "GET", "/v1/kv/k", None, [("authorization", "bEARER " + right)]).status, 404)
        with s.connect() as w:
            equal(w.ask("GET", "/get?key=k", None, t.field("all") + t.field("reader")).status, 400,
                  "two of them")
        reply = ask(s, "GET", "/get?key=k")
        equal((reply.status, reply.body),
              (401, b"error: this server asks for a token; send Authorization: Bearer TOKEN\n"))
        # The second request of a connection is judged anew.
        with s.connect() as w:
            equal(w.ask("GET", "/v1/kv/k", None, t.field("all")).status, 404)
            equal(w.ask("GET", "/v1/kv/k").status, 401)
        assert right not in s.stdout() + s.stderr()


@test
def who_is_limited_to_prefixes_is_not_told_how_many_keys_there_are():
    with guarded() as (s, t):
        equal(ask(s, "GET", "/stats", None, t.field("all")).status, 200)  # kept from now on
        equal(ask(s, "PUT", "/v1/kv/secret", b"v", t.field("all")).status, 201)
        for user, told in (("all", 1), ("reader", 1), ("app", None)):
            stats = ask(s, "GET", "/stats", None, t.field(user))
            equal(json.loads(stats.body)["live_keys"].get("0"), told, user)
            metrics = ask(s, "GET", "/metrics", None, t.field(user))
            equal((stats.status, metrics.status), (200, 200), user)
            equal(b'quern_live_keys{db="0"} 1\n' in metrics.body, told is not None, user)
            equal(b"quern_live_keys{" in metrics.body, told is not None, user)


@test
def no_way_leads_out_of_a_prefix_over_http():
    with guarded() as (s, t):
        mine, full = t.field("app"), t.field("all")
        for key in ("app/1", "app/2", "secret", "apq"):
            equal(ask(s, "PUT", f"/v1/kv/{key}", b"v", full).status, 201)
        b64 = "c2VjcmV0"  # secret
        for method, target, body in [
                ("GET", "/get?key=secret", None), ("POST", "/set?key=secret&value=x", None),
                ("POST", "/set?key=app", b"x"), ("DELETE", "/del?key=secret", None),
                ("GET", "/v1/kv/secret", None), ("GET", "/v1/kv/app", None),
                ("GET", "/v1/kv/apq", None), ("GET", "/v1/kv/%73ecret", None),
                ("GET", f"/v1/kv/{b64}?enc=b64u", None), ("GET", f"/v1/kv?key={b64}&enc=b64u", None),
                ("GET", "/v1/kv/app%2F..%2Fsecret", None), ("PUT", "/v1/kv/secret", b"x"),
                ("DELETE", "/v1/kv/secret", None), ("POST", "/v1/kv/secret?op=append", b"x"),
                ("POST", "/v1/kv/secret?op=incr", None), ("POST", "/v1/kv/secret?op=getset", b"x"),
                ("GET", "/v1/keys", None), ("GET", "/v1/keys?prefix=a", None),
                ("GET", "/v1/keys?prefix=app", None), ("GET", "/v1/keys?count=1", None),
                ("GET", "/v1/keys?start=app/", None), ("GET", "/v1/keys?start=app/&end=apq0", None),
                ("GET", "/v1/keys?end=app/", None), ("GET", "/v1/keys?start=a&end=app0", None),
                ("POST", "/v1/batch", b'{"ops":[{"op":"get","key":"app/1"},'
                 b'{"op":"get","key":"secret"}]}'),
                ("POST", "/v1/batch", b'{"ops":[{"op":"check","key":"secret","exists":true}]}'),
                ("POST", "/v1/batch", b'{"ops":[{"op":"put","key_b64":"c2VjcmV0","value":""}]}'),
                ("POST", "/v1/batch", b'{"ops":[{"op":"delete","key":"secret"}]}')]:
            reply = ask(s, method, target, body, mine)
            if target == "/v1/kv/app%2F..%2Fsecret":
                equal(reply.status, 404, "a key of its own: nothing is resolved")
                continue
            equal(reply.status, 403, f"{method} {target} {body}")
            if target.startswith("/v1"):
                equal(json.loads(reply.body)["code"], "key_not_allowed", target)
        form = ask(s, "POST", "/set", b"key=secret&value=x",
                   mine + [("Content-Type", "application/x-www-form-urlencoded")])
        equal(form.status, 403)
        for target in ("/v1/keys?prefix=app/", "/v1/keys?start=app/&end=app0",
                       "/v1/keys?start=app/1&end=app/z", "/v1/keys?prefix=app/&start=a"):
            reply = ask(s, "GET", target, None, mine)
            equal([i["key"] for i in json.loads(reply.body)["items"]], ["app/1", "app/2"], target)
        # A cursor that was made elsewhere leads nowhere else.
        cursor = json.loads(ask(s, "GET", "/v1/keys?start=s&limit=1&values=1&prefix=", None,
                                full).body).get("cursor", "ZnM")
        reply = ask(s, "GET", f"/v1/keys?prefix=app/&cursor={cursor}", None, mine)
        equal(json.loads(reply.body).get("items"), [])
        equal(ask(s, "GET", "/v1/kv/secret", None, full).body, b"v", "after all this")
        equal(ask(s, "GET", "/shutdown", None, mine).status, 403)


@test
def a_token_ends_when_it_expires_is_off_or_is_revoked():
    with guarded() as (s, t):
        gone = t.make("gone", "read", "--expires", "2020-01-01")
        later = t.make("later", "read", "--expires", "2d")
        until(lambda: ask(s, "GET", "/stats", None, t.field("later")).status == 200, "later is read")
        equal(ask(s, "GET", "/stats", None, t.field("gone")).status, 401)
        with s.resp() as r:
            equal(r.call("AUTH", gone), WRONGPASS)
            equal(r.call("AUTH", "later", later), "OK")
            equal(r.call("GET", "k"), None)
            equal(quern("token", "revoke", t.path, "later")[0], 0)
            s.process.send_signal(signal.SIGHUP)
            until(lambda: r.call("GET", "k") == NOAUTH, "a connection that was let in is out")
            equal(ask(s, "GET", "/stats", None, t.field("later")).status, 401)
        text = open(t.path, encoding="utf-8").read()
        with open(t.path, "w", encoding="utf-8") as f:
            f.write(text.replace("\nreader ", "\nreader ").replace(" read\n", " read off\n"))
        until(lambda: ask(s, "GET", "/stats", None, t.field("reader")).status == 401, "off")
        equal(ask(s, "GET", "/stats", None, t.field("all")).status, 200)


@test
def a_body_that_comes_after_its_token_was_revoked_is_not_taken():
    with guarded() as (s, t), s.connect() as plain, s.connect() as chunked:
        head = f"PUT /v1/kv/app/k HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {t.of['app']}\r\n"
        plain.send((head + "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n").encode())
        chunked.send((head + "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n").encode())
        for wire in (plain, chunked):
            equal(wire.read(interim=True).status, 100)
        equal(quern("token", "revoke", t.path, "app")[0], 0)
        s.process.send_signal(signal.SIGHUP)
        until(lambda: "tokens: 4 read" in s.stderr(), "the file was read again")
        plain.send(b"one")
        chunked.send(b"3\r\none\r\n0\r\n\r\n")
        equal([plain.read().status, chunked.read().status], [401, 401])
        equal(ask(s, "GET", "/v1/kv/app/k", None, t.field("all")).status, 404)


@test
def a_bad_token_file_is_refused_and_the_old_one_stays():
    with guarded() as (s, t):
        good = open(t.path, "rb").read()
        for bad in [b"all sha256:00 read\n", good + b"all " + good.split(b" ", 1)[1], b"\0", b"x\n",
                    good.replace(b"sha256:", b"md5:")]:
            with open(t.path, "wb") as f:
                f.write(bad)
            before = s.stderr().count("those from before stay")
            s.process.send_signal(signal.SIGHUP)
            until(lambda: s.stderr().count("those from before stay") > before, "it is said")
            equal(ask(s, "GET", "/stats", None, t.field("all")).status, 200)
            equal(ask(s, "GET", "/stats").status, 401)
        assert re.search(r"tokens: \S+tokens: line 1: ", s.stderr()), s.stderr()
        os.chmod(t.path, 0o644)
        s.process.send_signal(signal.SIGHUP)
        until(lambda: "can be read by everybody" in s.stderr(), "the mode is said")
        os.unlink(t.path)
        until(lambda: "is gone; those from before stay" in s.stderr(), "it is gone")
        equal(ask(s, "GET", "/stats", None, t.field("all")).status, 200)


@test
def a_token_file_that_others_may_read_is_not_taken():
    with directory() as d:
        t = Tokens(d)
        t.make("a", "read")
        equal(os.stat(t.path).st_mode & 0o777, 0o600)
        for mode, status in ((0o604, 1), (0o620, 1), (0o602, 1), (0o640, 0), (0o600, 0), (0o400, 0)):
            os.chmod(t.path, mode)
            done = subprocess.run([BINARY, "--token-file", t.path, "--check-config"], check=False,
                                  capture_output=True, text=True, timeout=60)
            equal(done.returncode, status, oct(mode))
            if status:
                assert "chmod g-w,o= " + t.path in done.stderr, done.stderr
        os.mkfifo(os.path.join(d, "pipe"), 0o600)
        for path in (os.path.join(d, "pipe"), d, os.path.join(d, "missing")):
            equal(subprocess.run([BINARY, "--token-file", path, "--check-config"], check=False,
                                 capture_output=True, timeout=60).returncode, 1, path)


@test
def beyond_loopback_takes_tokens():
    with guarded("--listen", "0.0.0.0") as (s, t):
        assert "access: with a token, of the 5 in" in s.stdout(), s.stdout()
        equal(ask(s, "GET", "/stats").status, 401)
    with Server() as s:
        assert "access: without a token, for whoever is on this machine" in s.stdout()
        assert f"stop with: curl http://127.0.0.1:{s.port}/shutdown\n" in s.stdout(), s.stdout()
    with Server("--listen", "0.0.0.0", "--insecure-no-auth") as s:
        assert "WARNING: no access control" in s.stdout()
        assert f"stop with: kill {s.process.pid}\n" in s.stdout(), "not from another address than loopback"


@test
def with_tokens_only_an_admin_shuts_down():
    with guarded() as (s, t):
        assert f"stop with: kill {s.process.pid}\n" in s.stdout(), "curl would need a token"
        equal(ask(s, "GET", "/shutdown").status, 401, "though it comes from this machine")
        for name in ("reader", "writer", "app"):
            equal(ask(s, "GET", "/shutdown", None, t.field(name)).status, 403, name)
        with s.resp() as r:
            equal(r.call("SHUTDOWN"), NOAUTH)
            equal(r.call("AUTH", t.of["reader"]), "OK")
            assert "NOPERM" in str(r.call("SHUTDOWN"))
        reply = ask(s, "GET", "/shutdown", None, t.field("admin"))
        equal(reply.status, 200)
        assert reply.body.endswith(b"bye\n")
        equal(s.process.wait(60), 0)


@test
def no_page_of_another_site_gets_further_with_a_token():
    with guarded() as (s, t):
        reply = ask(s, "POST", "/set?key=k&value=v", None,
                    t.field("all") + [("Origin", "http://evil.example")])
        equal(reply.status, 403)
        with s.connect() as w:
            w.send(b"GET /get?key=k HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer "
                   + t.of["all"].encode() + b"\r\n\r\n")
            equal(w.read().status, 421)


# ------------------------------------------------------------------ the Redis protocol


@test
def nobody_gets_in_without_a_token_over_resp():
    with guarded() as (s, t), s.resp() as r:
        hello = Refused("NOAUTH HELLO must be called with the client already authenticated, otherwise "
                        "the HELLO AUTH <user> <pass> option can be used to authenticate the client "
                        "and select the RESP protocol version at the same time")
        for words, want in [
                (("PING",), NOAUTH), (("GET", "k"), NOAUTH), (("SET", "k", "v"), NOAUTH),
                (("MULTI",), NOAUTH), (("ACL", "WHOAMI"), NOAUTH), (("INFO",), NOAUTH),
                (("KEYS", "*"), NOAUTH), (("HELLO", "3"), hello), (("HELLO",), hello),
                (("HELLO", "3", "AUTH", "all", "x"), WRONGPASS), (("AUTH", "x"), WRONGPASS),
                (("AUTH", "all", t.of["reader"]), WRONGPASS), (("AUTH", "nobody", t.of["all"]), WRONGPASS),
                (("AUTH", "a", "b", "c"), Refused("ERR syntax error")),
                (("GET",), Refused("ERR wrong number of arguments for 'get' command")),
                (("RESET",), "RESET"), (("EXEC",), NOAUTH)]:
            equal(r.call(*words), want, words)
        equal(r.call("AUTH", "default", t.of["all"]), "OK")
        equal(r.call("ACL", "WHOAMI"), b"all")
        equal(r.call("SET", "k", "v"), "OK")
        equal(r.call("AUTH", "reader", "x"), WRONGPASS)
        equal(r.call("ACL", "WHOAMI"), b"all", "a failed AUTH changes nothing")
        assert b"user=all " in r.call("CLIENT", "INFO")
        equal(r.call("RESET"), "RESET")
        equal(r.call("GET", "k"), NOAUTH)
        equal(r.call("HELLO", "3", "AUTH", "reader", t.of["reader"])[b"proto"], 3)
        equal(r.call("GET", "k"), b"v")


@test
def a_refusal_comes_in_its_turn():
    refused = Refused("NOPERM this user has no permissions to run the 'dbsize' command")
    with guarded() as (s, t), s.resp() as r:
        equal(r.call("AUTH", t.of["app"]), "OK")
        asked = [(("SET", "app/k", "v"), "OK"), (("SET", "k", "v"), DENIED), (("INCR", "app/n"), 1),
                 (("INCR", "n"), DENIED), (("DBSIZE",), refused), (("GET", "app/k"), b"v"), (("GET", "k"), DENIED),
                 (("OBJECT", "ENCODING", "k"), DENIED), (("MGET", "app/k", "app/n"), [b"v", b"1"]),
                 (("MULTI",), "OK"), (("SET", "app/k", "w"), "QUEUED"), (("SET", "k", "w"), DENIED),
                 (("EXEC",), Refused("EXECABORT Transaction discarded because of previous errors.")),
                 (("GET", "app/k"), b"v")]
        for _ in range(20):
            r.send(b"".join(command(*words) for words, _ in asked) + command("DEL", "app/n", "app/k"))
            equal([r.answer() for _ in asked], [want for _, want in asked])
            equal(r.answer(), 2)
        r.send(command("SET", "app/k", "v") + b"SET / HTTP/1.1\r\n")
        equal(r.answer(), "OK")
        equal(r.raw(), b"HTTP/1.1 400 Bad Request\r\n")


@test
def what_is_refused_is_not_read():
    with guarded() as (s, t), s.resp() as nobody, s.resp() as app, s.resp() as full:
        equal(app.call("AUTH", t.of["app"]), "OK")
        equal(full.call("AUTH", t.of["all"]), "OK")

        def gets():
            return json.loads(full.call("QUERN.STATS"))["gets"]
        before = gets()
        for words in (("OBJECT", "ENCODING", "k"), ("WATCH", "k"), ("MEMORY", "USAGE", "k"), ("GET", "k"),
                      ("DUMP", "k"), ("INCR", "k"), ("COPY", "k", "l"), ("MOVE", "k", "1"), ("LCS", "k", "l")):
            equal(nobody.call(*words), NOAUTH, words)
            equal(app.call(*words), DENIED, words)
        equal(gets(), before)


@test
def strangers_may_send_little_over_resp():
    with guarded() as (s, t):
        for data, want in [
                (b"*11\r\n", "ERR Protocol error: unauthenticated multibulk length"),
                (b"*2\r\n$3\r\nGET\r\n$16385\r\n", "ERR Protocol error: unauthenticated bulk length")]:
            with s.resp() as r:
                r.send(data)
                equal(r.answer(), Refused(want))
                assert r.ended()
        with s.resp() as r:
            equal(r.call("AUTH", t.of["all"]), "OK")
            equal(r.call("SET", "k", b"x" * 100000), "OK")
            equal(r.call("DEL", *[f"k{i}" for i in range(20)]), 0)


def refused_command(name):
    return Refused(f"NOPERM this user has no permissions to run the '{name}' command")


@test
def a_command_asks_for_its_scope():
    with guarded() as (s, t), s.resp() as r:
        for user, commands in {
                "reader": [("GET", "k"), ("EXISTS", "k"), ("KEYS", "*"), ("DBSIZE",), ("PING",),
                           ("INFO",), ("ACL", "WHOAMI")],
                "writer": [("SET", "k", "1"), ("MSET", "a", "1"), ("DEL", "a"), ("PING",)],
                "admin": [("CONFIG", "GET", "*"), ("CLIENT", "LIST"), ("ACL", "LIST"), ("PING",)]}.items():
            equal(r.call("AUTH", user, t.of[user]), "OK")
            for words in commands:
                assert not isinstance(r.call(*words), Refused), (user, words)
        for user, commands in {
                "reader": [("SET", "k", "1"), ("INCR", "k"), ("DEL", "k"), ("CONFIG", "GET", "*"),
                           ("ACL", "LIST"), ("SAVE",), ("CLIENT", "LIST"), ("SWAPDB", "0", "1")],
                "writer": [("GET", "k"), ("INCR", "k"), ("GETSET", "k", "1"), ("SET", "k", "1", "GET"),
                           ("GETDEL", "k"), ("APPEND", "k", ""), ("RENAME", "k", "j"), ("COPY", "k", "j"),
                           ("KEYS", "*"), ("SCAN", "0"), ("MGET", "k"), ("STRLEN", "k"), ("SWAPDB", "0", "1")],
                "admin": [("GET", "k"), ("SET", "k", "v"), ("DBSIZE",), ("KEYS", "*"), ("SWAPDB", "0", "1")]}.items():
            equal(r.call("AUTH", user, t.of[user]), "OK")
            for words in commands:
                name = "|".join(w.lower() for w in words[:1 + (words[0] in ("CONFIG", "ACL", "CLIENT"))])
                equal(r.call(*words), refused_command(name), (user, words))
        # One that is refused spoils the transaction.
        equal(r.call("AUTH", "reader", t.of["reader"]), "OK")
        equal(r.call("MULTI"), "OK")
        equal(r.call("SET", "k", "2"), refused_command("set"))
        equal(r.call("GET", "k"), "QUEUED")
        equal(r.call("EXEC"), Refused("EXECABORT Transaction discarded because of previous errors."))


@test
def no_way_leads_out_of_a_prefix_over_resp():
    with guarded() as (s, t), s.resp() as r, s.resp() as full:
        equal(full.call("AUTH", t.of["all"]), "OK")
        equal(full.call("MSET", "app/1", "a", "app/2", "b", "secret", "c", "apq", "d"), "OK")
        equal(r.call("AUTH", t.of["app"]), "OK")
        for words in [("GET", "secret"), ("GET", "app"), ("MGET", "app/1", "secret"), ("SET", "secret", "x"),
                      ("MSET", "app/3", "1", "secret", "2"), ("MSETNX", "app/3", "1", "apq", "2"),
                      ("DEL", "app/1", "secret"), ("UNLINK", "secret"), ("EXISTS", "secret"),
                      ("TYPE", "secret"), ("TOUCH", "secret"), ("RENAME", "app/1", "secret"),
                      ("RENAME", "secret", "app/1"), ("RENAMENX", "secret", "app/9"),
                      ("COPY", "secret", "app/9"), ("COPY", "app/1", "z"), ("INCR", "secret"),
                      ("APPEND", "secret", "x"), ("GETDEL", "secret"), ("GETRANGE", "secret", "0", "-1"),
                      ("STRLEN", "secret"), ("WATCH", "secret"), ("OBJECT", "ENCODING", "secret"),
                      ("MEMORY", "USAGE", "secret"), ("SETRANGE", "secret", "0", "x"), ("GET", "")]:
            equal(r.call(*words), DENIED, words)
        for words in [("KEYS", "*"), ("KEYS", "a*"), ("KEYS", "app*"), ("KEYS", "[a]pp/*"), ("SCAN", "0"),
                      ("SCAN", "0", "MATCH", "*"), ("SCAN", "0", "MATCH", "app/*", "MATCH", "*"),
                      ("SCAN", "0", "COUNT", "10"), ("DBSIZE",), ("RANDOMKEY",)]:
            equal(r.call(*words), refused_command(words[0].lower()), words)
        equal(r.call("KEYS", "app/*"), [b"app/1", b"app/2"])
        equal(r.call("QUERN.RANGE", "app/", "app0"), [[b"app/1", b"a"], [b"app/2", b"b"]])
        equal(r.call("QUERN.COUNT", "app/2", "app/3"), 1)
        for start, end in (("app/", ""), ("", "app/"), ("app/", "b"), ("a", "app0"), ("s", "t"), ("app", "app0")):
            equal(r.call("QUERN.RANGE", start, end), refused_command("quern.range"), (start, end))
            equal(r.call("QUERN.COUNT", start, end), refused_command("quern.count"), (start, end))
        equal(r.call("SCAN", "0", "MATCH", "app/*"), [b"0", [b"app/1", b"app/2"]])
        # The cursor of another's scan shows nothing of what is his.
        cursor, _ = full.call("SCAN", "0", "COUNT", "1")
        found = r.call("SCAN", cursor, "MATCH", "app/*")
        assert all(k.startswith(b"app/") for k in found[1]), found
        assert b"db0" not in r.call("INFO", "keyspace")
        assert b"db0" in full.call("INFO", "keyspace")
        equal(r.call("MULTI"), "OK")
        equal(r.call("GET", "secret"), DENIED)
        equal(r.call("DISCARD"), "OK")
        equal(full.call("MGET", "app/1", "secret", "apq"), [b"a", b"c", b"d"], "after all this")


@test
def every_command_that_names_no_key_is_closed_to_a_prefix():
    """Whatever command is added: if it reads or writes and its keys are not in the table, a token with
    a prefix does not get it."""
    with guarded() as (s, t), s.resp() as r, s.resp() as full:
        equal(full.call("AUTH", t.of["all"]), "OK")
        equal(r.call("AUTH", t.of["app"]), "OK")
        flat = []
        for info in full.call("COMMAND"):
            flat += info[9] or [info]
        tried = 0
        for info in flat:
            name, arity, flags, first = info[0].decode(), info[1], set(info[2]), info[3]
            if first != 0 or not flags & {"readonly", "write", "admin"}:
                continue
            if name in ("keys", "scan"):
                continue  # by their pattern; tried above
            words = name.split("|") + ["x"] * (abs(arity) - len(name.split("|")))
            equal(r.call(*words), refused_command(name), words)
            tried += 1
        assert tried > 10, tried


@test
def a_transaction_does_not_outlive_the_right_to_it():
    with guarded() as (s, t), s.resp() as r:
        equal(r.call("AUTH", t.of["app"]), "OK")
        equal(r.call("MULTI"), "OK")
        equal(r.call("SET", "app/k", "v"), "QUEUED")
        equal(quern("token", "revoke", t.path, "reader")[0], 0)
        s.process.send_signal(signal.SIGHUP)
        until(lambda: "tokens: 4 read" in s.stderr(), "the file was read again")
        equal(r.call("EXEC"), Refused("EXECABORT Transaction discarded because of previous errors."))
        equal(r.call("GET", "app/k"), None)


@test
def acl_tells_of_the_tokens():
    with guarded() as (s, t), s.resp() as r:
        equal(r.call("AUTH", t.of["all"]), "OK")
        equal(r.call("ACL", "USERS"), [b"all", b"reader", b"writer", b"admin", b"app"])
        lines = r.call("ACL", "LIST")
        assert re.fullmatch(rb"user app on #[0-9a-f]{64} ~app/\* &\* -@all \+@read \+@write", lines[4]), lines
        assert re.fullmatch(rb"user all on #[0-9a-f]{64} ~\* &\* \+@all", lines[0]), lines
        user = r.call("ACL", "GETUSER", "reader")
        equal(user[0:2] + user[4:8], [b"flags", [b"on"], b"commands", b"-@all +@read", b"keys", b"~*"])
        equal(r.call("ACL", "GETUSER", "nobody"), None)
        equal(r.call("ACL", "CAT"), [b"read", b"write", b"admin"])
        assert b"get" in r.call("ACL", "CAT", "read") and b"config|get" in r.call("ACL", "CAT", "admin")
        equal(r.call("ACL", "CAT", "nocat"), Refused("ERR Unknown category 'nocat'"))
        equal(r.call("CONFIG", "REWRITE"), Refused("ERR The server is running without a config file"))
    with Server() as s, s.resp() as r:
        equal(r.call("ACL", "WHOAMI"), b"default")
        equal(r.call("ACL", "LIST"), [b"user default on nopass ~* &* +@all"])
        equal(r.call("AUTH", "default", "x"), "OK")
        assert "AUTH <password> called without any password" in str(r.call("AUTH", "x"))
        assert "without --token-file" in str(r.call("ACL", "SETUSER", "x", "on"))
        assert "without --token-file" in str(r.call("ACL", "DELUSER", "default"))


@test
def users_are_changed_until_the_file_is_read_again():
    word = "w" * 32
    with guarded() as (s, t), s.resp() as r, s.resp() as other, s.resp() as third:
        equal(r.call("AUTH", t.of["all"]), "OK")
        for rules, why in [
                (("on", ">short", "~*", "+@all"), "at least 32 bytes"), (("on", f">{word}", "~*"), "one password"),
                (("on", "~*", "+@all"), "one password"), (("on", f">{word}", "+@all"), "one password"),
                (("nopass", "~*", "+@all"), "Syntax error"), (("+get",), "Syntax error"),
                (("~a*b*",), "Syntax error"), (("~[a]*",), "Syntax error"), (("~*", "~a*"), "Syntax error"),
                (("%R~a*",), "Syntax error"), (("#00",), "Syntax error"), (("&x",), "Syntax error"),
                (("on", b"#" + 64 * b"\0", "~*", "+@read"), "Syntax error"),
                (("on", ">" + t.of["app"], "~*", "+@all"), "another name has the same token")]:
            reply = r.call("ACL", "SETUSER", "new", *rules)
            assert isinstance(reply, Refused) and why in str(reply), (rules, reply)
        equal(r.call("ACL", "SETUSER", "a b", "on"), Refused("ERR a name has 1 to 64 letters, digits or . _ -"))
        equal(r.call("ACL", "USERS")[-1], b"app", "nothing was changed")
        equal(r.call("ACL", "SETUSER", "new", "on", f">{word}", "~n/*", "~m/*", "+@read", "+@write"), "OK")
        equal(other.call("AUTH", "new", word), "OK")
        equal(other.call("SET", "n/k", "v"), "OK")
        equal(other.call("GET", "k"), DENIED)
        equal(ask(s, "GET", "/get?key=n/k", None, [("Authorization", f"Bearer {word}")]).body, b"v")
        # A change counts for connections that are open.
        equal(r.call("ACL", "SETUSER", "new", "-@write"), "OK")
        until(lambda: other.call("SET", "n/k", "w") == refused_command("set"), "no more writes")
        equal(r.call("ACL", "SETUSER", "new", "resetkeys", "~o/*"), "OK")
        until(lambda: other.call("GET", "n/k") == DENIED, "other keys")
        equal(r.call("ACL", "DELUSER", "new", "nobody", "reader"), 2)
        until(lambda: other.call("GET", "o/k") == NOAUTH, "it is gone")
        equal(third.call("AUTH", t.of["reader"]), WRONGPASS)
        s.process.send_signal(signal.SIGHUP)
        until(lambda: third.call("AUTH", t.of["reader"]) == "OK", "as the file says")
        equal(len(r.call("ACL", "USERS")), 5)
        equal(third.call("ACL", "SETUSER", "reader", "+@all"), refused_command("acl|setuser"))


@test
def what_was_read_for_a_token_that_is_gone_meanwhile_is_given_to_nobody():
    with directory() as d, SickDisk() as disk:
        t, data = Tokens(d), os.path.join(d, "data")
        t.make("one", "read", "--prefix", "secret")
        t.make("two", "read,write")
        ask = lambda w, name, method, target: w.ask(method, target, fields=t.field(name))
        with Server("--token-file", t.path, data=data) as s, s.connect() as w:
            for key in ("secret", "open"):
                equal(ask(w, "two", "POST", f"/set?key={key}&value={key}").status, 200)
        with Server("--token-file", t.path, "--loops", "1", data=data, env=disk.env) as s, s.connect() as w, s.connect() as other:
            disk.order("hold-reads")
            try:
                w.send(request("GET", "/get?key=secret", fields=t.field("one")))
                equal(answered(w, 0.05), False)
                equal(quern("token", "revoke", t.path, "one")[0], 0)
                s.process.send_signal(signal.SIGHUP)
                until(lambda: ask(other, "one", "GET", "/version").status == 401, "it is gone")
            finally:
                disk.revoke("hold-reads")
            equal(w.read().status, 401)
            equal([ask(w, "two", "GET", f"/get?key={key}").body for key in ("open", "secret", "open")], [b"open", b"secret", b"open"])


@test
def acl_tells_who_was_refused_and_who_would_be():
    with guarded("--loops", "2") as (s, t), s.resp() as r, s.resp() as app:
        equal([r.call("AUTH", "all", t.of["all"]), app.call("AUTH", "app", "wrong" * 8), app.call("AUTH", "app", t.of["app"])],
              ["OK", WRONGPASS, "OK"])
        equal([app.call("GET", "other"), app.call("GET", "other"), app.call("MULTI"), app.call("MGET", "app/a", "b"),
               app.call("DBSIZE"), app.call("DISCARD"), app.call("CONFIG", "GET", "*")],
              [DENIED, DENIED, "OK", DENIED, refused_command("dbsize"), "OK", refused_command("config|get")])
        told = []
        for entry in r.call("ACL", "LOG"):
            entry = dict(zip(entry[::2], entry[1::2]))
            told.append(tuple(entry[k.encode()] for k in ("count", "reason", "context", "object", "username")))
            line = entry[b"client-info"]
            assert b"addr=127.0.0.1:%d " % app.socket.getsockname()[1] in line and b"\n" not in line, line
            assert t.of["app"].encode() not in line and b"wrong" not in line, line
            assert 0 <= float(entry[b"age-seconds"]) < 1000 and entry[b"timestamp-created"] > 1600000000000, entry
        equal(told, [(1, b"command", b"toplevel", b"config|get", b"app"), (1, b"command", b"multi", b"dbsize", b"app"),
                     (1, b"key", b"multi", b"b", b"app"), (2, b"key", b"toplevel", b"other", b"app"),
                     (1, b"auth", b"toplevel", b"AUTH", b"app")])
        equal([r.call("ACL", "LOG", "RESET"), r.call("ACL", "LOG")], ["OK", []])
        app.send(b"".join(command("SET", "app/a", "x") + command("GET", "other") for _ in range(50)))
        equal([app.answer() for _ in range(100)], ["OK", DENIED] * 50)
        equal(r.call("ACL", "LOG")[0][1], 50, "what waits for the writes before it is refused once")
        equal(r.call("ACL", "LOG", "RESET"), "OK")
        for user, words, wanted in (
                ("app", "GET app/a", "OK"), ("app", "SET app/a x", "OK"), ("reader", "GET a", "OK"), ("app", "AUTH x", "OK"),
                ("app", "MGET app/a b app/c", b"This user has no permissions to access the 'b' key"),
                ("reader", "SET a 1", b"This user has no permissions to run the 'set' command"),
                ("writer", "SET a 1 GET", b"This user has no permissions to run the 'set' command"),
                ("app", "KEYS app/*", "OK"), ("app", "KEYS *", b"This user has no permissions to run the 'keys' command"),
                ("all", "CONFIG GET x", "OK"), ("nobody", "GET a", Refused("ERR User 'nobody' not found")),
                ("app", "NOPE", Refused("ERR Command 'NOPE' not found")),
                ("app", "GET", Refused("ERR wrong number of arguments for 'get' command"))):
            equal(r.call("ACL", "DRYRUN", user, *words.split()), wanted, (user, words))
        equal(r.call("ACL", "LOG"), [])
        word = "v" * 32
        equal(r.call("ACL", "SETUSER", "new", "on", f">{word}", "~*", "+@read"), "OK")
        t.make("later", "read")
        equal(r.call("ACL", "LOAD"), "OK")
        equal(r.call("ACL", "USERS"), [b"all", b"reader", b"writer", b"admin", b"app", b"later"])
        equal(app.call("AUTH", "later", t.of["later"]), "OK")
        with open(t.path, "a", encoding="ascii") as f:
            f.write("no token line\n")
        wrong = r.call("ACL", "LOAD")
        assert isinstance(wrong, Refused) and t.path in str(wrong) and str(wrong).endswith("; the users from before stay"), wrong
        equal(len(r.call("ACL", "USERS")), 6)
        equal(r.call("ACL", "SAVE"), Refused("ERR this server never writes its token file; quern token changes it"))
        equal(app.call("ACL", "LOAD"), refused_command("acl|load"))


@test
def a_monitor_hears_no_tokens_and_ends_with_the_right_to_it():
    with guarded() as (s, t), s.resp() as m, s.resp() as r:
        equal(m.call("AUTH", "all", t.of["all"]), "OK")
        equal(m.call("MONITOR"), "OK")
        equal(r.call("AUTH", "app", t.of["app"]), "OK")
        equal(r.call("HELLO", "2", "AUTH", "app", t.of["app"])[0], b"server")
        equal(r.call("SET", "app/k", "v"), "OK")
        heard = m.raw()
        while b"app/k" not in heard:
            heard += m.raw()
        assert b"quern_" not in heard, heard
        equal(quern("token", "revoke", t.path, "all")[0], 0)
        s.process.send_signal(signal.SIGHUP)
        until(lambda: "tokens: 4 read" in s.stderr(), "the file was read again")
        equal(r.call("SET", "app/secret", "v"), "OK")
        rest = b""
        with contextlib.suppress(EOFError, ConnectionResetError):
            while True:
                rest += m.raw()
        assert b"app/secret" not in rest, rest


@test
def the_slow_log_keeps_no_tokens():
    with guarded() as (s, t), s.resp() as r:
        equal(r.call("AUTH", "all", t.of["all"]), "OK")
        equal(r.call("CONFIG", "SET", "slowlog-log-slower-than", "0"), "OK")
        equal(r.call("AUTH", t.of["all"]), "OK")
        equal(r.call("HELLO", "2", "SETNAME", "me", "AUTH", "all", t.of["all"])[0], b"server")
        equal(r.call("ACL", "SETUSER", "reader", ">" + "w" * 32), "OK")
        kept = [entry[3] for entry in r.call("SLOWLOG", "GET", "-1")]
        for words in ([b"AUTH", b"(redacted)"], [b"HELLO", b"2", b"SETNAME", b"me", b"AUTH", b"(redacted)"],
                      [b"ACL", b"SETUSER", b"reader", b"(redacted)"]):
            assert words in kept, (words, kept)
        assert t.of["all"].encode() not in repr(kept).encode()
        for target in ("/v1/admin/slowlog", "/metrics", "/stats"):
            body = ask(s, "GET", target, None, t.field("all")).body
            assert t.of["all"].encode() not in body and b"wwww" not in body, target


@test
def clients_are_known_by_their_user():
    with guarded() as (s, t), s.resp() as a, s.resp() as r:
        equal(a.call("AUTH", t.of["all"]), "OK")
        equal(r.call("AUTH", t.of["app"]), "OK")
        equal(a.call("CLIENT", "KILL", "USER", "nobody"), Refused("ERR No such user 'nobody'"))
        equal(a.call("CLIENT", "KILL", "USER", "reader"), 0)
        equal(a.call("CLIENT", "KILL", "USER", "app"), 1)
        assert r.ended()
        assert b"user=all" in a.call("CLIENT", "LIST")
        until(lambda: b"user=app" not in a.call("CLIENT", "LIST"), "the one that was ended is gone")


# ------------------------------------------------------------------ the command, unix sockets


@test
def the_command_shows_its_token():
    with guarded() as (s, t), directory() as d:
        env = {"QUERN_URL": s.url, "QUERN_TOKEN": t.of["all"]}
        equal(quern("set", "app/k", "v", env=env)[0], 0)
        equal(quern("get", "app/k", env=env)[1], "v")
        status, _, err = quern("get", "app/k", env={"QUERN_URL": s.url})
        equal(status, 4)
        assert "401" in err and "asks for a token" in err, err
        assert "--token-file" in err and "QUERN_TOKEN" in err, err
        path = os.path.join(d, "token")
        with open(path, "w", encoding="utf-8") as f:
            f.write(t.of["app"] + "\n")
        os.chmod(path, 0o600)
        equal(quern("get", "app/k", "--token-file", path, env={"QUERN_URL": s.url})[1], "v")
        status, _, err = quern("get", "other", "--token-file", path, env=env)
        equal(status, 4, "the file goes before the environment")
        assert "does not reach that key" in err, err
        os.chmod(path, 0o644)
        equal(quern("get", "app/k", "--token-file", path, env=env)[0] != 0, True)
        equal(quern("get", "k", env={"QUERN_URL": s.url, "QUERN_TOKEN": "a\r\nX: y"})[0], 2)


@test
def quern_token_makes_lists_and_revokes():
    with directory() as d:
        path = os.path.join(d, "tokens")
        with open(path, "w", encoding="utf-8") as f:
            f.write("# by hand\n")
        os.chmod(path, 0o640)
        status, token, _ = quern("token", "create", path, "a", "--scopes", "read,write", "--prefix", "x,%/",
                                 "--expires", "2099-01-31")
        equal(status, 0)
        assert re.fullmatch(r"quern_[A-Za-z0-9_-]{43}\n", token), token
        text = open(path, encoding="utf-8").read()
        assert re.fullmatch(r"# by hand\na sha256:[0-9a-f]{64} read,write prefixes=x%2C%25/ "
                            r"expires=2099-01-31T00:00:00Z\n", text), text
        equal(os.stat(path).st_mode & 0o777, 0o640)
        assert token.strip() not in text
        equal(quern("token", "create", path, "b")[0], 0)
        equal(quern("token", "list", path)[1],
              "a\tread,write\texpires 2099-01-31T00:00:00Z\tx,%/\nb\tread\texpires never\tall keys\n")
        equal(quern("token", "create", path, "b")[0], 4)
        for words in (("create", path, "bad name"), ("create", path, "c", "--scopes", "root"),
                      ("create", path, "c", "--expires", "soon"), ("create", path), ("destroy", path, "a"),
                      ("list", path, "a")):
            equal(quern("token", *words)[0], 2, words)
        equal(quern("token", "revoke", path, "c")[0], 1)
        equal(quern("token", "revoke", path, "a")[0], 0)
        assert open(path, encoding="utf-8").read().startswith("# by hand\nb sha256:")
        equal(os.listdir(d), ["tokens"])
        with open(path, "a", encoding="utf-8") as f:
            f.write("nonsense\n")
        status, _, err = quern("token", "create", path, "c")
        equal(status, 2)
        assert "line 3" in err, err


def unix_wire(kind, path):
    w = kind.__new__(kind)
    w.socket = socket.socket(socket.AF_UNIX)
    w.socket.settimeout(30)
    w.socket.connect(path)
    w.buffer = b""
    return w


@test
def both_doors_listen_at_paths():
    with directory() as d:
        http, resp = os.path.join(d, "http.sock"), os.path.join(d, "resp.sock")
        with Server("--listen", "127.0.0.1", "--listen", f"unix:{http}", "--resp-listen",
                    f"unix:{resp}") as s:
            assert f"listening: unix:{http} (HTTP)" in s.stdout(), s.stdout()
            equal(os.stat(http).st_mode & 0o777, 0o660)
            equal(curl("--unix-socket", http, "-X", "POST", "http://localhost/set?key=k&value=v")[0], 200)
            equal(curl("--unix-socket", http, "http://localhost/get?key=k"), (200, b"v"))
            equal(quern("--url", f"unix:{http}", "get", "k")[:2], (0, "v"))
            with unix_wire(Resp, resp) as r:
                equal(r.call("GET", "k"), b"v")
                assert b"addr=unix" in r.call("CLIENT", "INFO")
            # A second server does not take them away.
            other = Server("--listen", f"unix:{http}")
            equal(other.process.wait(60), 3)
            assert "another server listens there" in other.stderr(), other.stderr()
            other.forget()
            with unix_wire(Wire, http) as w:
                reply = w.ask("GET", "/shutdown")
                equal(reply.status, 200)
            equal(s.process.wait(60), 0)
        equal(os.listdir(d), [])
        equal(quern("--url", f"unix:{http}", "get", "k")[0], 3)


@test
def a_socket_that_a_dead_server_left_is_replaced():
    with directory() as d:
        path = os.path.join(d, "q.sock")
        with Server("--listen", "127.0.0.1", "--listen", f"unix:{path}") as s:
            s.kill()
        assert os.path.exists(path)
        with Server("--listen", "127.0.0.1", "--listen", f"unix:{path}"):
            equal(curl("--unix-socket", path, "http://localhost/livez")[0], 200)
        with open(path, "w", encoding="utf-8") as f:
            f.write("not a socket")
        for text, words in ((f"unix:{path}", "no socket"), ("unix:" + "x" * 200, "1 to 107 bytes"),
                            ("unix:", "1 to 107"), (f"unix:{d}/no/q.sock", "directory is missing")):
            other = Server("--listen", text)
            assert other.process.wait(60) in (2, 3)
            assert words in other.stderr(), other.stderr()
            other.forget()
        equal(open(path, encoding="utf-8").read(), "not a socket")


@test
def signals_read_again_and_tell():
    with Server() as s:
        s.process.send_signal(signal.SIGUSR1)
        until(lambda: "stats: log " in s.stderr(), "statistics in the log")
        s.process.send_signal(signal.SIGHUP)
        until(lambda: "SIGHUP: the configuration is read again" in s.stderr(), "what is read again")
        with s.connect() as w:
            equal(w.ask("GET", "/livez").status, 200)


@test
def the_configuration_is_told_without_secrets():
    with guarded() as (s, t):
        reply = ask(s, "GET", "/v1/admin/config", None, t.field("admin"))
        options = {o["name"]: o for o in json.loads(reply.body)["options"]}
        equal(options["token-file"], {"name": "token-file", "value": t.path, "source": "flag --token-file", "changeable": False})
        equal(options["max-value"]["source"], "default")
        equal(options["loops"]["value"], None)
        printed = subprocess.run([BINARY, "--token-file", t.path, "--print-config"], capture_output=True,
                                 text=True, check=True).stdout
        for line in open(t.path, encoding="utf-8"):
            secret = line.split()[1].removeprefix("sha256:")
            assert secret not in reply.body.decode() + printed
        for token in t.of.values():
            assert token not in reply.body.decode() + printed + s.stdout() + s.stderr()


if __name__ == "__main__":
    main()
