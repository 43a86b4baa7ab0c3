#!/usr/bin/env python3
"""docs/openapi.json and the server say the same: each route, method, parameter, status and error code
of the document is met on a live server, and the server answers with none that the document lacks."""

import json
import os

from quernd import Server, SickDisk, equal, main, request, test, until
from v1 import LINES, batch, fill, put

FORM = [("Content-Type", "application/x-www-form-urlencoded")]
PROBLEM = [("Accept", "application/problem+json")]
METHODS = ("get", "head", "put", "post", "patch", "delete")


def document():
    with open(os.path.join(os.path.dirname(__file__), "../../docs/openapi.json"), encoding="utf-8") as f:
        return json.load(f)


def resolve(api, node):
    while "$ref" in node:
        found = api
        for part in node["$ref"][2:].split("/"):
            found = found[part]
        node = found
    return node


def operations(api):
    for path, methods in api["paths"].items():
        for method, op in methods.items():
            if method in METHODS:
                yield path, method, op, methods.get("parameters", []) + op.get("parameters", [])


def codes_of(response):
    """The error codes that a response names."""
    for part in response["content"]["application/problem+json"]["schema"].get("allOf", []):
        if "code" in part.get("properties", {}):
            return set(part["properties"]["code"]["enum"])
    return None


TYPES = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list, "null": type(None)}


def check_schema(api, schema, value, where):
    """So much of JSON Schema as the document uses."""
    schema = resolve(api, schema)
    kinds = schema.get("type")
    if kinds is not None:
        kinds = kinds if isinstance(kinds, list) else [kinds]
        assert any(isinstance(value, TYPES[k]) and not (k == "integer" and isinstance(value, bool)) for k in kinds), (where, schema, value)
    if "const" in schema:
        equal(value, schema["const"], where)
    if "enum" in schema:
        assert value in schema["enum"], (where, value)
    for part in schema.get("allOf", []):
        check_schema(api, part, value, where)
    if "anyOf" in schema:
        for part in schema["anyOf"]:
            try:
                check_schema(api, part, value, where)
                break
            except AssertionError:
                continue
        else:
            raise AssertionError((where, "none of anyOf", value))
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        for name in schema.get("required", []):
            assert name in value, (where, name, value)
        for name, inner in value.items():
            if name in properties:
                check_schema(api, properties[name], inner, f"{where}.{name}")
            else:
                assert schema.get("additionalProperties", True), (where, name, value)
    if isinstance(value, list) and "items" in schema:
        for inner in value:
            check_schema(api, schema["items"], inner, f"{where}[]")


class Walk:
    """Asks, holds each answer against the document, and remembers what was met."""

    def __init__(self, server, api):
        self.server, self.api, self.met = server, api, {}

    def ask(self, method, path, target, body=None, fields=(), want=None):
        if not path.startswith("/v1"):
            fields = [*fields, *PROBLEM]
        with self.server.connect() as one:  # a refusal before its body is read is the end
            r = one.ask(method.upper(), target, body, fields)
        self.note(method, path, r, f"{method} {target}")
        if want is not None:
            equal(r.status if want != "any" else "any", want, f"{method} {target}: {r}")
        return r

    def note(self, method, path, r, what):
        responses = self.api["paths"][path][method]["responses"]
        assert str(r.status) in responses, f"{what}: {r}"
        told = resolve(self.api, responses[str(r.status)])
        content = told.get("content", {})
        code = None
        if r.body:
            kind = r.fields["content-type"].split(";")[0]
            assert kind in content, (what, r)
            if kind in ("application/json", "application/problem+json"):
                check_schema(self.api, content[kind]["schema"], json.loads(r.body), what)
            if kind == "application/problem+json":
                code = json.loads(r.body)["code"]
        for name in r.fields:
            if name.startswith("quern-") or name == "etag":
                assert name in {h.lower() for h in told.get("headers", {})} or r.status >= 400, (what, name)
        self.met.setdefault((method, path), {}).setdefault(str(r.status), set()).add(code)


