#!/usr/bin/env python3
"""The REST interface: conditions, ranges, /v1/kv, /v1/keys, /v1/batch, and the document that
describes them."""

import base64
import json
import random
import re
import threading
import time
from urllib.parse import urlencode

from quernd import Server, curl, equal, main, quote, request, seeded, test, until
from v1 import b64u, batch, bytes_of, get, is_problem, lines_of, list_all, moment, put, together

# ---------------------------------------------------------------- conditions, ranges, ids


@test
def a_value_has_a_tag_that_changes_with_it_and_outlives_a_restart():
    with Server() as s:
        with s.connect() as w:
            first = w.put("k", b"v").fields["etag"]
            assert re.fullmatch(r'"[0-9a-f]{16}-1"', first), first
            equal(w.get("k").fields["etag"], first)
            equal(w.get("k").fields["accept-ranges"], "bytes")
            equal(get(w, "k").fields["etag"], first)
            second = w.put("k", b"v").fields["etag"]
            assert second != first
        s.kill()
        with Server(data=s.data) as again, again.connect() as w:
            equal(w.get("k").fields["etag"], second)
        with Server() as other, other.connect() as w:
            w.put("k", b"v")
            assert w.put("k", b"v").fields["etag"] != second, "another store has other tags"


@test
def a_client_that_has_the_value_is_told_so():
    with Server() as s, s.connect() as w:
        tag = w.put("k", b"value").fields["etag"]
        for target in ("/get?key=k", "/v1/kv/k", "/v1/kv/k?meta=json"):
            for method in ("GET", "HEAD"):
                for line, status in ((tag, 304), (f"W/{tag}", 304), (f'"x", {tag}', 304), ("*", 304),
                                     ('"x"', 200), ('W/"x","y"', 200)):
                    r = w.ask(method, target, None, [("If-None-Match", line)])
                    equal((r.status, r.fields.get("etag", tag)), (status, tag), (method, target, line))
                    if status == 304:
                        equal((r.body, r.fields["quern-rev"]), (b"", "1"))
                for line, status in ((tag, 200), ("*", 200), (f"W/{tag}", 412), ('"x"', 412)):
                    equal(w.ask(method, target, None, [("If-Match", line)]).status, status, line)
            for line in ("x", '"x', "", '"a" "b"', f"{tag}, *"):
                equal(w.ask("GET", target, None, [("If-None-Match", line)]).status, 400, line)
        equal(w.ask("GET", "/get?key=none", None, [("If-None-Match", "*")]).status, 404)
        equal(w.get("k").body, b"value", "the connection is in step")
        # Conditions are not passed over where they are not understood.
        for method, target in (("POST", "/set?key=k&value=lost"), ("DELETE", "/del?key=k")):
            for name in ("If-Match", "If-None-Match"):
                equal(w.ask(method, target, None, [(name, '"x"')]).status, 400, target)
        equal(w.get("k").body, b"value")
    with Server() as s, s.connect() as w:  # half a condition is another one
        w.put("k", b"v")
        r = w.ask("GET", "/get?key=k", None, [("If-Match", "*"), ("If-Match", '"x"')])
        equal((r.status, r.fields["connection"]), (400, "close"))


@test
def a_range_is_that_part_of_the_value():
    value = bytes(range(256)) * 1000
    with Server("--durability", "os") as s, s.connect() as w:
        tag = w.put("k", value).fields["etag"]
        w.put("empty", b"")
        for target in ("/get?key=k", "/v1/kv/k"):
            for asked, part in (("bytes=0-0", value[:1]), ("bytes=5-9", value[5:10]), ("bytes=-3", value[-3:]),
                                ("bytes=255990-", value[255990:]), ("bytes=7-99999999", value[7:]),
                                ("bytes=100-200099", value[100:200100])):
                r = w.ask("GET", target, None, [("Range", asked)])
                equal((r.status, r.body == part), (206, True), asked)
                at = value.index(part) if len(part) < 300 else {7: 7, 100: 100}[int(asked[6:].split("-")[0])]
                at = 255997 if asked == "bytes=-3" else 255990 if asked == "bytes=255990-" else at
                equal(r.fields["content-range"], f"bytes {at}-{at + len(part) - 1}/{len(value)}")
                equal(r.fields["etag"], tag)
                r = w.ask("HEAD", target, None, [("Range", asked)])
                equal((r.status, r.fields["content-length"]), (200, str(len(value))))
            for asked in ("bytes=256000-", "bytes=-0"):
                r = w.ask("GET", target, None, [("Range", asked)])
                equal((r.status, r.fields["content-range"]), (416, "bytes */256000"))
            for asked in ("bytes=0-1,5-6", "lines=0-1", "bytes=5-2", "bytes=x"):
                equal(w.ask("GET", target, None, [("Range", asked)]).status, 200, asked)
            for tagged, status in ((tag, 206), ('"x"', 200), (f"W/{tag}", 200),
                                   ("Sun, 06 Nov 1994 08:49:37 GMT", 200)):
                equal(w.ask("GET", target, None, [("Range", "bytes=0-9"), ("If-Range", tagged)]).status,
                      status, tagged)
            equal(w.ask("GET", target, None, [("Range", "bytes=0-9"), ("If-None-Match", tag)]).status, 304)
        equal(w.ask("GET", "/get?key=empty", None, [("Range", "bytes=0-")]).status, 416)
        w.send(request("GET", "/v1/kv/k", fields=[("Range", "bytes=100-200099")]) * 20)
        equal({w.read().body == value[100:200100] for _ in range(20)}, {True})


@test
def every_reply_names_its_request():
    with Server() as s, s.connect() as w:
        seen = set()
        for method, target in (("GET", "/healthz"), ("GET", "/nope"), ("POST", "/set?key=a&value=b"),
                               ("PUT", "/v1/kv/a"), ("GET", "/v1/nope"), ("OPTIONS", "/v1/kv/a")):
            seen.add(w.ask(method, target).fields["x-request-id"])
            mine = "6e0c7d1e-5f6a"
            equal(w.ask(method, target, None, [("X-Request-Id", mine)]).fields["x-request-id"], mine)
        equal(len(seen), 6)
        for odd in ("a b", "x" * 65, 'a"b', "\xe4"):
            assert w.ask("GET", "/healthz", None, [("X-Request-Id", odd)]).fields["x-request-id"] != odd
        w.send(b"BAD\r\n\r\n")
        assert w.read().fields["x-request-id"]


@test
def errors_are_problems_where_they_are_asked_for():
    with Server() as s, s.connect() as w:
        is_problem(w.ask("GET", "/get?key=a", None, [("Accept", "application/problem+json")]), 404,
                   "key_not_found")
        equal(w.ask("GET", "/get?key=a", None, [("Accept", "*/*")]).body, b"error: key not found\n")
        is_problem(w.ask("GET", "/v1"), 404, "no_such_route")
        is_problem(w.ask("GET", "/v1/"), 404, "no_such_route")
        is_problem(w.ask("GET", "/v1/kv/a"), 404, "key_not_found")
        equal(w.ask("GET", "/v10").body[:6], b"error:")


# ---------------------------------------------------------------- one key


