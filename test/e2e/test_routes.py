#!/usr/bin/env python3
"""What each route answers: with curl as a user types it, and every refusal with its status."""

import json
import os
import subprocess
import sys
import threading

from quernd import Server, Skip, Wire, curl, equal, main, quote, request, test


@test
def curl_lines_of_the_readme_work_as_they_stand():
    with Server() as s:
        u = f"http://localhost:{s.port}"
        equal(curl("-X", "POST", f"{u}/set?key=key1&value=value1"), (200, b"OK\n"))
        equal(curl("-X", "GET", f"{u}/get?key=key1"), (200, b"value1"))
        equal(curl("-X", "POST", f"{u}/set?key=key2&value=val%20smile"), (200, b"OK\n"))
        equal(curl("-X", "GET", f"{u}/get?key=key2"), (200, b"val smile"))
        equal(curl("-X", "DELETE", f"{u}/del?key=key1"), (200, b"OK\n"))
        equal(curl("-X", "DELETE", f"{u}/del?key=key1"), (404, b"error: key not found\n"))
        equal(curl("-X", "GET", f"{u}/get?key=key1"), (404, b"error: key not found\n"))
        equal(curl("-X", "POST", "--data-binary", "@-", f"{u}/set?key=b", data=b"a\0\nb"),
              (200, b"OK\n"))
        equal(curl(f"{u}/get?key=b"), (200, b"a\0\nb"))
        equal(curl("-G", "--data-urlencode", "key=a b+c", f"{u}/get")[0], 404)
        equal(curl("-X", "POST", f"{u}/set?key=a+b%2Bc&value=1")[0], 200)
        equal(curl("-G", "--data-urlencode", "key=a b+c", f"{u}/get"), (200, b"1"))
        equal(curl("-d", "key=form&value=f+v", f"{u}/set"), (200, b"OK\n"))
        equal(curl(f"{u}/get?key=form"), (200, b"f v"))
        equal(curl("-d", "raw text", f"{u}/set?key=raw"), (200, b"OK\n"))
        equal(curl(f"{u}/get?key=raw"), (200, b"raw text"))
        equal(curl(f"{u}/healthz"), (200, b"ok\n"))
        status, body = curl(f"{u}/shutdown")
        equal(status, 200)
        assert body.endswith(b"all data is safe on disk\nbye\n"), body
        equal(s.process.wait(30), 0)


@test
def replies_carry_what_was_promised():
    with Server() as s, s.connect() as w:
        r = w.put("k", b"v")
        equal((r.status, r.body), (200, b"OK\n"))
        equal(r.fields["quern-durability"], "synced")
        equal(r.fields["quern-rev"], "1")
        equal(r.fields["x-content-type-options"], "nosniff")
        assert r.fields["server"].startswith("quern/") and "date" in r.fields
        r = w.get("k")
        equal((r.status, r.body, r.fields["quern-rev"]), (200, b"v", "1"))
        equal(r.fields["content-type"], "text/plain; charset=utf-8")
        equal(r.fields["content-security-policy"], "default-src 'none'; sandbox")
        w.put("bin", b"\xff\xfe")
        equal(w.get("bin").fields["content-type"], "application/octet-stream")
        w.put("utf", "grün €".encode())
        equal(w.get("utf").fields["content-type"], "text/plain; charset=utf-8")
        h = w.ask("HEAD", "/get?key=utf")
        equal((h.status, h.body, h.fields["content-length"]), (200, b"", "9"))
        equal(w.ask("HEAD", "/get?key=nope").status, 404)
        r = w.ask("POST", "/set?key=j&value=1", fields=[("Accept", "application/json")])
        equal(json.loads(r.body)["ok"], True)
        r = w.ask("GET", "/get?key=nope", fields=[("Accept", "application/json")])
        equal(json.loads(r.body), {"error": {"code": "key_not_found", "detail": "key not found"}})
        r = w.ask("OPTIONS", "/set")
        equal((r.status, r.fields["allow"]), (204, "POST, OPTIONS"))