def walk_kv(w, path, at):
    """`at`: from a key and a query to a target."""
    def ask(method, key, query="", body=None, fields=(), want=None):
        return w.ask(method, path, at(key, query), body, fields, want)

    any_tag, none = [("If-Match", '"x"')], [("If-None-Match", "*")]
    ask("put", "k", body=b"value", want=201)
    ask("put", "k", body=b"value", want=204)
    ask("put", "k", "ttl=1h", b"7", want=204)
    ask("put", "k", body=b"7", fields=none, want=412)
    ask("put", "k", body=b"x" * 2000, want=413)
    for method in ("get", "head"):
        ask(method, "k", want=200)
        ask(method, "k", "meta=json", want=200)
        ask(method, "k", fields=none, want=304)
        ask(method, "k", fields=any_tag, want=412)
        ask(method, "none", want=404)
        ask(method, "k", "snapshot=none", want=404)
        ask(method, "k", "x=1", want=400)
    ask("get", "k", fields=[("Range", "bytes=0-0")], want=206)
    ask("get", "k", fields=[("Range", "bytes=99-")], want=416)
    for op, body, status in (("op=incr", None, 200), ("op=append", b"x", 200), ("op=incr", None, 409), ("op=getset", b"9", 200), ("op=persist", None, 200),
                             ("op=touch&ttl=5", None, 200), ("op=append", b"x" * 2000, 413), ("op=incr", b"x", 400)):
        ask("post", "k", op, body, want=status)
    ask("post", "new", "op=getset", b"1", want=204)
    ask("post", "none", "op=touch&ttl=5", want=404)
    ask("post", "k", "op=incr", fields=any_tag, want=412)
    ask("put", "big", body=b"9223372036854775807", want=201)
    ask("post", "big", "op=incr", want=409)
    ask("delete", "k", fields=any_tag, want=412)
    ask("delete", "k", "return=old", want=200)
    ask("delete", "new", want=204)
    ask("delete", "big", want=204)
    ask("delete", "k", want=404)
    for method, more in (("get", ""), ("put", ""), ("delete", ""), ("post", "op=incr")):
        body = b"v" if method == "put" else None
        for query, code in (("x=1", 400), ("%zz=1", 400), ("enc=b64u&enc=b64u", 400), ("enc=x", 400)):
            ask(method, "k", f"{more}&{query}" if more else query, body, want=code)
        ask(method, "k", more, body, [("If-Match", "x")], want=400)
        ask(method, "", more, body, want=400)
        ask(method, "k", more, body, [("Quern-TTL", "soon")], want=400)
        if method in ("put", "post"):
            ask(method, "k", f"{more}&ttl=0" if more else "ttl=0", body, want=400)
    ask("post", "k", "op=append", want=400)
    ask("post", "k", "op=nope", want=400)