@test
def a_value_is_put_got_and_deleted():
    with Server() as s, s.connect() as w:
        r = put(w, "a/b c", b"one")
        equal((r.status, r.body, r.fields["location"]), (201, b"", "/v1/kv/a%2Fb%20c"))
        equal((r.fields["quern-rev"], r.fields["quern-durability"]), ("1", "synced"))
        r = put(w, "a/b c", b"two")
        equal((r.status, r.body, "location" in r.fields), (204, b"", False))
        r = w.ask("GET", "/v1/kv/a/b%20c")
        equal((r.status, r.body, r.fields["content-type"]), (200, b"two", "application/octet-stream"))
        equal(r.fields["content-security-policy"], "default-src 'none'; sandbox")
        equal(w.ask("GET", "/v1/kv?key=a/b+c").body, b"two")
        equal(w.ask("HEAD", "/v1/kv/a/b%20c").fields["content-length"], "3")
        equal(json.loads(w.ask("GET", "/v1/kv/a/b%20c?meta=json").body),
              {"key": "a/b c", "size": 3, "rev": 2, "value": "two"})
        r = w.ask("DELETE", "/v1/kv/a/b%20c?return=old")
        equal((r.status, r.body, r.fields["quern-rev"]), (200, b"two", "3"))
        is_problem(w.ask("DELETE", "/v1/kv/a/b%20c?return=old"), 404, "key_not_found")
        equal(put(w, "x", b"").status, 201)
        equal((get(w, "x").status, get(w, "x").body), (200, b""))
        equal(w.ask("DELETE", "/v1/kv/x").status, 204)
        is_problem(get(w, "x"), 404, "key_not_found")
        w.send(request("PUT", "/v1/kv/chunked", fields=[("Transfer-Encoding", "chunked")]) +
               b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        equal(w.read().status, 201)
        equal(get(w, "chunked").body, b"abcde")
        equal(w.ask("PUT", "/v1/kv/c+d", b"plus").status, 201)
        equal((get(w, "c+d").body, get(w, "c d").status), (b"plus", 404))
        u = f"http://localhost:{s.port}"
        equal(curl("-X", "PUT", "--data-binary", "v", f"{u}/v1/kv/curl")[0], 201)
        equal(curl(f"{u}/v1/kv/curl"), (200, b"v"))


@test
def keys_of_any_bytes_round_trip():
    rng = seeded()
    keys = {rng.randbytes(rng.randint(1, 300)) for _ in range(150)}
    keys |= {bytes([b]) for b in range(256)} | {b".", b"..", b"a/../b", b"//", b"/", b"%2F", b"a+b", b"a b", b"?", b"#"}
    with Server("--durability", "os") as s, s.connect() as w:
        ways = [lambda k: f"/v1/kv/{quote(k)}", lambda k: f"/v1/kv?key={quote(k)}",
                lambda k: f"/v1/kv?{urlencode({'key': k})}", lambda k: f"/v1/kv/{b64u(k)}?enc=b64u",
                lambda k: f"/v1/kv?enc=b64u&key={b64u(k)}", None]
        for i, key in enumerate(sorted(keys)):
            value = rng.randbytes(rng.randint(0, 50))
            way = rng.choice(ways)
            if way is None:
                r = batch(w, {"op": "put", "key_b64": base64.b64encode(key).decode(),
                              "value_b64": base64.b64encode(value).decode()})
                equal(r.status, 200, key)
            else:
                r = w.ask("PUT", way(key), value)
                equal(r.status, 201, key)
                equal(w.ask("GET", r.fields["location"]).body, value, "Location names it")
            for other in ways[:-1]:
                equal(w.ask("GET", other(key)).body, value, (key, other(key)))
            told = json.loads(batch(w, {"op": "get", "key_b64": b64u(key)}).body)["results"][0]["item"]
            equal(bytes_of(told, "key"), key)
            equal(bytes_of(told, "value"), value)
            if i % 3 == 0:
                equal(w.ask("DELETE", rng.choice(ways[:-1])(key)).status, 204)
                keys.discard(key)
        listed = list_all(w, "limit=50")
        equal([bytes_of(i, "key") for i in listed], sorted(keys))


@test
def conditions_decide_over_writes():
    with Server() as s, s.connect() as w:
        tag = put(w, "k", b"1", fields=[("If-None-Match", "*")]).fields["etag"]
        told = is_problem(put(w, "k", b"2", fields=[("If-None-Match", "*")]), 412, "precondition_failed")
        equal(told["current_etag"], tag)
        equal(put(w, "k", b"3", fields=[("If-Match", '"x"')]).status, 412)
        equal(put(w, "k", b"3", fields=[("If-Match", f"W/{tag}")]).status, 412)
        equal(put(w, "k", b"3", fields=[("If-None-Match", f'"x", {tag}')]).status, 412)
        equal(get(w, "k").body, b"1")
        r = put(w, "k", b"4", fields=[("If-Match", f'"x", {tag}')])
        equal(r.status, 204)
        told = is_problem(put(w, "k", b"5", fields=[("If-Match", tag)]), 412, "precondition_failed")
        equal(told["current_etag"], r.fields["etag"])
        equal(put(w, "k", b"6", fields=[("If-Match", "*")]).status, 204)
        told = is_problem(put(w, "none", b"7", fields=[("If-Match", "*")]), 412, "precondition_failed")
        equal(told["current_etag"], None)
        equal(put(w, "none", b"7", fields=[("If-None-Match", '"x"')]).status, 201)
        for line in ("x", '"x'):  # a refusal before the body is the end of the connection
            with s.connect() as one:
                is_problem(put(one, "k", b"8", fields=[("If-Match", line)]), 400, "bad_etag")
        now = get(w, "k").fields["etag"]
        equal(w.ask("DELETE", "/v1/kv/k", None, [("If-Match", tag)]).status, 412)
        equal(w.ask("POST", "/v1/kv/k?op=incr", None, [("If-Match", tag)]).status, 412)
        equal(get(w, "k").body, b"6")
        equal(w.ask("POST", "/v1/kv/k?op=incr", None, [("If-Match", now)]).status, 200)
        equal(w.ask("DELETE", "/v1/kv/k", None, [("If-Match", "*")]).status, 204)
        equal(w.ask("DELETE", "/v1/kv/k", None, [("If-Match", "*")]).status, 404)


@test
def values_are_changed_in_place():
    with Server("--max-value", "1K") as s, s.connect() as w:
        r = w.ask("POST", "/v1/kv/n?op=incr")
        equal((r.status, json.loads(r.body)), (200, {"value": 1, "rev": 1}))
        equal(json.loads(w.ask("POST", "/v1/kv/n?op=incr&by=-5").body)["value"], -4)
        equal(get(w, "n").body, b"-4")
        top = 2**63 - 1
        equal(json.loads(w.ask("POST", f"/v1/kv/big?op=incr&by={top}").body)["value"], top)
        is_problem(w.ask("POST", "/v1/kv/big?op=incr"), 409, "integer_overflow")
        equal(json.loads(w.ask("POST", f"/v1/kv/low?op=incr&by={-2**63}").body)["value"], -2**63)
        for text in (b"", b"x", b"1 ", b" 1", b"+1", b"01", b"-0", b"1.5", b"9223372036854775808", b"1\n", b"-"):
            put(w, "t", text)
            is_problem(w.ask("POST", "/v1/kv/t?op=incr"), 409, "not_an_integer")
            equal(get(w, "t").body, text)
        for by in ("", "x", "1.5", "9223372036854775808", "+1"):
            is_problem(w.ask("POST", f"/v1/kv/n?op=incr&by={quote(by)}"), 400, "bad_parameter")
        r = w.ask("POST", "/v1/kv/s?op=append", b"ab")
        equal(json.loads(r.body)["size"], 2)
        r = w.ask("POST", "/v1/kv/s?op=append", b"\0c")
        equal((json.loads(r.body)["size"], get(w, "s").body), (4, b"ab\0c"))
        equal(get(w, "s").fields["etag"], r.fields["etag"])
        is_problem(w.ask("POST", "/v1/kv/s?op=append", b"x" * 1021), 413, "value_too_large")
        equal(w.ask("POST", "/v1/kv/s?op=append", b"x" * 1020).status, 200)
        r = w.ask("POST", "/v1/kv/g?op=getset", b"1")
        equal((r.status, r.body), (204, b""))
        r = w.ask("POST", "/v1/kv/g?op=getset", b"2")
        equal((r.status, r.body, get(w, "g").body), (200, b"1", b"2"))
        is_problem(w.ask("POST", "/v1/kv/g"), 400, "bad_parameter")
        is_problem(w.ask("POST", "/v1/kv/g?op=nope"), 400, "bad_parameter")
        is_problem(w.ask("POST", "/v1/kv/g?op=append"), 400, "missing_parameter")
        for query, code in (("op=append&by=1", "unknown_parameter"), ("op=incr", "body_not_expected")):
            with s.connect() as one:
                is_problem(one.ask("POST", f"/v1/kv/g?{query}", b"x"), 400, code)


@test
def racing_writers_lose_nothing_and_hear_the_truth():
    with Server("--durability", "os", "--loops", "4") as s:
        told, lock = [], threading.Lock()

        def one(number):
            rng = random.Random(number)
            with s.connect() as w:
                for i in range(60):
                    equal(w.ask("POST", "/v1/kv/n?op=incr").status, 200)
                    r = get(w, "list")
                    while True:  # read, change, write if it is still the same
                        fields = [("If-Match", r.fields["etag"])] if r.status == 200 else [("If-None-Match", "*")]
                        mine = (r.body if r.status == 200 else b"") + b"%d:%d," % (number, i)
                        status = put(w, "list", mine, fields=fields).status
                        if status in (201, 204):
                            break
                        equal(status, 412)
                        r = get(w, "list")
                    for _ in range(5):
                        if rng.random() < 0.5:
                            status = put(w, "x", b"v").status
                            assert status in (201, 204), status
                        else:
                            status = -w.ask("DELETE", "/v1/kv/x").status
                            assert status in (-204, -404), status
                        with lock:
                            told.append(status)

        together(one, 4)
        with s.connect() as w:
            equal(get(w, "n").body, b"240")
            equal(sorted(get(w, "list").body.split(b",")[:-1]),
                  sorted(b"%d:%d" % (n, i) for n in range(4) for i in range(60)))
            # Each creation but the last was followed by one deletion that found something.
            equal(told.count(201) - told.count(-204), int(get(w, "x").status == 200))


@test
def a_write_that_had_to_look_again_is_not_overtaken_on_its_connection():
    with Server("--durability", "os", "--loops", "4") as s:
        done = threading.Event()

        def one(number):
            with s.connect() as w:
                if number > 0:  # they make it look again
                    while not done.is_set():
                        w.send(request("PUT", "/v1/kv/k", b"other") + request("DELETE", "/v1/kv/k"))
                        assert w.read().status in (201, 204) and w.read().status in (204, 404)
                    return
                try:
                    for i in range(1500):
                        w.send(request("PUT", "/v1/kv/k", b"first%d" % i) + request("POST", "/set?key=k", b"then") +
                               request("GET", "/get?key=k"))
                        first, then, last = w.read(), w.read(), w.read()
                        assert first.status in (201, 204) and then.status == 200, (first, then)
                        assert not last.body.startswith(b"first"), last
                finally:
                    done.set()

        together(one, 4)


@test
def requests_on_one_connection_see_those_before():
    with Server("--durability", "os") as s, s.connect() as w:
        w.send(request("PUT", "/v1/kv/k", b"1") + request("POST", "/set?key=k", b"2") +
               request("GET", "/v1/kv/k") + request("PUT", "/v1/kv/k", b"3") +
               request("POST", "/v1/kv/k?op=incr") + request("GET", "/get?key=k") +
               request("DELETE", "/v1/kv/k") + request("GET", "/v1/kv/k"))
        equal([(r.status, r.body) for r in (w.read() for _ in range(7))],
              [(201, b""), (200, b"OK\n"), (200, b"2"), (204, b""), (200, b'{"value":4,"rev":4}\n'),
               (200, b"4"), (204, b"")])
        equal(w.read().status, 404)


@test
def durability_is_chosen_and_told():
    for level, plain in (("always", "synced"), ("interval:50", "buffered"), ("os", "buffered")):
        with Server("--durability", level) as s, s.connect() as w:
            for send in (lambda more: put(w, "k", b"1", more), lambda more: batch(w, {"op": "put", "key": "a", "value": ""}, more=more),
                         lambda more: w.ask("POST", f"/v1/kv/k{more}{'&' if more else '?'}op=incr")):
                equal(send("").fields["quern-durability"], plain)
                equal(send("?sync=always").fields["quern-durability"], "synced")
                equal(send("?sync=os").fields["quern-durability"], "buffered")
            for wrong in ("1", "", "never"):
                with s.connect() as one:
                    is_problem(put(one, "k", b"1", f"?sync={wrong}"), 400, "bad_parameter")
                with s.connect() as one:
                    is_problem(batch(one, more=f"?sync={wrong}"), 400, "bad_parameter")


@test
def a_parameter_that_is_wrong_is_named():
    with Server() as s, s.connect() as w:
        for target, words in (("/v1/keys?limit=1&db=1&db=1", b"the parameter db is given twice"),
                              ("/get?key=a&key=a", b"the parameter key is given twice"),
                              ("/v1/keys?limit", b"the parameter limit has no =")):
            r = w.ask("GET", target)
            equal(r.status, 400, target)
            assert words in r.body, (target, r.body)


@test
def what_is_not_understood_is_refused_and_nothing_done():
    with Server() as s, s.connect() as w:
        put(w, "k", b"v")
        for method, target, code in (
                ("GET", "/v1/kv/k?Meta2=json", "unknown_parameter"), ("GET", "/v1/kv/k?meta=xml", "bad_parameter"),
                ("GET", "/v1/kv/k?meta=json&meta=json", "duplicate_parameter"), ("GET", "/v1/kv/k?sync=os", "unknown_parameter"),
                ("PUT", "/v1/kv/k?synk=os", "unknown_parameter"), ("PUT", "/v1/kv/k?return=old", "unknown_parameter"),
                ("PUT", "/v1/kv/k?expires=1", "unknown_parameter"), ("GET", "/v1/kv/k?ttl=60", "unknown_parameter"),
                ("PUT", "/v1/kv/k?key=k", "duplicate_parameter"), ("PUT", "/v1/kv/%zz", "bad_percent_encoding"),
                ("PUT", "/v1/kv/%4", "bad_percent_encoding"), ("PUT", "/v1/kv/a*?enc=b64u", "bad_parameter"),
                ("PUT", "/v1/kv/abcd?enc=hex", "bad_parameter"), ("DELETE", "/v1/kv/k?return=new", "bad_parameter"),
                ("GET", "/v1/kv", "missing_parameter"), ("GET", "/v1/kv/", "missing_parameter"),
                ("GET", "/v1/kv?key=", "missing_parameter"), ("DELETE", "/v1/kv", "missing_parameter"),
                ("DELETE", "/v1/kv/", "missing_parameter"), ("DELETE", "/v1/kv?key=", "missing_parameter"),
                ("DELETE", "/v1/kv?prefix=k", "unknown_parameter")):
            is_problem(w.ask(method, target), 400, code)
        is_problem(w.ask("PUT", "/v1/kv/k", None), 400, "missing_parameter")
        for target in ("/", "/v1", "/v1/", "/v1/keys"):
            assert w.ask("DELETE", target).status in (400, 404, 405), target
        r = w.ask("PATCH", "/v1/kv/k")
        is_problem(r, 405, "method_not_allowed")
        equal(r.fields["allow"], "GET, HEAD, PUT, DELETE, POST, OPTIONS")
        equal(w.ask("OPTIONS", "/v1/kv/any/thing").fields["allow"], r.fields["allow"])
        equal(get(w, "k").body, b"v")
        with s.connect() as one:
            one.send(b"PUT /v1/kv/k HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nContent-Length: 1\r\n\r\nx")
            is_problem(one.read(), 403, "cross_site")


# ---------------------------------------------------------------- lifetimes


@test
def a_lifetime_is_said_in_many_ways_and_told_in_one():
    with Server("--durability", "os") as s, s.connect() as w:
        later = "2100-01-02T03:04:05.678Z"
        for more, fields, span in (("?ttl=90s", [], 90), ("?ttl=90", [], 90), ("?ttl=90000ms", [], 90), ("?ttl=2m", [], 120),
                                   ("?ttl=3h", [], 10800), ("?ttl=30d", [], 2592000), ("", [("Quern-TTL", "90")], 90),
                                   ("", [("Quern-TTL", "2m")], 120)):
            before = time.time()
            r = put(w, "k", b"v", more, fields)
            after = time.time()
            assert r.status in (201, 204), r
            told = moment(r.fields["quern-expires-at"])
            assert before + span - 0.002 <= told <= after + span, (more, before, told, after)
            for asked in (get(w, "k"), w.ask("HEAD", "/v1/kv/k"), w.get("k")):
                equal(asked.fields["quern-expires-at"], r.fields["quern-expires-at"], more)
            equal(get(w, "k", fields=[("If-None-Match", "*")]).fields["quern-expires-at"], r.fields["quern-expires-at"])
            equal(get(w, "k", fields=[("Range", "bytes=0-0")]).fields["quern-expires-at"], r.fields["quern-expires-at"])
        for more, fields in ((f"?expires_at={later}", []), ("?expires_at=2100-01-02T05:04:05.678%2B02:00", []),
                             ("", [("Quern-Expires-At", later)]), ("", [("Quern-Expires-At", "2100-01-01T22:04:05.678-05:00")])):
            equal(put(w, "k", b"v", more, fields).fields["quern-expires-at"], later, more)
        told = json.loads(get(w, "k", "?meta=json").body)
        equal(told["expires_at"], later)
        put(w, "z", b"")
        items = json.loads(w.ask("GET", "/v1/keys").body)["items"]
        equal([i.get("expires_at") for i in items], [later, None])
        equal("quern-expires-at" in get(w, "z").fields, False)
        # A put without one lives for ever; keepttl keeps what is there, and there is nothing to keep of none.
        equal("quern-expires-at" in put(w, "k", b"v").fields, False)
        put(w, "k", b"v", f"?expires_at={later}")
        for more in ("?keepttl", "?keepttl=1"):
            equal(put(w, "k", b"w", more).fields["quern-expires-at"], later)
        equal("quern-expires-at" in put(w, "k", b"w", "?keepttl=0").fields, False)
        equal("quern-expires-at" in put(w, "new", b"w", "?keepttl").fields, False)
        # Plain /set, by query, form and field.
        form = [("Content-Type", "application/x-www-form-urlencoded")]
        for r in (w.ask("POST", f"/set?key=p&value=1&expires_at={later}"), w.ask("POST", f"/set?key=p&expires_at={later}", b"1"),
                  w.ask("POST", "/set", f"key=p&value=1&expires_at={later}".encode(), form),
                  w.ask("POST", f"/set?expires_at={later}", b"key=p&value=1", form),
                  w.ask("POST", "/set?key=p&value=1", None, [("Quern-Expires-At", later)])):
            equal((r.status, r.fields["quern-expires-at"]), (200, later), r)
            equal(w.get("p").fields["quern-expires-at"], later)
        equal("quern-expires-at" in w.ask("POST", "/set?key=p&value=1").fields, False)
        assert "quern-expires-at" in w.ask("POST", "/set?key=p&value=1&ttl=60").fields


@test
def what_changes_a_value_in_place_leaves_it_its_end():
    later = "2100-01-02T03:04:05.678Z"
    with Server("--durability", "os") as s, s.connect() as w:
        put(w, "n", b"1", f"?expires_at={later}")
        for r in (w.ask("POST", "/v1/kv/n?op=incr"), w.ask("POST", "/v1/kv/n?op=append", b"0"),
                  w.ask("POST", "/v1/kv/n?op=getset&keepttl", b"7")):
            equal((r.status, r.fields["quern-expires-at"]), (200, later))
            equal(get(w, "n").fields["quern-expires-at"], later)
        r = w.ask("POST", "/v1/kv/n?op=touch&ttl=1h")
        told = json.loads(r.body)
        equal((r.status, told["rev"], told["expires_at"]), (200, 5, r.fields["quern-expires-at"]))
        now = get(w, "n")
        equal((now.body, now.fields["quern-expires-at"], now.fields["etag"]), (b"7", told["expires_at"], r.fields["etag"]))
        r = w.ask("POST", "/v1/kv/n?op=persist")
        equal((r.status, json.loads(r.body)), (200, {"rev": 6, "expires_at": None}))
        equal(("quern-expires-at" in get(w, "n").fields, get(w, "n").body), (False, b"7"))
        again = w.ask("POST", "/v1/kv/n?op=persist")  # nothing is to be written
        equal((json.loads(again.body)["rev"], again.fields["etag"]), (6, get(w, "n").fields["etag"]))
        equal(w.ask("POST", f"/v1/kv/n?op=touch&expires_at={later}", None, [("If-Match", again.fields["etag"])]).status, 200)
        equal(w.ask("POST", "/v1/kv/n?op=touch&ttl=1h", None, [("If-Match", again.fields["etag"])]).status, 412)
        equal(w.ask("POST", "/v1/kv/n?op=getset", b"8").body, b"7")
        equal("quern-expires-at" in get(w, "n").fields, False, "getset puts anew")
        assert "quern-expires-at" in w.ask("POST", "/v1/kv/n?op=getset&ttl=60", b"8").fields
        for op in ("touch&ttl=5", "persist"):
            is_problem(w.ask("POST", f"/v1/kv/none?op={op}"), 404, "key_not_found")
        r = batch(w, {"op": "put", "key": "a", "value": "1", "ttl": 3600}, {"op": "put", "key": "b", "value": "1", "ttl": "90m"},
                  {"op": "put", "key": "c", "value": "1", "expires_at": later}, {"op": "get", "key": "c"}, {"op": "put", "key": "d", "value": ""})
        equal((r.status, json.loads(r.body)["results"][3]["item"]["expires_at"]), (200, later))
        equal(["quern-expires-at" in get(w, k).fields for k in "abcd"], [True, True, True, False])


@test
def a_lifetime_that_is_not_one_is_refused_and_nothing_done():
    with Server("--durability", "os") as s, s.connect() as w:
        put(w, "k", b"v")
        for query in ("ttl=", "ttl=0", "ttl=-1", "ttl=1.5", "ttl=x", "ttl=1w", "ttl=+5", "ttl=%2090", "ttl=99999999999999999999", "ttl=9999999d",
                      "ttl=90%00", "expires_at=", "expires_at=0", "expires_at=1795348800", "expires_at=2100-01-01", "expires_at=2100-02-29T00:00:00Z",
                      "expires_at=1970-01-01T00:00:00Z", "expires_at=2001-01-01T00:00:00Z", "keepttl=maybe", "ttl=5&keepttl",
                      "ttl=5&expires_at=2100-01-01T00:00:00Z", "expires_at=2100-01-01T00:00:00Z&keepttl"):
            with s.connect() as one:
                is_problem(one.ask("PUT", f"/v1/kv/k?{query}", b"lost"), 400, "bad_ttl")
            for op in ("touch", "getset"):
                is_problem(w.ask("POST", f"/v1/kv/k?op={op}&{query}", None), 400, "bad_ttl")
            if "keepttl" not in query:
                equal(w.ask("POST", f"/set?key=k&value=lost&{query}").status, 400, query)
        for fields in ([("Quern-TTL", "0")], [("Quern-TTL", "soon")], [("Quern-Expires-At", "yesterday")], [("Quern-TTL", "")],
                       [("Quern-Expires-At", "1")], [("Quern-TTL", "5"), ("Quern-Expires-At", "2100-01-01T00:00:00Z")]):
            with s.connect() as one:
                is_problem(put(one, "k", b"lost", fields=fields), 400, "bad_ttl")
            equal(w.ask("POST", "/set?key=k&value=lost", None, fields).status, 400, fields)
        with s.connect() as one:
            is_problem(put(one, "k", b"lost", "?ttl=5", [("Quern-TTL", "5")]), 400, "bad_ttl")
        for query in ("op=touch", "op=touch&keepttl", "op=incr&ttl=5", "op=append&ttl=5", "op=persist&ttl=5", "op=incr&keepttl"):
            is_problem(w.ask("POST", f"/v1/kv/k?{query}"), 400, "bad_ttl")
        for method in ("GET", "HEAD", "DELETE"):
            equal(w.ask(method, "/v1/kv/k", None, [("Quern-TTL", "5")]).status, 400)
        for method, target in (("GET", "/get?key=k"), ("DELETE", "/del?key=k")):
            equal(w.ask(method, target, None, [("Quern-TTL", "5")]).status, 400, target)
        form = [("Content-Type", "application/x-www-form-urlencoded")]
        for target, body in (("/set", b"key=k&value=lost&ttl=0"), ("/set?ttl=5", b"key=k&value=lost&ttl=5")):
            with s.connect() as one:
                equal(one.ask("POST", target, body, form).status, 400, target)
        equal(get(w, "k").body, b"v")


@test
def from_its_end_on_a_key_is_absent_to_everybody():
    with Server("--durability", "os") as s, s.connect() as w:
        def gone(key):
            """Until the key is gone; it is there before its end and never after."""
            end = None
            while True:
                before = time.time()
                r = get(w, key)
                if r.status == 404:
                    return end
                end = moment(r.fields["quern-expires-at"])
                assert before < end, "read after its end"

        put(w, "k", b"1", "?ttl=700ms")
        end = gone("k")
        assert end is None or time.time() >= end, "gone before its end"
        for r in (w.ask("DELETE", "/v1/kv/k"), w.ask("POST", "/v1/kv/k?op=touch&ttl=60"), w.ask("POST", "/v1/kv/k?op=persist"), w.delete("k"),
                  w.get("k"), get(w, "k", "?meta=json")):
            equal(r.status, 404)
        told = is_problem(put(w, "k", b"2", fields=[("If-Match", "*")]), 412, "precondition_failed")
        equal(told["current_etag"], None)
        told = is_problem(batch(w, {"op": "check", "key": "k", "exists": True}), 409, "precondition_failed")
        equal(told["current_rev"], None)
        equal(json.loads(batch(w, {"op": "check", "key": "k", "exists": False}, {"op": "get", "key": "k"}).body)["results"][1], {"item": None})
        equal(json.loads(w.ask("GET", "/v1/keys").body)["items"], [])
        equal(json.loads(w.ask("GET", "/v1/keys?count").body)["count"], 0)
        equal(put(w, "k", b"2", "?ttl=700ms", [("If-None-Match", "*")]).status, 201)
        gone("k")
        equal(json.loads(w.ask("POST", "/v1/kv/k?op=incr").body)["value"], 1)
        equal("quern-expires-at" in get(w, "k").fields, False, "an end is not inherited from what is gone")
        put(w, "k", b"x", "?ttl=700ms")
        gone("k")
        equal((put(w, "k", b"3", "?keepttl").status, "quern-expires-at" in get(w, "k").fields), (201, False))
        put(w, "g", b"x", "?ttl=700ms")
        gone("g")
        equal(w.ask("POST", "/v1/kv/g?op=getset", b"y").status, 204)
        s.kill()
        with Server(data=s.data) as again, again.connect() as w:
            equal((get(w, "k").body, get(w, "g").body), (b"3", b"y"))


# ---------------------------------------------------------------- many keys


@test
def a_listing_is_whole_whatever_its_pages():
    rng = seeded()
    with Server("--durability", "os") as s, s.connect() as w:
        keys = sorted({rng.choice([b"", b"a", b"ab/", b"b\xff", b"\xff\xff"]) + rng.randbytes(rng.randint(1, 4))
                       for _ in range(700)})
        for at in range(0, len(keys), 100):
            ops = [{"op": "put", "key_b64": b64u(k), "value_b64": b64u(k[::-1])} for k in keys[at:at + 100]]
            equal(batch(w, *ops).status, 200)
        for limit in (1, 7, 100, 1000):
            few = keys if limit > 1 else keys[:40]
            end = "" if limit > 1 else f"&end={quote(keys[40])}"
            got = list_all(w, f"limit={limit}&values{end}")
            equal([(bytes_of(i, "key"), bytes_of(i, "value")) for i in got], [(k, k[::-1]) for k in few])
            got = list_all(w, f"limit={limit}&reverse{end}")
            equal([bytes_of(i, "key") for i in got], few[::-1])
        for prefix in (b"a", b"ab/", b"b\xff", b"\xff\xff", b"none"):
            want = [k for k in keys if k.startswith(prefix)]
            for order in ("", "&reverse=1"):
                got = [bytes_of(i, "key") for i in list_all(w, f"limit=13&prefix={quote(prefix)}{order}")]
                equal(got, want[::-1] if order else want, (prefix, order))
        for _ in range(30):
            start, end = sorted((rng.choice(keys), rng.choice(keys) + b"\0"))
            want = [k for k in keys if start <= k < end]
            got = list_all(w, f"limit=50&start={quote(start)}&end={quote(end)}")
            equal([bytes_of(i, "key") for i in got], want)
            counted = json.loads(w.ask("GET", f"/v1/keys?count&max_scan_ms=1000&start={quote(start)}&end={quote(end)}").body)
            equal(counted, {"count": len(want), "complete": True})
        item = json.loads(w.ask("GET", f"/v1/keys?limit=1&start={quote(keys[0])}").body)["items"][0]
        equal(item["size"], len(keys[0]))
        equal(int(get(w, keys[0]).fields["quern-rev"]), item["rev"])


@test
def a_delimiter_makes_folders():
    keys = ["a", "a/", "a/1", "a/2/x", "b", "b/1", "b//", "c", "d\xff", "d\xff/1", "e/1"]
    with Server("--durability", "os") as s, s.connect() as w:
        for key in keys:
            put(w, key, b"")
        for order in ("", "&reverse"):
            for limit in (1, 2, 3, 100):
                query = f"delimiter=/&limit={limit}{order}"
                items, groups = list_all(w, query), list_all(w, query, "prefixes")
                equal(sorted(i["key"] for i in items), ["a", "b", "c", "d\xff"])
                equal(sorted(g["prefix"] for g in groups), ["a/", "b/", "d\xff/", "e/"])
                query += "&prefix=a/"
                equal(sorted(i["key"] for i in list_all(w, query)), ["a/", "a/1"])
                equal([g["prefix"] for g in list_all(w, query, "prefixes")], ["a/2/"])
        put(w, b"\xff\xff/1", b"")  # a group that nothing can follow
        for order in ("", "&reverse"):
            groups = list_all(w, f"delimiter=%FF{order}&limit=2", "prefixes")
            assert {"prefix_b64": "/w=="} in groups, groups


@test
def lines_say_the_same_as_a_page():
    with Server("--durability", "os") as s, s.connect() as w:
        for i in range(10):
            put(w, f"k{i}", b"v%d" % i)
            put(w, f"f{i}/x", b"")
        r = w.ask("GET", "/v1/keys?limit=15&delimiter=/&values", None, [("Accept", "application/x-ndjson")])
        equal(r.fields["content-type"], "application/x-ndjson")
        lines = [json.loads(line) for line in r.body.splitlines()]
        equal(lines[-1]["end"], True)
        equal(lines[-1]["complete"], False)
        page = json.loads(w.ask("GET", "/v1/keys?limit=15&delimiter=/&values").body)
        equal([x for x in lines[:-1] if "key" in x], page["items"])
        equal([x for x in lines[:-1] if "prefix" in x], page["prefixes"])
        equal(lines[-1]["cursor"], page["cursor"])


@test
def a_page_is_bounded_in_every_way():
    with Server("--durability", "os") as s, s.connect() as w:
        for i in range(5):
            put(w, f"big{i}", b"x" * 600000)
        put(w, "huge", b"x" * 3000000)
        page = json.loads(w.ask("GET", "/v1/keys?values").body)
        equal((len(page["items"]), page["complete"]), (2, False))
        got = list_all(w, "values")
        equal([i["size"] for i in got], [600000] * 5 + [3000000])
        equal((got[-1].get("value_omitted"), "value" in got[-1]), (True, False))
        for query, code in (("limit=0", "bad_parameter"), ("limit=10001", "bad_parameter"), ("limit=x", "bad_parameter"),
                            ("limit=", "bad_parameter"), ("max_scan_ms=0", "bad_parameter"), ("max_scan_ms=1001", "bad_parameter"),
                            ("cursor=", "bad_cursor"), ("cursor=*", "bad_cursor"), ("cursor=Zg", "bad_cursor"),
                            ("reverse&cursor=" + b64u(b"fkey"), "bad_cursor"), ("cursor=" + b64u(b"bkey"), "bad_cursor"),
                            ("cursor=" + b64u(b"xkey"), "bad_cursor"), ("reverse=maybe", "bad_parameter"),
                            ("prefix=%zz", "bad_percent_encoding"), ("recurse", "unknown_parameter"),
                            ("limit=1&limit=2", "duplicate_parameter")):
            is_problem(w.ask("GET", f"/v1/keys?{query}"), 400, code)
        # Time is a bound too, and what one page leaves the next ones bring.
        for at in range(0, 60000, 10000):
            equal(batch(w, *({"op": "put", "key": f"many{i:06}", "value": ""} for i in range(at, at + 10000))).status, 200)
        counted, cursor, pages = 0, "", 0
        while True:
            page = json.loads(w.ask("GET", f"/v1/keys?count&max_scan_ms=1&prefix=many{cursor}").body)
            counted += page["count"]
            pages += 1
            if page["complete"]:
                break
            assert page["count"] > 0
            cursor = "&cursor=" + page["cursor"]
        print(f"# {pages} pages")
        equal(counted, 60000)


# ---------------------------------------------------------------- deletion of ranges


def remove(w, query, fields=()):
    return w.ask("DELETE", f"/v1/keys?{query}", None, fields)


@test
def a_range_is_deleted_in_one_step_and_counted():
    with Server() as s, s.connect() as w:
        keys = [f"{p}{i}" for p in ("a/", "b/", "c") for i in range(5)]
        for key in keys + [b"\xff\xff1"]:
            put(w, key, b"v")
        put(w, "b/short", b"v", "?ttl=1ms")
        until(lambda: get(w, "b/short").status == 404, "its end")
        tag = w.ask("DELETE", "/v1/keys?prefix=b/&dry_run=true").fields["etag"]
        told = json.loads(remove(w, "prefix=b/&dry_run").body)
        equal((told["deleted"], told["exact"], told["dry_run"]), (5, True, True))
        equal([x["key"] for x in list_all(w, "prefix=b/")], keys[5:10])
        r = remove(w, "prefix=b/", [("If-Match", tag)])
        equal((r.status, json.loads(r.body)), (200, {"deleted": 5, "exact": True, "rev": 18}))
        equal((r.fields["quern-rev"], r.fields["quern-durability"]), ("18", "synced"))
        equal(r.fields["etag"], tag.replace("-17", "-18"))
        equal([x["key"] for x in list_all(w, "end=d")], keys[:5] + keys[10:])
        # What has changed is not deleted, by a client that looked before.
        told = is_problem(remove(w, "prefix=a/", [("If-Match", tag)]), 412, "precondition_failed")
        equal(told["current_etag"], r.fields["etag"])
        equal(json.loads(remove(w, "prefix=b/").body), {"deleted": 0, "exact": True, "rev": 18})
        equal(json.loads(remove(w, "start=a/1&end=a/4&sync=os").body)["deleted"], 3)
        equal(json.loads(remove(w, "start=c&end=a").body)["deleted"], 0)
        equal(json.loads(remove(w, "prefix=c&start=c3&end=c9").body)["deleted"], 2)
        equal(json.loads(remove(w, "prefix=%FF%FF").body)["deleted"], 1, "a prefix that nothing follows")
        equal([x["key"] for x in list_all(w, "")], ["a/0", "a/4", "c0", "c1", "c2"])
        held = json.loads(w.ask("POST", "/v1/snapshots").body)["id"]
        for query in ("", "prefix=", "start=a", "end=z", "start=&end=z", "start=a&end=", "all=false", "all=0&prefix="):
            is_problem(remove(w, query), 400, "missing_parameter")
        for query, code in (("all=maybe", "bad_parameter"), ("prefix=a&dry_run=x", "bad_parameter"), ("prefix=a&sync=1", "bad_parameter"),
                            ("prefix=a&limit=5", "unknown_parameter"), ("prefix=a&snapshot=x", "unknown_parameter"), ("prefix=%zz", "bad_percent_encoding")):
            is_problem(remove(w, query), 400, code)
        is_problem(remove(w, "prefix=a", [("If-Match", "x")]), 400, "bad_etag")
        is_problem(remove(w, "prefix=a", [("If-None-Match", "*")]), 412, "precondition_failed")
        equal(json.loads(remove(w, "all=true&dry_run").body)["deleted"], 5)
        equal(json.loads(remove(w, "all=true").body)["deleted"], 5)
        equal(list_all(w, ""), [])
        equal(len(list_all(w, f"snapshot={held}")), 5, "a snapshot sees them still")
        s.kill()
        with Server(data=s.data) as again, again.connect() as w:
            equal(list_all(w, ""), [])


@test
def the_number_that_was_deleted_is_exact_or_said_not_to_be():
    with Server("--durability", "os", "--loops", "4") as s:
        made, deleted, exact, lock, done = [0], [0], [0, 0], threading.Lock(), threading.Event()

        def one(number):
            rng = random.Random(number)
            with s.connect() as w:
                if number == 0:
                    try:
                        for _ in range(60):
                            told = json.loads(remove(w, "prefix=k").body)
                            exact[told["exact"]] += 1
                            deleted[0] += told["deleted"]
                    finally:
                        done.set()
                    return
                while not done.is_set():
                    status = put(w, f"k{rng.randrange(10**9)}", b"").status
                    equal(status, 201)
                    with lock:
                        made[0] += 1
                    if number > 1:
                        time.sleep(0.002)

        together(one, 3)
        with s.connect() as w:
            left = len(list_all(w, "prefix=k"))
        print(f"# {exact[1]} exact, {exact[0]} not; {made[0]} keys")
        if exact[0] == 0:
            equal(deleted[0] + left, made[0])
        assert exact[1] > 0


@test
def a_batch_deletes_ranges_among_its_other_operations():
    with Server() as s, s.connect() as w:
        for key in ("t/1", "t/2", "u", "v"):
            put(w, key, b"old")
        r = batch(w, {"op": "put", "key": "t/3", "value": "gone"}, {"op": "delete_range", "prefix": "t/"}, {"op": "get", "key": "t/1"},
                  {"op": "put", "key": "t/2", "value": "new"}, {"op": "check", "key": "t/1", "exists": False},
                  {"op": "delete_range", "start": "u", "end_b64": b64u(b"v")})
        equal((r.status, json.loads(r.body)["results"]), (200, [{}, {}, {"item": None}, {}, {}, {}]))
        equal([(x["key"], x["value"]) for x in list_all(w, "values")], [("t/2", "new"), ("v", "old")])
        equal(batch(w, {"op": "delete_range", "prefix": "v"}, {"op": "check", "key": "v", "exists": True}).status, 409)
        equal(get(w, "v").status, 200, "nothing was done")
        for op in ({"op": "delete_range"}, {"op": "delete_range", "prefix": ""}, {"op": "delete_range", "start": "a"}, {"op": "delete_range", "end": "a"},
                   {"op": "delete_range", "start": "a", "end": ""}, {"op": "delete_range", "prefix": "a", "start": "a"}, {"op": "delete_range", "key": "a"},
                   {"op": "delete_range", "prefix": "a", "ttl": 5}, {"op": "delete_range", "prefix": "x" * 65537},
                   {"op": "delete_range", "start": "a", "start_b64": "YQ==", "end": "b"}, {"op": "delete_range", "prefix": 7}):
            is_problem(batch(w, op), 422, "bad_batch")


# ---------------------------------------------------------------- batches


@test
def a_batch_is_carried_out_in_order_or_not_at_all():
    with Server() as s, s.connect() as w:
        r = batch(w, {"op": "put", "key": "a", "value": "1"}, {"op": "get", "key": "a"}, {"op": "get", "key": "none"},
                  {"op": "delete", "key": "a"}, {"op": "check", "key": "a", "exists": False},
                  {"op": "put", "key": "b", "value": "x\u0000\u00e4"})
        equal(r.status, 200, r.body)
        told = json.loads(r.body)
        equal(told, {"rev": 1, "results": [{}, {"item": {"key": "a", "size": 1, "rev": 1, "value": "1"}},
                                           {"item": None}, {}, {}, {}]})
        equal((r.fields["quern-rev"], r.fields["quern-durability"]), ("1", "synced"))
        equal((get(w, "a").status, get(w, "b").body), (404, "x\0ä".encode()))
        told = is_problem(batch(w, {"op": "put", "key": "c", "value": ""}, {"op": "check", "key": "b", "rev": 7},
                                {"op": "put", "key": "d", "value": ""}), 409, "precondition_failed")
        equal((told["op_index"], told["current_rev"]), (1, 1))
        told = is_problem(batch(w, {"op": "check", "key": "c", "exists": True}), 409, "precondition_failed")
        equal((told["op_index"], told["current_rev"]), (0, None))
        equal((get(w, "c").status, get(w, "d").status), (404, 404))
        r = batch(w, {"op": "check", "key": "b", "rev": 1}, {"op": "check", "key": "b", "exists": True}, {"op": "get", "key": "b"})
        equal((r.status, json.loads(r.body)["rev"]), (200, 1))
        equal(json.loads(batch(w).body), {"rev": 1, "results": []})
        equal(w.ask("POST", "/v1/batch", b'{"atomic":true,"ops":[]}').status, 200)


@test
def a_batch_of_another_shape_is_refused_whole():
    good = {"op": "put", "key": "k", "value": "v"}
    with Server("--max-value", "1K") as s:
        for op in ({}, {"op": "nope", "key": "k"}, {"op": "put", "key": "k"}, {"op": "put", "value": "v"}, 7, "put", None, [],
                   {"op": "put", "key": 7, "value": "v"}, {"op": "put", "key": "k", "value": 7}, {"op": "put", "key": "", "value": "v"},
                   {"op": "put", "key": "k", "key_b64": "AA", "value": "v"}, {"op": "put", "key": "k", "value": "v", "ttl": 0},
                   {"op": "put", "key": "k", "value": "v", "ttl": -1}, {"op": "put", "key": "k", "value": "v", "ttl": 1.5},
                   {"op": "put", "key": "k", "value": "v", "ttl": "soon"}, {"op": "put", "key": "k", "value": "v", "ttl": None},
                   {"op": "put", "key": "k", "value": "v", "ttl": 60, "expires_at": "2100-01-01T00:00:00Z"},
                   {"op": "get", "key": "k", "ttl": 60}, {"op": "delete", "key": "k", "ttl": 60},
                   {"op": "put", "key": "k", "value": "v", "expires_at": 4102444800000},
                   {"op": "put", "key": "k", "value": "v", "expires_at": "2001-01-01T00:00:00Z"},
                   {"op": "put", "key": "k", "value": "v", "expires_at": "x"}, {"op": "put", "key": "k", "value": "v", "x": 1},
                   {"op": "get", "key_b64": "A"}, {"op": "get", "key_b64": "AB=="}, {"op": "get", "key": "k", "rev": 1},
                   {"op": "check", "key": "k"}, {"op": "check", "key": "k", "rev": 0}, {"op": "check", "key": "k", "rev": -1},
                   {"op": "check", "key": "k", "rev": 1.5}, {"op": "check", "key": "k", "rev": 1, "exists": True},
                   {"op": "check", "key": "k", "exists": 1}, {"op": "put", "key": "k", "value": "x" * 1025},
                   {"op": "get", "key": "k" * 65537}):
            with s.connect() as w:
                r = w.ask("POST", "/v1/batch", json.dumps({"ops": [good, op]})[:1 << 20].encode())
                if len(json.dumps(op)) > 1000:
                    assert r.status in (413, 422), r
                else:
                    equal(is_problem(r, 422, "bad_batch")["op_index"], 1, op)
        with s.connect() as w:
            for body, status, code in ((b"", 400, "bad_json"), (b"{", 400, "bad_json"), (b"\xff", 400, "bad_json"),
                                       (b'{"ops":[]} x', 400, "bad_json"), (b'{"ops":[],"ops":[]}', 400, "bad_json"),
                                       (b"[]", 422, "bad_batch"), (b"{}", 422, "bad_batch"), (b'{"ops":{}}', 422, "bad_batch"),
                                       (b'{"ops":[],"atomic":false}', 422, "bad_batch"), (b'{"ops":[],"x":1}', 422, "bad_batch"),
                                       (b'{"ops":[{"op":"put","key":"a","key":"b","value":""}]}', 400, "bad_json")):
                is_problem(w.ask("POST", "/v1/batch", body), status, code)
            is_problem(w.ask("POST", "/v1/batch", None), 400, "missing_parameter")
            equal(get(w, "k").status, 404)
    with Server() as s, s.connect() as w:
        ops = [{"op": "delete", "key": "k"}] * 10001
        is_problem(batch(w, *ops), 422, "bad_batch")
        equal(batch(w, *ops[1:]).status, 200)
        put(w, "large", b"\x80" * 1000000)
        is_problem(batch(w, *[{"op": "put", "key": "k", "value": ""}] + [{"op": "get", "key": "large"}] * 20), 413, "result_too_large")
        equal(get(w, "k").status, 404)
        with s.connect() as one:
            one.send(request("POST", "/v1/batch", fields=[("Content-Length", (16 << 20) + 1)]))
            is_problem(one.read(), 413, "value_too_large")


@test
def batches_move_money_and_lose_none():
    with Server("--durability", "os", "--loops", "4") as s:
        with s.connect() as w:
            for i in range(5):
                put(w, f"acc{i}", b"100")

        def one(number):
            rng = random.Random(number)
            with s.connect() as w:
                done = 0
                while done < 40:
                    a, b = rng.sample(range(5), 2)
                    got = json.loads(batch(w, {"op": "get", "key": f"acc{a}"}, {"op": "get", "key": f"acc{b}"}).body)
                    a_item, b_item = (x["item"] for x in got["results"])
                    r = batch(w, {"op": "check", "key": f"acc{a}", "rev": a_item["rev"]},
                              {"op": "check", "key": f"acc{b}", "rev": b_item["rev"]},
                              {"op": "put", "key": f"acc{a}", "value": str(int(a_item["value"]) - 1)},
                              {"op": "put", "key": f"acc{b}", "value": str(int(b_item["value"]) + 1)})
                    assert r.status in (200, 409), r
                    done += r.status == 200

        together(one, 4)
        with s.connect() as w:
            items = list_all(w, "prefix=acc&values")
            equal(sum(int(i["value"]) for i in items), 500)


# ---------------------------------------------------------------- about the server


@test
def health_version_and_figures():
    with Server() as s, s.connect() as w:
        for target in ("/livez", "/readyz", "/healthz"):
            equal((w.ask("GET", target).status, w.ask("GET", target).body), (200, b"ok\n"))
        for target in ("/readyz?verbose", "/healthz?verbose=1"):
            equal(w.ask("GET", target).body, b"[+]store ok\n[+]space ok\nok\n")
        equal(w.ask("GET", "/healthz?verbos").status, 400)
        assert json.loads(w.ask("GET", "/version").body)["version"].startswith("0.")
        equal(set(json.loads(w.ask("GET", "/v1/admin/stats").body)), {"server", "store", "live_keys"})


@test
def a_key_that_asks_for_conditions_is_overwritten_by_no_request_without():
    with Server("--durability", "os", "--require-preconditions", "doc/", "--require-preconditions", "x") as s, s.connect() as w:
        none, put_op = [("If-None-Match", "*")], {"op": "put", "key": "doc/1", "value": "v"}
        check = {"op": "check", "key": "doc/1", "exists": False}
        refused = [("PUT", "/v1/kv/doc/1", b"v"), ("PUT", "/v1/kv?key=xx", b"v"), ("DELETE", "/v1/kv/doc/1", None), ("POST", "/v1/kv/doc/1?op=getset", b"v"),
                   ("DELETE", "/v1/keys?prefix=doc/1", None), ("DELETE", "/v1/keys?prefix=d", None), ("DELETE", "/v1/keys?start=a&end=e", None), ("DELETE", "/v1/keys?all=true", None),
                   ("DELETE", "/v1/keys?start=doc/5&end=doc/6", None), ("PUT", "/v1/kv/doc/1?db=3", b"v")]
        problem = [("Accept", "application/problem+json")]
        plain = [("POST", "/set?key=doc/1&value=v", None), ("POST", "/set", b"key=doc/1&value=v"), ("DELETE", "/del?key=doc/1", None)]
        for ops, at in (([put_op], 0), ([{"op": "get", "key": "doc/1"}, {"op": "delete", "key": "doc/1"}], 1), ([{**check, "key": "doc/2"}, put_op], 1),
                        ([check, put_op, put_op], 2), ([put_op, check], 0), ([{"op": "delete_range", "prefix": "do"}], 0)):
            told = is_problem(batch(w, *ops), 428, "precondition_required")
            equal(told["op_index"], at)
        for method, target, body in refused + plain:
            with s.connect() as one:
                form = [("Content-Type", "application/x-www-form-urlencoded")] if target == "/set" else []
                is_problem(one.ask(method, target, body, problem + form), 428, "precondition_required")
        equal(list_all(w, ""), [])
        tag = w.ask("PUT", "/v1/kv/doc/1", b"first", none).fields["etag"]
        equal(w.ask("PUT", "/v1/kv/doc/1", b"second", none).status, 412)
        tag = w.ask("PUT", "/v1/kv/doc/1", b"second", [("If-Match", tag)]).fields["etag"]
        equal(batch(w, {"op": "check", "key": "doc/1", "exists": True}, {"op": "put", "key": "doc/1", "value": "third"}, {"op": "put", "key": "other", "value": "1"}).status, 200)
        equal(w.ask("DELETE", "/v1/kv/doc/1", None, [("If-Match", tag)]).status, 412)
        equal(w.ask("POST", "/v1/kv/doc/n?op=incr").status, 200)
        equal(w.ask("GET", "/get?key=doc/1").body, b"third")
        lines = lines_of(w.ask("POST", "/v1/import", b'{"key":"doc/9","value":"v"}\n{"key":"do","value":"v"}\n'))
        equal((lines[0]["code"], lines[0]["line"], lines[1]["imported"]), ("precondition_required", 1, 1))
        for method, target, body in (("PUT", "/v1/kv/doc", b"v"), ("PUT", "/v1/kv/Xx", b"v"), ("DELETE", "/v1/keys?start=e&end=w", None), ("DELETE", "/v1/keys?start=doc0&end=e", None)):
            assert w.ask(method, target, body).status in (200, 201), target
        tag = w.ask("DELETE", "/v1/keys?prefix=doc/&dry_run", None, [("If-Match", "*")]).fields["etag"]
        equal(w.ask("DELETE", "/v1/keys?prefix=doc/", None, [("If-Match", tag)]).status, 200)


if __name__ == "__main__":
    main()