@test
def every_refusal_has_its_status_and_keeps_the_connection():
    form = [("Content-Type", "application/x-www-form-urlencoded")]
    cases = [
        ("POST", "/", None, 405), ("GET", "/nope?x=1", None, 404), ("POST", "/sets?key=a", None, 404),
        ("GET", "/get/", None, 404), ("GET", "//get?key=a", None, 404),
        ("GET", "/set?key=a&value=b", None, 405), ("PUT", "/set?key=a&value=b", None, 405),
        ("DELETE", "/get?key=a", None, 405), ("POST", "/get?key=a", None, 405),
        ("GET", "/del?key=a", None, 405), ("POST", "/del?key=a", None, 405),
        ("HEAD", "/shutdown", None, 405), ("DELETE", "/shutdown", None, 405),
        ("POST", "/stats", None, 405), ("PATCH", "/healthz", None, 405),
        ("POST", "/set", None, 400), ("POST", "/set?value=v", None, 400),
        ("POST", "/set?key=&value=v", None, 400), ("POST", "/set?key&value=v", None, 400),
        ("POST", "/set?key=a", None, 400), ("POST", "/set?key=a&value", None, 400),
        ("POST", "/set?key=a&key=b&value=v", None, 400),
        ("POST", "/set?key=a&value=v&value=w", None, 400),
        ("POST", "/set?key=a&value=v&ttl=soon", None, 400),
        ("POST", "/set?key=a&value=v&sync=maybe", None, 400),
        ("POST", "/set?key=%G1&value=v", None, 400), ("POST", "/set?key=%4&value=v", None, 400),
        ("POST", "/set?key=a%&value=v", None, 400), ("POST", "/set?key=a&value=%zz", None, 400),
        ("POST", "/set?%6=a&value=v", None, 400),
        ("GET", "/get", None, 400), ("GET", "/get?key=", None, 400), ("GET", "/get?key", None, 400),
        ("GET", "/get?key=a&key=a", None, 400), ("GET", "/get?key=%", None, 400),
        ("GET", "/get?key=a&value=b", None, 400), ("GET", "/get?Keys=a", None, 400),
        ("DELETE", "/del", None, 400), ("DELETE", "/del?key=", None, 400),
        ("DELETE", "/del?key=%0", None, 400), ("GET", "/get?key=none", None, 404),
        ("DELETE", "/del?key=none", None, 404),
    ]
    with Server() as s, s.connect() as w:
        for method, target, body, status in cases:
            r = w.ask(method, target, body)
            equal(r.status, status, f"{method} {target}")
            if method != "HEAD":
                assert r.body.startswith(b"error: ") and r.body.count(b"\n") == 1, r
            equal("allow" in r.fields, status == 405, f"{method} {target}: Allow")
            assert r.fields.get("connection") != "close", (method, target)
        # With a body, a refusal before it is read ends the connection.
        for target, body, fields, status in [
                ("/set?key=a&value=v", b"w", [], 400), ("/nope", b"w", [], 404),
                ("/set", b"just text", [], 400)]:
            with s.connect() as one:
                r = one.ask("POST", target, body, fields)
                equal((r.status, r.fields["connection"]), (status, "close"), target)
                assert one.ended()
        for body in (b"key=a", b"value=v", b"key=&value=v", b"key=a&value=%", b"key=a&value=v&x=1"):
            equal(w.ask("POST", "/set", body, form).status, 400, body)
        equal(w.ask("GET", "/healthz").status, 200)


@test
def any_bytes_come_back_as_they_went():
    rounds = int.from_bytes(os.urandom(4), "little")
    with Server("--durability", "os") as s, s.connect() as w:
        import random
        rng = random.Random(rounds)
        print(f"# seed {rounds}")
        keep = {}
        for i in range(300):
            key = rng.randbytes(rng.randint(2, 300))  # not one of those below that must not be there
            value = rng.randbytes(rng.choice([0, 1, 7, 100, 5000, 70000]))
            if i % 3 == 0 and len(value) <= 5000:
                r = w.ask("POST", f"/set?key={quote(key)}&value={quote(value)}")
            elif i % 3 == 1:
                r = w.put(key, value)
            else:
                w.send(request("POST", f"/set?key={quote(key)}", fields=[
                    ("Transfer-Encoding", "chunked")]))
                at = 0
                while at < len(value):
                    n = rng.randint(1, 9000)
                    w.send(b"%x\r\n%s\r\n" % (len(value[at:at + n]), value[at:at + n]))
                    at += n
                w.send(b"0\r\n\r\n")
                r = w.read()
            equal(r.status, 200, key)
            keep[key] = value
        for key, value in keep.items():
            r = w.get(key)
            equal((r.status, r.body == value), (200, True), key)
        # Every single byte as a key, and none taken for another.
        for byte in range(256):
            equal(w.put(b"one" + bytes([byte]), bytes([byte])).status, 200)
        for byte in range(256):
            equal(w.get(b"one" + bytes([byte])).body, bytes([byte]))
        equal(w.put("a/../b", b"1").status, 200)
        equal(w.get("b").status, 404)
        equal(w.get("a%2F..%2Fb").status, 404)