def walk_many(w, s):
    put_op = {"op": "put", "key": "k", "value": "v"}

    def lot(ops, query="", fields=()):
        return w.ask("post", "/v1/batch", f"/v1/batch{query}", json.dumps({"ops": ops}).encode(), fields)

    equal(lot([put_op, {"op": "get", "key": "k"}, {"op": "delete_range", "prefix": "none/"}]).status, 200)
    equal(lot([{"op": "check", "key": "k", "exists": False}]).status, 409)
    equal(lot([{"op": "nope"}]).status, 422)
    for i in range(20):
        with s.connect() as one:
            put(one, f"large{i:02}", b"\x80" * 1450)
    equal(lot([{"op": "get", "key": "large00"}] * 10000).status, 413)
    w.ask("post", "/v1/batch", "/v1/batch", None, want=400)
    with s.connect() as one:
        one.send(request("POST", "/v1/batch", fields=[("Content-Length", (16 << 20) + 1)]))
        w.note("post", "/v1/batch", one.read(), "a batch that is too large")
    w.ask("post", "/v1/batch", "/v1/batch", b"{", want=400)
    equal(lot([], "?sync=maybe").status, 400)
    equal(lot([], "?x=1").status, 400)
    equal(lot([], "?%zz=1").status, 400)
    equal(lot([], "?sync").status, 400)
    equal(lot([], "?sync=os&sync=os").status, 400)
    equal(lot([], "", [("If-Match", "*")]).status, 400)

    w.ask("get", "/v1/keys", "/v1/keys?values", want=200)
    w.ask("get", "/v1/keys", "/v1/keys?delimiter=0", want=200)
    w.ask("get", "/v1/keys", "/v1/keys?count", want=200)
    w.ask("get", "/v1/keys", "/v1/keys", None, LINES, want=200)
    for query, code in (("x=1", 400), ("%zz", 400), ("limit", 400), ("limit=0", 400), ("limit=1&limit=1", 400), ("cursor=x", 400), ("snapshot=x", 404), ("prefix=%zz", 400)):
        w.ask("get", "/v1/keys", f"/v1/keys?{query}", want=code)
    w.ask("delete", "/v1/keys", "/v1/keys?prefix=large&dry_run", want=200)
    w.ask("delete", "/v1/keys", "/v1/keys?prefix=large0", want=200)
    w.ask("delete", "/v1/keys", "/v1/keys?prefix=large", None, [("If-Match", '"x"')], want=412)
    for query in ("", "x=1", "%zz", "start=a", "prefix=", "all=maybe", "prefix=a&prefix=a"):
        w.ask("delete", "/v1/keys", f"/v1/keys?{query}", want=400)
    w.ask("delete", "/v1/keys", "/v1/keys?prefix=a", None, [("If-Match", "x")], want=400)
    w.ask("delete", "/v1/keys", "/v1/keys?prefix=a", None, [("Quern-TTL", "5")], want=400)

    w.ask("get", "/v1/export", "/v1/export", want=200)
    for query, code in (("x=1", 400), ("%zz", 400), ("prefix", 400), ("prefix=a&prefix=a", 400), ("snapshot=x", 404)):
        w.ask("get", "/v1/export", f"/v1/export?{query}", want=code)
    line = b'{"key":"k","value":"v"}\n'
    w.ask("post", "/v1/import", "/v1/import", line + b"{\n", want=200)
    w.ask("post", "/v1/import", "/v1/import", b"{\n", want=400)
    w.ask("post", "/v1/import", "/v1/import", None, want=400)
    for query in ("x=1", "%zz", "sync", "sync=x", "sync=os&sync=os"):
        w.ask("post", "/v1/import", f"/v1/import?{query}", line, want=400)


def walk_held(w):
    r = w.ask("post", "/v1/snapshots", "/v1/snapshots", want=201)
    while w.ask("post", "/v1/snapshots", "/v1/snapshots?ttl=5s").status == 201:
        pass
    for query in ("x=1", "%zz", "ttl", "ttl=0", "ttl=1&ttl=1"):
        w.ask("post", "/v1/snapshots", f"/v1/snapshots?{query}", want=400)
    place = r.fields["location"]
    for query in ("x=1", "%zz=1"):
        w.ask("delete", "/v1/snapshots/{id}", f"{place}?{query}", want=400)
    w.ask("delete", "/v1/snapshots/{id}", place, want=204)
    w.ask("delete", "/v1/snapshots/{id}", place, want=404)


