#!/usr/bin/env python3
"""Which names the server goes by, and the pages of which sites may use it (CORS)."""

import json
import os
import subprocess
import tempfile

from quernd import Server, equal, main, test

PAGE = "https://app.example"
OTHER = "https://evil.example"


def options(w, target, origin, method="PUT", more=()):
    return w.ask("OPTIONS", target, fields=[("Origin", origin), ("Access-Control-Request-Method", method),
                                            *more])


@test
def without_a_list_no_page_of_another_origin_may_write_or_read():
    with Server() as s, s.connect() as w:
        r = w.ask("DELETE", "/v1/kv/k", fields=[("Origin", PAGE)])
        equal((r.status, json.loads(r.body)["code"]), (403, "cross_site"))
        r = options(w, "/v1/kv/k", PAGE)
        equal(r.status, 204)
        assert not [f for f in r.fields if f.startswith("access-control")], r
        r = w.ask("GET", "/v1/keys", fields=[("Origin", PAGE)])
        equal((r.status, "access-control-allow-origin" in r.fields, "vary" in r.fields),
              (200, False, False))


@test
def a_listed_origin_is_told_what_it_may_send_and_reads_the_reply():
    with Server("--cors-origin", PAGE, "--cors-origin", "http://localhost:3000") as s, s.connect() as w:
        for origin in (PAGE, "http://localhost:3000"):
            r = options(w, "/v1/kv/k", origin)
            equal((r.status, r.fields["access-control-allow-origin"], r.fields["vary"]),
                  (204, origin, "Origin"))
            equal(r.fields["access-control-allow-methods"], r.fields["allow"])
            equal(r.fields["access-control-allow-methods"], "GET, HEAD, PUT, DELETE, POST, OPTIONS")
            allowed = r.fields["access-control-allow-headers"].lower().split(", ")
            for name in ("authorization", "content-type", "if-match", "if-none-match", "range", "quern-ttl"):
                assert name in allowed, (name, allowed)
            r = w.ask("PUT", "/v1/kv/k", b"v", fields=[("Origin", origin), ("Sec-Fetch-Site", "cross-site")])
            assert r.status in (201, 204), r
            equal(r.fields["access-control-allow-origin"], origin)
            exposed = r.fields["access-control-expose-headers"].split(", ")
            for name in ("ETag", "Quern-Rev", "Location", "Content-Range", "X-Request-Id"):
                assert name in exposed, (name, exposed)
            for target, status in (("/v1/kv/k", 200), ("/v1/kv/none", 404), ("/v1/keys?limit=0", 400),
                                   ("/get?key=k", 200), ("/nowhere", 404)):
                r = w.ask("GET", target, fields=[("Origin", origin)])
                equal((r.status, r.fields.get("access-control-allow-origin")), (status, origin), target)


@test
def a_page_asks_first_without_a_token_and_hears_why_it_may_not():
    with tempfile.TemporaryDirectory() as place:
        tokens = os.path.join(place, "tokens")
        made = subprocess.run([os.environ["QUERN"], "token", "create", tokens, "app", "--scopes", "read,write"],
                              capture_output=True, text=True, check=True)
        with Server("--cors-origin", PAGE, "--token-file", tokens) as s, s.connect() as w:
            equal(options(w, "/v1/kv/k", PAGE).fields["access-control-allow-origin"], PAGE)
            r = w.ask("GET", "/v1/kv/k", fields=[("Origin", PAGE)])
            equal((r.status, r.fields["access-control-allow-origin"]), (401, PAGE))
            shown = [("Origin", PAGE), ("Authorization", f"Bearer {made.stdout.strip()}")]
            equal(w.ask("GET", "/v1/kv/k", fields=shown).status, 404)
            equal(w.ask("PUT", "/v1/kv/k", b"v", fields=shown).status, 201)


@test
def no_reply_ever_lets_a_page_use_the_credentials_of_its_reader():
    with Server("--cors-origin", PAGE) as s, s.connect() as w:
        for r in (options(w, "/v1/kv/k", PAGE), w.ask("GET", "/livez", fields=[("Origin", PAGE)])):
            assert "access-control-allow-credentials" not in r.fields, r
            assert r.fields["access-control-allow-origin"] != "*"


@test
def an_origin_that_only_resembles_a_listed_one_is_foreign():
    with Server("--cors-origin", PAGE) as s, s.connect() as w:
        for origin in (OTHER, PAGE + ".evil.example", "http://app.example", PAGE + ":8443", PAGE + "/", "null",
                       "https://app.exampl", "https://x.app.example", ""):
            r = w.ask("DELETE", "/v1/kv/k", fields=[("Origin", origin)])
            equal((r.status, r.fields.get("access-control-allow-origin"), r.fields["vary"]),
                  (403, None, "Origin"), origin)
            equal(options(w, "/v1/kv/k", origin).fields.get("access-control-allow-origin"), None)
        equal(w.ask("GET", "/v1/kv/k").fields["vary"], "Origin")


@test
def a_page_of_another_site_never_shuts_the_server_down_listed_or_not():
    with Server("--cors-origin", PAGE) as s, s.connect() as w:
        for fields in ([("Origin", PAGE)], [("Origin", OTHER)], [("Sec-Fetch-Site", "same-site")]):
            equal(w.ask("GET", "/shutdown", fields=fields).status, 403)
            equal(w.ask("POST", "/shutdown", fields=fields).status, 403)
        for site in ("cross-site", "same-site", "nonsense", ""):
            equal(w.ask("DELETE", "/del?key=k", fields=[("Sec-Fetch-Site", site)]).status, 403, site)
        for site in ("none", "same-origin"):
            equal(w.ask("DELETE", "/del?key=k", fields=[("Sec-Fetch-Site", site)]).status, 404, site)


@test
def what_is_no_origin_is_refused_as_an_option():
    for word in ("*", "null", "app.example", "https://app.example/", "https://App.example", "https://", "https://:80",
                 "https://a:", "https://a:8x", "https://a b", "https://a\r\nX: y", "://a", ""):
        with Server("--cors-origin", word) as s:
            equal(s.process.wait(30), 2, word)
            s.wanted_end = 2


@test
def a_name_that_is_not_ours_is_misdirected_on_every_route():
    with Server("--allowed-host", "kv.example") as s, s.connect() as w:
        def status(target, host, method="GET"):
            w.send(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            return w.read(method == "HEAD").status
        for target in ("/get?key=k", "/v1/kv/k", "/v1/keys", "/healthz", "/stats", "/nowhere", "/shutdown",
                       "/v1/admin/tls", "/v1/openapi.json"):
            for host in ("evil.example", "localhost.evil.example", "kv.example.evil", "127.0.0.1.evil", "",
                         "[::1].evil", "10.0.0.1", "0x7f000001"):
                equal(status(target, host), 421, (target, host))
        for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:9", "kv.example", "KV.example:80"):
            equal(status("/livez", host), 200, host)
        equal(status("/v1/kv/k", "evil.example", "OPTIONS"), 421)
        w.send(b"GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        equal(w.read().status, 421)


if __name__ == "__main__":
    main()