@test
def an_empty_value_is_a_value():
    with Server() as s, s.connect() as w:
        equal(w.ask("POST", "/set?key=a&value=").status, 200)
        equal(w.put("b", b"").status, 200)
        w.send(request("POST", "/set?key=c", fields=[("Transfer-Encoding", "chunked")]) + b"0\r\n\r\n")
        equal(w.read().status, 200)
        equal(w.ask("POST", "/set?key=d&value=", b"").status, 200)
        for key in "abcd":
            r = w.get(key)
            equal((r.status, r.body, r.fields["content-length"]), (200, b"", "0"), key)


@test
def sizes_at_their_limits():
    with Server("--max-value", "100K", "--durability", "os") as s:
        n = 100 << 10
        with s.connect() as w:
            equal(w.put("fits", b"x" * n).status, 200)
            equal(len(w.get("fits").body), n)
        with s.connect() as w:
            w.send(request("POST", "/set?key=a", fields=[("Content-Length", n + 1)]))
            r = w.read()
            equal((r.status, r.fields["connection"]), (413, "close"))
        with s.connect() as w:  # refused by its head, though most of the body is still to come
            w.send(request("POST", "/set?key=a", fields=[("Content-Length", 1 << 40)]) + b"x" * 1000)
            equal(w.read().status, 413)
        with s.connect() as w:  # refused before the body is sent
            w.send(request("POST", "/set?key=a", fields=[("Content-Length", n + 1),
                                                         ("Expect", "100-continue")]))
            equal(w.read(interim=True).status, 413)
        with s.connect() as w:  # and asked for when it is wanted
            w.send(request("POST", "/set?key=a", fields=[("Content-Length", 3),
                                                         ("Expect", "100-continue")]))
            equal(w.read(interim=True).status, 100)
            w.send(b"abc")
            equal(w.read().status, 200)
        with s.connect() as w:
            w.send(request("POST", "/set?key=c", fields=[("Transfer-Encoding", "chunked")]))
            w.send(b"%x\r\n" % (n + 1))
            equal(w.read().status, 413, "announced in a chunk")
        with s.connect() as w:
            w.send(request("POST", "/set?key=c", fields=[("Transfer-Encoding", "chunked")]))
            w.send(b"%x\r\n%s\r\n" % (n, b"y" * n))
            w.send(b"1\r\ny\r\n0\r\n\r\n")
            equal(w.read().status, 413, "summed over chunks")
        form = [("Content-Type", "application/x-www-form-urlencoded")]
        with s.connect() as w:
            equal(w.ask("POST", "/set", b"value=v&key=" + b"k" * 65536, form).status, 200)
            equal(w.ask("POST", "/set", b"value=v&key=" + b"k" * 65537, form).status, 413)
        with s.connect() as w:
            line = 16384 - len("GET /get?key= HTTP/1.1")
            equal(w.ask("GET", "/get?key=" + "k" * line).status, 404)
            equal(w.ask("GET", "/get?key=" + "k" * (line + 1)).status, 414)
            assert w.ended()
        for method, target, body in (("GET", "/get", None), ("DELETE", "/del", None), ("POST", "/set", b"v")):
            with s.connect() as w:  # the longest key there may be does not fit a request line
                equal(w.ask(method, f"{target}?key=" + "k" * 65536, body).status, 414)
                assert w.ended()
        with s.connect() as w:
            equal(w.ask("GET", "/get?key=a", fields=[("X", "y")] * 99).status, 200)
            equal(w.ask("GET", "/get?key=a", fields=[("X", "y")] * 100).status, 431)
            assert w.ended()
        with s.connect() as w:
            room = 32768 - len("Host: localhost\r\nX: \r\n\r\n")
            equal(w.ask("GET", "/get?key=a", fields=[("X", "y" * room)]).status, 200)
            equal(w.ask("GET", "/get?key=a", fields=[("X", "y" * (room + 1))]).status, 431)