def walk_jobs(w, s):
    for kind in ("flush", "compact", "verify"):
        path = f"/v1/admin/{kind}"
        w.ask("post", path, path, want=202)
        until(lambda: w.ask("post", path, f"{path}?wait").status == 200, "the one before has ended")
        for query in ("x=1", "%zz", "wait=maybe", "wait&wait"):
            w.ask("post", path, f"{path}?{query}", want=400)
    w.ask("post", "/v1/admin/compact", "/v1/admin/compact?prefix", want=400)
    path = "/v1/admin/checkpoint"
    w.ask("post", path, f"{path}?dir=one", want=201)
    w.ask("post", path, f"{path}?dir=one", want=409)
    for query in ("", "x=1", "%zz", "dir=..", "dir=a&dir=a"):
        w.ask("post", path, f"{path}?{query}", want=400)
    for query in ("x=1", "%zz=1"):
        w.ask("get", "/v1/admin/jobs/{id}", f"/v1/admin/jobs/1?{query}", want=400)
    w.ask("get", "/v1/admin/jobs/{id}", "/v1/admin/jobs/1", want=200)
    w.ask("get", "/v1/admin/jobs/{id}", "/v1/admin/jobs/999", want=404)
    # Two of a kind at once: the second waits behind nothing but the first.
    with s.connect() as one:
        fill(one, 4000)
        for kind in ("flush", "compact", "verify", "checkpoint"):
            target = f"/v1/admin/{kind}" + ("?dir=two" if kind == "checkpoint" else "?wait")
            statuses = set()
            while 409 not in statuses:
                others = [s.connect() for _ in range(8)]
                for other in others:
                    other.send(request("POST", "/v1/admin/verify") + request("POST", target))
                for other in others:
                    other.read()
                    r = other.read()
                    statuses.add(r.status)
                    w.note("post", f"/v1/admin/{kind}", r, target)
                    other.socket.close()


def walk_required(api, met):
    with Server("--durability", "os", "--require-preconditions", "k") as s:
        w = Walk(s, api)
        w.met = met
        for path, at in (("/v1/kv/{key}", "/v1/kv/k?"), ("/v1/kv", "/v1/kv?key=k&")):
            for method, more in (("put", ""), ("delete", ""), ("post", "op=getset")):
                w.ask(method, path, at + more, None if method == "delete" else b"v", want=428)
        w.ask("post", "/v1/batch", "/v1/batch", b'{"ops":[{"op":"delete","key":"k"}]}', want=428)
        w.ask("delete", "/v1/keys", "/v1/keys?all=true", want=428)
        w.ask("post", "/set", "/set?key=k&value=v", want=428)
        w.ask("delete", "/del", "/del?key=k", want=428)


def walk_config(w):
    path = "/v1/admin/config"
    for body, status in ((b'{"slow-log":"20ms"}', 200), (b"{", 400), (b'{"slow-log":"soon"}', 422), (b'{"data":"x"}', 422), (b'{"slo":"1ms"}', 422)):
        w.ask("patch", path, path, body, want=status)
    for query in ("x=1", "%zz=1"):
        w.ask("patch", path, f"{path}?{query}", b"{}", want=400)


def walk_plain(w, s):
    w.ask("post", "/set", "/set?key=p&value=v&ttl=1h", want=200)
    w.ask("post", "/set", "/set", b"key=p&value=v", FORM, want=200)
    for query, body, fields in (("", None, ()), ("x=1", None, ()), ("key=%zz&value=", None, ()), ("key=a&key=a", None, ()), ("key=a&value=v&sync=x", None, ()),
                                ("key=a&value=v", b"w", ()), ("key=a&value=v&ttl=0", None, ()), ("key=a&value=v", None, [("If-Match", "*")])):
        w.ask("post", "/set", f"/set?{query}", body, fields, want=400)
    w.ask("post", "/set", "/set?key=a", b"x" * 2000, want=413)
    with Server() as larger:
        other = Walk(larger, w.api)
        other.met = w.met
        other.ask("post", "/set", "/set", b"value=v&key=" + b"k" * 65537, FORM, want=413)
    tag = w.ask("get", "/get", "/get?key=p", want=200).fields["etag"]
    w.ask("get", "/get", "/get?key=p", None, [("Range", "bytes=0-0")], want=206)
    w.ask("get", "/get", "/get?key=p", None, [("Range", "bytes=9-")], want=416)
    w.ask("get", "/get", "/get?key=p", None, [("If-None-Match", tag)], want=304)
    w.ask("get", "/get", "/get?key=p", None, [("If-Match", '"x"')], want=412)
    w.ask("get", "/get", "/get?key=none", want=404)
    for query, fields in (("", ()), ("x=1", ()), ("key=%zz", ()), ("key=a&key=a", ()), ("key=p", [("If-Match", "x")]), ("key=p", [("Quern-TTL", "5")])):
        w.ask("get", "/get", f"/get?{query}", None, fields, want=400)
    for query, fields in (("", ()), ("x=1", ()), ("key=%zz", ()), ("key=a&key=a", ()), ("key=a&sync=x", ()), ("key=p", [("If-Match", "*")]), ("key=p", [("Quern-TTL", "5")])):
        w.ask("delete", "/del", f"/del?{query}", None, fields, want=400)
    w.ask("delete", "/del", "/del?key=p", want=200)
    w.ask("delete", "/del", "/del?key=p", want=404)


