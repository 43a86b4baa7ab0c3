#!/usr/bin/env python3
"""The REST interface: conditions, ranges, /v1/kv, /v1/keys, /v1/batch, and the document that
describes them."""

import json
import re

from quernd import Server, equal, main, request, test


def is_problem(r, status, code):
    equal((r.status, r.fields.get("content-type")), (status, "application/problem+json"), r)
    told = json.loads(r.body)
    equal((told["code"], told["status"], told["request_id"]), (code, status, r.fields["x-request-id"]))
    equal(told["type"], "/problems/" + code.replace("_", "-"))
    return told


# ---------------------------------------------------------------- conditions, ranges, ids


@test
def a_value_has_a_tag_that_changes_with_it_and_outlives_a_restart():
    with Server() as s:
        with s.connect() as w:
            first = w.put("k", b"v").fields["etag"]
            assert re.fullmatch(r'"[0-9a-f]{16}-1"', first), first
            equal(w.get("k").fields["etag"], first)
            equal(w.get("k").fields["accept-ranges"], "bytes")
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
        for target in ("/get?key=k",):
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
        for target in ("/get?key=k",):
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
        w.send(request("GET", "/get?key=k", fields=[("Range", "bytes=100-200099")]) * 20)
        equal({w.read().body == value[100:200100] for _ in range(20)}, {True})


@test
def every_reply_names_its_request():
    with Server() as s, s.connect() as w:
        seen = set()
        for method, target in (("GET", "/healthz"), ("GET", "/nope"), ("POST", "/set?key=a&value=b"),
                               ("PUT", "/set"), ("GET", "/v1/nope"), ("OPTIONS", "/get")):
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
        equal(w.ask("GET", "/v10").body[:6], b"error:")


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
        equal(set(json.loads(w.ask("GET", "/v1/admin/stats").body)), {"server", "store"})


if __name__ == "__main__":
    main()
