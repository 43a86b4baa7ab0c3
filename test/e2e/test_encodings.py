#!/usr/bin/env python3
"""Texts made small for clients that ask for it, and what is left as it is."""

import gzip
import json
import random
import shutil
import subprocess

from quernd import Server, Skip, equal, main, request, test

PAGE = "https://app.example"
OTHER = "https://evil.example"


def unzstd(data):
    if not shutil.which("zstd"):
        raise Skip("no zstd here")
    return subprocess.run(["zstd", "-dc"], input=data, stdout=subprocess.PIPE, check=True).stdout


UNPACK = {"gzip": gzip.decompress, "zstd": unzstd, None: bytes}


def fill(w, n=300):
    for i in range(n):
        w.put(f"key-{i:05}", b"value %d" % i)


@test
def texts_come_as_the_client_rates_their_encodings():
    cases = (("gzip", "gzip"), ("zstd", "zstd"), ("gzip, zstd", "zstd"), ("gzip, deflate, br, zstd", "zstd"),
             ("gzip;q=1, zstd;q=0.9", "gzip"), ("gzip;q=0, zstd", "zstd"), ("gzip;q=0", None), ("identity", None),
             ("*", "gzip"), ("*;q=0", None), ("gzip;q=0.5, identity;q=1", None), ("br", None), ("", None),
             ("x-gzip", "gzip"), ("GZIP", "gzip"), ("gzip;q=0.001", "gzip"), ("deflate", None), ("gzipp", None),
             ("*;q=0, gzip;q=0.3", "gzip"), (",,gzip,,", "gzip"), (";q=1", None), ("identity;q=0", None))
    with Server("--durability", "os") as s, s.connect() as w:
        fill(w)
        plain = w.ask("GET", "/v1/keys?values=1")
        equal((plain.fields.get("content-encoding"), plain.fields["vary"]), (None, "Accept-Encoding"))
        for asked, want in cases:
            r = w.ask("GET", "/v1/keys?values=1", fields=[("Accept-Encoding", asked)])
            equal((r.status, r.fields.get("content-encoding"), r.fields["vary"]), (200, want, "Accept-Encoding"),
                  asked)
            equal(UNPACK[want](r.body) == plain.body, True, asked)
            if want:
                assert len(r.body) < len(plain.body) / 3, (asked, len(r.body), len(plain.body))
            h = w.ask("HEAD", "/v1/keys?values=1", fields=[("Accept-Encoding", asked)])
            equal((h.fields.get("content-encoding"), h.fields["content-length"]), (want, str(len(r.body))), asked)


@test
def lines_the_document_and_problems_are_texts_and_short_ones_stay_as_they_are():
    gz = [("Accept-Encoding", "gzip")]
    with Server("--durability", "os") as s, s.connect() as w:
        fill(w)
        r = w.ask("GET", "/v1/keys", fields=[*gz, ("Accept", "application/x-ndjson")])
        equal(r.fields["content-encoding"], "gzip")
        equal(len(gzip.decompress(r.body).splitlines()), 301)
        r = w.ask("GET", "/v1/openapi.json", fields=gz)
        equal((r.fields["content-encoding"], json.loads(gzip.decompress(r.body))["openapi"][:3]), ("gzip", "3.1"))
        for target in ("/livez", "/version", "/v1/kv/none", "/v1/keys?limit=1", "/get?key=key-00001"):
            r = w.ask("GET", target, fields=gz)
            equal((r.fields.get("content-encoding"), r.fields.get("vary")), (None, None), target)


@test
def values_are_never_compressed_and_keep_tag_length_and_ranges():
    gz = [("Accept-Encoding", "gzip, zstd")]
    text = b"all work and no play " * 5000
    with Server("--durability", "os") as s, s.connect() as w:
        w.put("t", text)
        for target in ("/get?key=t", "/v1/kv/t"):
            bare, r = w.ask("GET", target), w.ask("GET", target, fields=gz)
            equal((r.body == text, r.fields.get("content-encoding"), r.fields["etag"]),
                  (True, None, bare.fields["etag"]))
            r = w.ask("GET", target, fields=[*gz, ("Range", "bytes=5-20")])
            equal((r.status, r.body, r.fields.get("content-encoding")), (206, text[5:21], None))
        r = w.ask("POST", "/v1/kv/t?op=getset", b"x", fields=gz)
        equal((r.body == text, r.fields.get("content-encoding")), (True, None))


@test
def what_a_page_of_a_foreign_site_asks_for_is_not_compressed():
    gz = [("Accept-Encoding", "gzip")]
    with Server("--durability", "os", "--cors-origin", PAGE) as s, s.connect() as w:
        fill(w)
        for more, want in (([("Sec-Fetch-Site", "cross-site")], None), ([("Origin", OTHER)], None),
                           ([("Origin", PAGE), ("Sec-Fetch-Site", "cross-site")], "gzip"), ([], "gzip")):
            r = w.ask("GET", "/v1/keys", fields=[*gz, *more])
            equal((r.status, r.fields.get("content-encoding"), r.fields["vary"]),
                  (200, want, "Origin, Accept-Encoding"), more)


@test
def long_replies_are_compressed_as_they_are_made():
    with Server("--durability", "os") as s, s.connect() as w:
        for i in range(40):
            w.put(f"big-{i:03}", bytes(random.Random(i).choices(b"abcdefgh", k=50000)))
        for target, fields in (("/v1/export", []), ("/v1/keys?values=1", [("Accept", "application/x-ndjson")])):
            plain = w.ask("GET", target, fields=fields)
            equal((plain.fields.get("content-encoding"), plain.fields["vary"]), (None, "Accept-Encoding"))
            assert len(plain.body) > 2000000 and plain.body.endswith(b"}\n"), plain
            for coding in ("gzip", "zstd"):
                asked = [*fields, ("Accept-Encoding", coding)]
                r = w.ask("GET", target, fields=asked)
                equal((r.fields["content-encoding"], r.fields["transfer-encoding"]), (coding, "chunked"))
                equal(UNPACK[coding](r.body) == plain.body, True)
                assert len(r.body) < len(plain.body) * 2 / 3, len(r.body)
                h = w.ask("HEAD", target, fields=asked)
                equal(h.fields["content-encoding"], coding)
                equal(w.ask("GET", "/livez").body, b"ok\n")
            w.send(request("GET", target, fields=[*fields, ("Accept-Encoding", "gzip")]).replace(b"HTTP/1.1", b"HTTP/1.0"))
            equal(gzip.decompress(w.read().body) == plain.body, True)
            w = s.connect()


@test
def compressed_replies_leave_in_order_with_the_others():
    with Server("--durability", "os") as s, s.connect() as w:
        fill(w)
        for _ in range(50):
            w.send(b"GET /v1/keys HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n"
                   b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
                   b"GET /v1/keys HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: zstd\r\n\r\n")
        bodies = set()
        for _ in range(50):
            bodies.add(gzip.decompress(w.read().body))
            equal(w.read().body, b"ok\n")
            equal(w.read().fields["content-encoding"], "zstd")
        equal(len(bodies), 1)
        equal(len(json.loads(bodies.pop())["items"]), 300)


if __name__ == "__main__":
    main()