def walk_looks(w):
    for path, methods in w.api["paths"].items():
        if list(methods) not in (["get"], ["get", "patch"]) or path in ("/get", "/v1/export", "/shutdown"):
            continue
        w.ask("get", path, path, want=200)
        for query in ("x=1", "%zz=1"):
            w.ask("get", path, f"{path}?{query}", want=400)
    for path in ("/healthz", "/readyz"):
        for query in ("verbose=maybe", "verbose&verbose"):
            w.ask("get", path, f"{path}?{query}", want=400)


def walk_shutdown(api, met):
    for method in ("get", "post"):
        with Server() as s:
            w = Walk(s, api)
            w.met = met
            for query in ("x=1", "%zz=1"):
                w.ask(method, "/shutdown", f"/shutdown?{query}", want=400)
            w.ask(method, "/shutdown", "/shutdown", None, [("Sec-Fetch-Site", "cross-site")], want=403)
            with s.connect() as first, s.connect() as second:
                # Begun before the other, and whole only behind it.
                second.send(request(method.upper(), "/shutdown", fields=[("Content-Length", 1), ("Expect", "100-continue")]))
                equal(second.read(interim=True).status, 100)
                first.send(request(method.upper(), "/shutdown"))
                s.wait_said("listeners closed")
                second.send(b"x")
                w.note(method, "/shutdown", first.read(), "shutdown")
                w.note(method, "/shutdown", second.read(), "shutdown again")


@test
def each_status_and_error_of_the_document_is_met_and_no_other():
    api = document()
    with Server("--durability", "os", "--max-value", "1500") as s:
        w = Walk(s, api)
        walk_kv(w, "/v1/kv/{key}", lambda key, query: f"/v1/kv/{key}?{query}")
        walk_kv(w, "/v1/kv", lambda key, query: f"/v1/kv?key={key}&{query}")
        for method in ("get", "put", "delete", "post"):
            more = "&op=incr" if method == "post" else ""
            for path, target in (("/v1/kv", "/v1/kv?key"), ("/v1/kv/{key}", "/v1/kv/k?enc")):
                w.ask(method, path, target + more, b"v" if method == "put" else None, want=400)
        walk_many(w, s)
        walk_held(w)
        walk_jobs(w, s)
        walk_config(w)
        walk_plain(w, s)
        walk_looks(w)
    walk_required(api, w.met)
    walk_shutdown(api, w.met)
    wrong = []
    for path, method, op, _ in operations(api):
        met = w.met.get((method, path), {})
        for status, response in op["responses"].items():
            if status == "default" or "$ref" in response:
                continue
            if status not in met:
                wrong.append(f"{method} {path}: {status} was never met")
                continue
            named = codes_of(response) if "application/problem+json" in response.get("content", {}) else None
            if named is not None and method != "head" and named != met[status] - {None}:
                wrong.append(f"{method} {path} {status}: only told {sorted(named - met[status])}, only met {sorted(met[status] - named - {None})}")
    assert not wrong, "\n".join(wrong)