@test
def large_values_travel_whole():
    with Server("--durability", "os") as s, s.connect(120) as w:
        for mib in (1, 8, 64):
            value = os.urandom(1 << 16) * (mib << 4)
            equal(w.put(f"big{mib}", value).status, 200, f"{mib} MiB")
            r = w.get(f"big{mib}")
            equal((r.status, r.body == value), (200, True), f"{mib} MiB back")
        # Large replies in one go: whether the system takes them at once or in pieces.
        equal(w.put("big0", b"x" * 70000).status, 200)
        w.send(request("GET", "/get?key=big0") * 50)
        equal({len(w.read().body) for _ in range(50)}, {70000})
        w.send(request("GET", "/get?key=big8") * 2 + request("GET", "/get?key=nope"))
        equal([len(w.read().body) for _ in range(3)], [8 << 20, 8 << 20, 21])


@test
def pipelined_requests_are_answered_in_order():
    with Server() as s, s.connect() as w:
        n = 500
        burst = b"".join(request("POST", f"/set?key=k{i}&value=v{i}") for i in range(n))
        burst += b"".join(request("GET", f"/get?key=k{i}") for i in range(n))
        w.send(burst)
        revs = [int(w.read().fields["quern-rev"]) for _ in range(n)]
        equal(revs, sorted(revs))
        equal([w.read().body for _ in range(n)], [b"v%d" % i for i in range(n)])
        # Each sees what stands before it on its connection, a refusal keeps its place.
        w.send(request("POST", "/set?key=x&value=1") + request("GET", "/get?key=x") +
               request("DELETE", "/del?key=x") + request("POST", "/set?key=%zz&value=1") +
               request("GET", "/get?key=x") + request("POST", "/set?key=x", b"2") +
               request("POST", "/set?key=y&value=%") + request("DELETE", "/del?key=x") +
               request("DELETE", "/del?key=x") + request("GET", "/stats"))
        equal([w.read().status for _ in range(10)],
              [200, 200, 200, 400, 404, 200, 400, 200, 404, 200])


@test
def wherever_a_request_is_cut_it_is_the_same_request():
    sized = request("POST", "/set?key=slow", b"value") + request("GET", "/get?key=slow")
    chunked = (request("POST", "/set?key=slow", fields=[("Transfer-Encoding", "chunked")]) +
               b"3;x=y\r\nval\r\n2\r\nue\r\n0\r\nTrailer: x\r\n\r\n" +
               request("GET", "/get?key=slow"))
    with Server("--durability", "os") as s:
        for whole in (sized, chunked):
            with s.connect() as w:
                for byte in whole:
                    w.send(bytes([byte]))
                equal([w.read().body for _ in range(2)], [b"OK\n", b"value"])
            for cut in range(1, len(whole)):
                with s.connect() as w:
                    equal(w.delete("slow").status in (200, 404), True)
                    w.send(whole[:cut])
                    with s.connect() as other:  # so that the server's loops have had their turn
                        other.ask("GET", "/healthz")
                    w.send(whole[cut:])
                    equal([w.read().body for _ in range(2)], [b"OK\n", b"value"], cut)