@test
def the_document_names_each_route_and_parameter_and_the_server_no_other():
    api = document()
    ids = [op["operationId"] for _, _, op, _ in operations(api)]
    equal(len(ids), len(set(ids)))
    with Server() as s, s.connect() as w:
        equal(json.loads(w.ask("GET", "/v1/openapi.json").body), api)
        routes = json.loads(w.ask("GET", "/").body)["routes"]
        equal(set(routes), set(api["paths"]))
        for path, methods in api["paths"].items():
            told = {m.upper() for m in methods if m in METHODS}
            equal(set(routes[path]) - {"HEAD"}, told - {"HEAD"}, path)
            target = path.replace("{key}", "k").replace("{id}", "1")
            allow = w.ask("OPTIONS", target)
            equal((allow.status, set(allow.fields["allow"].split(", "))), (204, {*routes[path], "OPTIONS"}), path)
            for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
                if method not in routes[path]:
                    r = w.ask(method, target, None, PROBLEM)
                    equal((r.status, json.loads(r.body)["code"], r.fields["allow"]), (405, "method_not_allowed", allow.fields["allow"]), (method, path))
        for path, method, op, params in operations(api):
            target = path.replace("{key}", "k").replace("{id}", "1")
            for name in {p["name"] for p in params if p["in"] == "query"}:
                r = w.ask(method.upper(), f"{target}?{name}=1&{name}=1", None, PROBLEM)
                equal(r.status, 400)
                if method != "head":
                    equal(json.loads(r.body)["code"], "duplicate_parameter", (method, path, name))


@test
def what_is_refused_before_any_route_is_told_once_for_all():
    """The `default` of every operation."""
    told = document()["components"]["responses"]["Refused"]["description"]
    met = set()
    with Server("--header-timeout", "1s") as s:
        for data, status, code in (
                (b"GET /v1/keys HTTP/1.1\r\n\r\n", 400, "bad_request"),
                (b"POST /v1/batch HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400, "bad_chunk"),
                (b"POST /v1/batch HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nContent-Length: 0\r\n\r\n", 403, "cross_site"),
                (b"PATCH /v1/batch HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "method_not_allowed"),
                (b"GET /v1/batch HTTP/1.1\r\nHost", 408, "request_timeout"),
                (b"DELETE /v1/kv/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70000\r\n\r\n", 413, "value_too_large"),
                (b"GET /v1/kv/" + b"k" * 17000 + b" HTTP/1.1\r\n", 414, "uri_too_long"),
                (b"POST /v1/batch HTTP/1.1\r\nHost: localhost\r\nExpect: 200\r\nContent-Length: 1\r\n\r\n", 417, "expectation_failed"),
                (b"GET /v1/keys HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, "host_not_allowed"),
                (b"GET /v1/keys HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 33000 + b"\r\n\r\n", 431, "fields_too_large"),
                (b"GET /v1/keys HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 100 + b"\r\n", 431, "too_many_fields"),
                (b"BREW /v1/keys HTTP/1.1\r\nHost: localhost\r\n\r\n", 501, "unknown_method"),
                (b"GET /v1/keys HTTP/2.0\r\nHost: localhost\r\n\r\n", 505, "version_not_supported")):
            with s.connect() as one:
                one.send(data)
                r = one.read()
                equal(r.status, status, (code, r))
                assert code in told and str(status) in told, (code, told)
                if r.fields["content-type"] == "application/problem+json":
                    equal(json.loads(r.body)["code"], code)
                met.add(status)
    equal(met, {400, 403, 405, 408, 413, 414, 417, 421, 431, 501, 505})


def writers(api):
    """Each operation that says 507: how to ask for it."""
    bodies = {"/v1/batch": b'{"ops":[{"op":"put","key":"k","value":"v"}]}', "/v1/import": b'{"key":"k","value":"v"}\n'}
    for path, method, op, _ in operations(api):
        if "507" not in op["responses"]:
            continue
        needs = {"/set": "key=k&value=v", "/del": "key=k", "/v1/kv": "key=k", "/v1/keys": "prefix=k", "/v1/admin/checkpoint": "dir=x"}.get(path, "")
        needs += "&op=incr" if method == "post" and "/kv" in path else "&wait" if path in ("/v1/admin/flush", "/v1/admin/compact") else ""
        yield path, method, f"{path.replace('{key}', 'k')}?{needs.lstrip('&')}", bodies.get(path, b"v" if method == "put" else None)


@test
def a_store_that_takes_no_writes_says_so_on_every_route_that_writes():
    with SickDisk() as disk, Server(env=disk.env) as s, s.connect() as w:
        put(w, "k", b"1")
        disk.order("eio")
        equal(put(w, "k", b"2").status, 500)
        for path, method, target, body in writers(document()):
            with s.connect() as one:
                r = one.ask(method.upper(), target, body, PROBLEM)
            equal((r.status, json.loads(r.body)["code"]), (503, "read_only"), (method, path, r))
        equal(w.ask("GET", "/healthz").status, 503)
        equal(w.ask("GET", "/v1/kv/k").status, 200)
        disk.revoke("eio")
        s.kill()


@test
def a_full_disk_is_507_on_every_route_that_writes_and_they_go_on_by_themselves():
    api = document()
    with SickDisk() as disk, Server(env=disk.env) as s, s.connect() as w:
        put(w, "k", b"1")
        disk.order("full")
        for path, method, target, body in writers(api):
            with s.connect() as one:
                r = one.ask(method.upper(), target, body, PROBLEM)
            equal((r.status, json.loads(r.body)["code"]), (507, "disk_full"), (method, path, r))
            check_schema(api, api["components"]["schemas"]["Problem"], json.loads(r.body), path)
        equal(w.ask("GET", "/v1/kv/k").body, b"1")
        equal(w.ask("GET", "/healthz").status, 200)
        disk.revoke("full")
        until(lambda: put(w, "k", b"2").status == 204, "there is space again")
        for path, method, target, body in writers(api):
            with s.connect() as one:
                assert one.ask(method.upper(), target, body, PROBLEM).status < 500, (method, path)


@test
def a_damaged_table_is_500_where_it_is_read():
    with Server("--durability", "os") as s, s.connect() as w:
        fill(w, 3000, "v" * 100)
        w.ask("POST", "/v1/admin/flush?wait")
        table = json.loads(w.ask("GET", "/v1/admin/files").body)["tables"][0]
        s.stop()
        with open(os.path.join(s.data, table["file"]), "r+b") as f:
            f.seek(table["bytes"] // 2)
            f.write(b"damage" * 100)
        with Server("--durability", "os", data=s.data) as s, s.connect() as w:
            found = set()
            for i in range(3000):
                r = w.ask("GET", f"/v1/kv/k{i:06}")
                found.add(r.status)
                if r.status == 500:
                    equal(json.loads(r.body)["code"], "corrupt")
                    key = f"k{i:06}"
            equal(found, {200, 500})
            for method, target in (("PUT", f"/v1/kv/{key}"), ("DELETE", f"/v1/kv/{key}"), ("POST", f"/v1/kv/{key}?op=append"), ("GET", f"/get?key={key}")):
                r = w.ask(method, target, b"v" if method in ("PUT", "POST") else None, PROBLEM)
                equal((r.status, json.loads(r.body)["code"]), (500, "corrupt"), target)
            equal(w.ask("GET", "/v1/keys?limit=10000&max_scan_ms=1000").status, 500)
            # A reply that has begun is broken off, and says why.
            for target in ("/v1/export", "/v1/keys?values"):
                with s.connect() as one:
                    one.send(request("GET", target, fields=LINES))
                    data = b""
                    while chunk := one.socket.recv(1 << 16):
                        data += chunk
                    assert b'{"error":{"code":"corrupt","detail":"' in data and not data.endswith(b"0\r\n\r\n"), data[-300:]
            equal(batch(w, {"op": "get", "key": key}).status, 500)


if __name__ == "__main__":
    main()