@test
def framing_that_could_be_read_in_two_ways_is_400_and_the_end():
    begin = b"POST /set?key=a HTTP/1.1\r\nHost: localhost\r\n"
    after = b"GET /get?key=a HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Server() as s:
        for lines in (b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
                      b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                      b"Content-Length: +1\r\n\r\nx", b"Content-Length: 1, 1\r\n\r\nx",
                      b"Content-Length: 18446744073709551617\r\n\r\nx", b"Content-Length: \r\n\r\n",
                      b"Content-Length : 1\r\n\r\nx", b"X: a\r\n b\r\nContent-Length: 1\r\n\r\nx",
                      b"X: a\nContent-Length: 1\r\n\r\nx", b"X: a\0b\r\nContent-Length: 1\r\n\r\nx",
                      b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                      b"Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
                      b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n"):
            with s.connect() as w:
                w.send(begin + lines + after)
                r = w.read()
                equal((r.status, r.fields["connection"]), (400, "close"), lines)
                assert r.body.startswith(b"error: ") and r.body.count(b"\n") == 1, r
                assert w.ended(), lines
        with s.connect() as w:
            equal(w.get("a").status, 404, "none of them set anything")


LINE, HOST, CHUNKED = b"PUT /v1/kv/a HTTP/1.1\r\n", b"Host: localhost\r\n", b"Transfer-Encoding: chunked\r\n"
# Refused, with its status, and the connection ended: for what follows might be taken for another request.
STRICT = [
    *((LINE.replace(b"\r\n", end) + HOST + b"Content-Length: 0\r\n\r\n", 400) for end in (b"\n", b"\r", b"\r\r\n", b" \r\n", b"\t\r\n")),
    *((line + b"\r\n" + HOST + b"Content-Length: 0\r\n\r\n", status) for line, status in (
        (b"PUT  /v1/kv/a HTTP/1.1", 400), (b"PUT /v1/kv/a  HTTP/1.1", 400), (b" PUT /v1/kv/a HTTP/1.1", 400), (b"PUT\t/v1/kv/a HTTP/1.1", 400),
        (b"PUT /v1/kv/a b HTTP/1.1", 400), (b"PUT v1/kv/a HTTP/1.1", 400), (b"PUT * HTTP/1.1", 400), (b"PUT /v1/kv/a#b HTTP/1.1", 400),
        (b"PUT /v1/kv/\x7f HTTP/1.1", 400), (b"PUT /v1/kv/\xc3\xa4 HTTP/1.1", 400), (b"PUT /v1/kv/\x00 HTTP/1.1", 400), (b"PUT /v1/kv/a", 400),
        (b"PUT /v1/kv/a HTTP/1.2", 505), (b"PUT /v1/kv/a HTTP/2.0", 505), (b"PUT /v1/kv/a HTTP/0.9", 505), (b"PUT /v1/kv/a HTTP/1.1.1", 400),
        (b"PUT /v1/kv/a http/1.1", 400), (b"PUT /v1/kv/a HTTP/1", 400), (b"PUT /v1/kv/a HTTP/01.1", 400), (b"P(T /v1/kv/a HTTP/1.1", 400), (b"PUTS /v1/kv/a HTTP/1.1", 501),
        (b"put /v1/kv/a HTTP/1.1", 501), (b"TRACE /v1/kv/a HTTP/1.1", 501), (b"CONNECT localhost:80 HTTP/1.1", 501), (b"PUT http://user@localhost/v1/kv/a HTTP/1.1", 400),
        (b"PUT ftp://localhost/v1/kv/a HTTP/1.1", 400), (b"PUT http:///v1/kv/a HTTP/1.1", 400))),
    *((LINE + fields + b"\r\n", status) for fields, status in (
        (b"", 400), (HOST + HOST, 400), (HOST + b"host: other\r\n", 400), (b"Host: a b\r\n", 400), (b"Host: a/b\r\n", 400), (b"Host : localhost\r\n", 400), (b" Host: localhost\r\n", 400))),
    *((LINE + HOST + fields + b"Content-Length: 0\r\n\r\n", 400) for fields in (
        b"X : y\r\n", b"X\t: y\r\n", b": y\r\n", b"X\r\n", b"X y: z\r\n", b"X(: y\r\n", b"X\x80: y\r\n", b"X: a\x00b\r\n", b"X: a\rb\r\n", b"X: a\n", b"X: \x01\r\n", b"X: \x7f\r\n",
        b"X: a\r\n folded\r\n", b"X: a\r\n\tfolded\r\n", b"\x00: y\r\n", b"X\x00Y: z\r\n", b"\"X\": y\r\n")),
    *((LINE + HOST + fields + b"\r\n1\r\na\r\n0\r\n\r\n", 400) for fields in (
        b"Content-Length: 1\r\nContent-Length: 1\r\n", b"Content-Length: 1\r\ncontent-length: 2\r\n", b"Content-Length: 1, 1\r\n", b"Content-Length: +1\r\n",
        b"Content-Length: -1\r\n", b"Content-Length: 0x1\r\n", b"Content-Length: 1_0\r\n", b"Content-Length: 1 0\r\n", b"Content-Length: 1.0\r\n", b"Content-Length:\r\n",
        b"Content-Length: one\r\n", b"Content-Length: 9223372036854775808\r\n", b"Content-Length: 18446744073709551617\r\n", b"Content-Length : 1\r\n",
        b"Content-Length: 1\r\n" + CHUNKED, CHUNKED + b"Content-Length: 1\r\n", CHUNKED + b"Content-Length: 0\r\n", CHUNKED + CHUNKED, b"Transfer-Encoding: gzip\r\n",
        b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: chunked, gzip\r\n", b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding: chunked;q=1\r\n", b"Transfer-Encoding: \"chunked\"\r\n", b"Transfer-Encoding:\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n", b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding:\r\n chunked\r\n")),
    (LINE.replace(b"1.1", b"1.0") + HOST + CHUNKED + b"\r\n1\r\na\r\n0\r\n\r\n", 400),
    *((LINE + HOST + CHUNKED + b"\r\n" + body, 400) for body in (
        b"0x1\r\na\r\n0\r\n\r\n", b"+1\r\na\r\n0\r\n\r\n", b"-1\r\na\r\n0\r\n\r\n", b"1_0\r\na\r\n0\r\n\r\n", b" 1\r\na\r\n0\r\n\r\n", b"1 \r\na\r\n0\r\n\r\n",
        b"\r\na\r\n0\r\n\r\n", b";x\r\na\r\n0\r\n\r\n", b"00000000000000001\r\na\r\n0\r\n\r\n", b"g\r\na\r\n0\r\n\r\n", b"1\na\r\n0\r\n\r\n", b"1\r\na\n0\r\n\r\n",
        b"1\r\na0\r\n\r\n", b"1\r\nab\r\n0\r\n\r\n", b"1;a\nb\r\na\r\n0\r\n\r\n", b"1;a\rb\r\na\r\n0\r\n\r\n", b"1;\x01\r\na\r\n0\r\n\r\n", b"1\r\na\r\n0\r\n\n",
        b"1\r\na\r\n0\r\n x: y\r\n\r\n", b"1\r\na\r\n0\r\nx : y\r\n\r\n", b"1\r\na\r\n0\r\n: y\r\n\r\n", b"1\r\na\r\n0\r\nx\r\n\r\n", b"1\r\na\r\n0\r\nx: \x01\r\n\r\n",
        b"1\r\na\r\n0\r\nx: y\n\r\n", b"1\r\na\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n0\r\nContent-Length: 1\r\n\r\n")),
    (LINE + HOST + b"Expect: 200-ok\r\nContent-Length: 1\r\n\r\n", 417),
]
# Forgiven, and read as one request and no more: what follows is the next.
TAKEN = [
    (b"\r\n" + LINE + HOST + b"Content-Length: 1\r\n\r\na", b"a"), (LINE + b"hOST:localhost\r\ncontent-LENGTH:   1\r\n\r\na", b"a"),
    (LINE + HOST + b"Content-Length: 0000001\r\n\r\na", b"a"), (b"PUT http://localhost:1/v1/kv/a HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\na", b"a"),
    (LINE + HOST + b"Transfer-Encoding: CHUNKED\r\n\r\n1;a=b\r\na\r\n000\r\nX: y\r\n\r\n", b"a"), (LINE + HOST + CHUNKED + b"\r\n0000000000000001\r\na\r\n0\r\n\r\n", b"a"),
    (LINE + HOST + CHUNKED + b"\r\n2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"), (LINE + HOST + b"X: \xff\x80\r\nY:\r\nContent-Length: 0\r\n\r\n", b""),
]


@test
def what_two_readers_could_take_in_two_ways_is_refused_with_its_status_and_smuggles_nothing():
    behind = request("PUT", "/v1/kv/smuggled", b"x")
    with Server("--durability", "os") as s:
        for data, status in STRICT:
            with s.connect() as w:
                w.send(data + behind)
                r = w.read()
                equal((r.status, r.fields["connection"]), (status, "close"), data)
                assert w.ended(), data
        with s.connect() as w:
            for key in ("a", "smuggled"):
                equal(w.get(key).status, 404)
            for data, value in TAKEN:
                w.send(data + request("GET", "/v1/kv/a") + request("DELETE", "/v1/kv/a"))
                equal([w.read().status for _ in range(1)], [201], data)
                equal(w.read().body, value, data)
                equal(w.read().status, 204)
    print(f"# {len(STRICT)} refused, {len(TAKEN)} taken")


@test
def what_a_query_says_is_decoded_once_as_forms_do():
    with Server("--durability", "os") as s, s.connect() as w:
        def key(written, value, want):
            equal(w.ask("POST", f"/set?key={written}&value={value}").status, 200, written)
            equal(w.get(want[0]).body, want[1], written)

        key("a+b", "c+d", (b"a b", b"c d"))
        key("a%2Bb", "c%2Bd", (b"a+b", b"c+d"))
        key("a%20b", "%00%01", (b"a b", b"\0\1"))
        key("%00", "1", (b"\0", b"1"))
        key("a%00b", "2", (b"a\0b", b"2"))
        key("%2525", "3", (b"%25", b"3"))
        key("%26%3D%3f", "a=b=c", (b"&=?", b"a=b=c"))
        equal(w.get("a").status, 404, "a zero byte does not end a key")
        for text in ("grün", "鍵", "🔑"):  # as it stands, and escaped
            raw = text.encode()
            w.send(b"POST /set?key=" + raw + b"&value=" + raw + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
            equal(w.read().status, 200, text)
            equal(w.get(raw).body, raw)
        status, body = curl(f"http://localhost:{s.port}/get?key=grün")
        equal((status, body), (200, "grün".encode()))


@test
def http_1_0_and_connection_close_end_as_they_say():
    with Server() as s:
        with s.connect() as w:
            w.send(b"GET /healthz HTTP/1.0\r\n\r\n")
            r = w.read()
            equal((r.status, r.fields["connection"]), (200, "close"))
            assert w.ended()
        with s.connect() as w:
            w.send(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            equal(w.read().fields["connection"], "keep-alive")
            equal(w.ask("GET", "/healthz", fields=[("Connection", "close")]).fields["connection"],
                  "close")
            assert w.ended()
        with s.connect() as w:  # a client that has said all it will say is still answered
            w.send(request("POST", "/set?key=a", b"1") + request("GET", "/get?key=a"))
            w.socket.shutdown(1)
            equal([w.read().body for _ in range(2)], [b"OK\n", b"1"])
            assert w.ended()


@test
def racing_deletes_of_one_key_have_one_winner():
    with Server("--durability", "os", "--loops", "4") as s:
        wires = [s.connect() for _ in range(8)]
        for i in range(60):
            equal(wires[0].put(f"k{i}", b"v").status, 200)
            start = threading.Barrier(len(wires))
            got = []

            def one(w):
                start.wait()
                got.append(w.delete(f"k{i}").status)

            threads = [threading.Thread(target=one, args=(w,)) for w in wires]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            equal(sorted(got), [200] + [404] * (len(wires) - 1))
        for w in wires:
            w.socket.close()


@test
def durability_is_what_the_header_says_and_never_less():
    for level, plain in (("always", "synced"), ("interval:50", "buffered"), ("os", "buffered")):
        with Server("--durability", level) as s, s.connect() as w:
            equal(w.put("a", b"1").fields["quern-durability"], plain)
            equal(w.put("a", b"1", "&sync=1").fields["quern-durability"], "synced")
            equal(w.put("a", b"1", "&sync=0").fields["quern-durability"], plain)
            equal(w.ask("DELETE", "/del?key=a&sync=1").fields["quern-durability"], "synced")


@test
def stats_tell_of_server_and_store():
    with Server() as s, s.connect() as w:
        w.put("a", b"1234")
        w.get("a")
        w.get("b")
        stats = json.loads(w.ask("GET", "/stats").body)
        equal(stats["server"]["sets"], 1)
        equal(stats["server"]["gets"], 2)
        equal(stats["server"]["gets_found"], 1)
        equal(stats["server"]["set_bytes"], 5)
        equal(stats["server"]["connections"], 1)
        equal(stats["store"]["puts"], 1)
        equal(stats["store"]["visible_seq"], 1)


@test
def only_our_own_names_and_pages_are_served():
    with Server() as s:
        def status(*lines, method="GET", target="/healthz"):
            with s.connect() as w:
                w.send("\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode())
                return w.read(method == "HEAD").status

        for host in ("localhost", "LOCALHOST:1", "127.0.0.1", f"127.0.0.1:{s.port}", "[::1]:80"):
            equal(status(f"Host: {host}"), 200, host)
        for host in ("evil.example", "localhost.evil.example", "127.0.0.2", "", "[::2]", "localhos"):
            equal(status(f"Host: {host}"), 421, host)
        equal(status("Host: evil.example", target="http://localhost/healthz"), 200)
        equal(status("Host: localhost", target="http://evil.example/healthz"), 421)
        put = {"method": "POST", "target": "/set?key=a&value=b"}
        for line, want in (("Origin: http://localhost", 200), ("Origin: http://localhost:3000", 403),
                           ("Origin: http://evil.example", 403), ("Origin: null", 403),
                           ("Sec-Fetch-Site: same-origin", 200), ("Sec-Fetch-Site: none", 200),
                           ("Sec-Fetch-Site: cross-site", 403), ("Sec-Fetch-Site: same-site", 403)):
            equal(status("Host: localhost", line, **put), want, line)
            equal(status("Host: localhost", line, target="/get?key=a"), 200, line)
        for line in ("Origin: http://evil.example", "Sec-Fetch-Site: cross-site",
                     "Sec-Purpose: prefetch", "Purpose: prefetch"):
            equal(status("Host: localhost", line, target="/shutdown"), 403, line)
        equal(status("Host: evil.example", target="/shutdown"), 421)
        equal(status("Host: localhost"), 200)


@test
def a_connection_that_asked_for_one_of_our_names_is_asked_for_it_again():
    with Server() as s, s.connect() as w:
        for host, want in (("localhost", 200), ("localhost", 200), ("localhose", 421), ("localhos", 421),
                           ("localhost.", 421), ("evil.test", 421), ("127.0.0.1", 200), ("127.0.0.2", 421),
                           ("localhost:80", 200), ("localhost", 200), ("", 421), ("x" * 200, 421)):
            w.send(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            equal(w.read().status, want, host)
        w.send("GET http://localhost/healthz HTTP/1.1\r\nHost: evil.test\r\n\r\n".encode())
        equal(w.read().status, 200)


LAN = """
import fcntl, os, socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 0x41))  # SIOCSIFFLAGS: up
fcntl.ioctl(s, 0x8916, struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton("192.0.2.1")))
os.execv(sys.argv[1], sys.argv[1:])
"""


@test
def only_this_machine_may_shut_it_down():
    """In a network of the server's own, with an address that is not loopback."""
    mine = [] if os.geteuid() == 0 else ["--map-root-user"]
    alone = ["unshare", "--net", *mine, sys.executable, "-c", LAN]
    tried = subprocess.run([*alone, "/bin/true"], capture_output=True, check=False)
    if tried.returncode != 0:
        raise Skip("no network of its own: " + tried.stderr.decode().strip().split("\n")[-1])
    with Server("--listen", "127.0.0.1", "--listen", "192.0.2.1", "--insecure-no-auth",
                command=[*alone, os.environ["QUERND"]]) as s:
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]

        def ask(*arguments):
            there = ["nsenter", *user, "--net", "--target", str(s.process.pid)]
            done = subprocess.run([*there, "curl", "-sS", "-w", "%{http_code}", "--max-time", "30",
                                   "--noproxy", "*", *arguments], capture_output=True, check=True)
            return done.stdout.decode()

        equal(ask("-X", "POST", f"http://192.0.2.1:{s.port}/set?key=a&value=1"), "OK\n200")
        for method in ("GET", "POST"):
            equal(ask("-X", method, f"http://192.0.2.1:{s.port}/shutdown"),
                  "error: only a client on the same machine may shut the server down\n403")
        assert ask(f"http://127.0.0.1:{s.port}/shutdown").endswith("bye\n200")
        equal(s.process.wait(30), 0)


@test
def options_are_checked_and_explained():
    binary = os.environ["QUERND"]

    def run(*options):
        done = subprocess.run([binary, *options], capture_output=True, text=True, timeout=30,
                              check=False)
        return done.returncode, done.stdout + done.stderr

    code, text = run("--help")
    equal(code, 0)
    assert "exit status" in text and "--durability" in text
    code, text = run("--version")
    equal(code, 0)
    assert text.startswith("quernd 0."), text
    for options, want, words in [
            (("--durabilty", "os"), 2, "did you mean --durability"),
            (("--port",), 2, "needs a value"), (("--port", "70000"), 2, "0 to 65535"),
            (("--port", "-1"), 2, "0 to 65535"), (("--durability", "never"), 2, "always"),
            (("--durability", "interval:0"), 2, "interval:MS"), (("--memory", "12Q"), 2, "256M"),
            (("--max-value", "2G"), 2, "1G"), (("--flush-interval", "60"), 2, "unit"),
            (("extra",), 2, "what is extra"), (("--recover", "all"), 2, "tail"),
            (("--listen", "localhost"), 2, "numeric"),
            (("--listen", "0.0.0.0", "--port", "0"), 1, "--insecure-no-auth"),
            (("--listen", "192.0.2.1", "--insecure-no-auth", "--port", "0"), 3, "not an address")]:
        code, text = run(*options)
        equal(code, want, options)
        assert words in text, (options, text)


if __name__ == "__main__":
    main()
