"""v1.py - what the tests of the REST interface share."""

import base64
import datetime
import json
import threading

from quernd import equal, quote

LINES = [("Accept", "application/x-ndjson")]


def b64u(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def is_problem(r, status, code):
    equal((r.status, r.fields.get("content-type")), (status, "application/problem+json"), r)
    told = json.loads(r.body)
    equal((told["code"], told["status"], told["request_id"]), (code, status, r.fields["x-request-id"]))
    equal(told["type"], "/problems/" + code.replace("_", "-"))
    return told


def put(w, key, value, more="", fields=()):
    return w.ask("PUT", f"/v1/kv/{quote(key)}{more}", value, fields)


def get(w, key, more="", fields=()):
    return w.ask("GET", f"/v1/kv/{quote(key)}{more}", None, fields)


def batch(w, *ops, more=""):
    return w.ask("POST", f"/v1/batch{more}", json.dumps({"ops": ops}).encode())


def bytes_of(item, name):
    if name in item:
        assert name + "_b64" not in item
        return item[name].encode()
    return base64.b64decode(item[name + "_b64"], validate=True)


def list_all(w, query, name="items"):
    """All entries of a listing, page by page."""
    found, cursor, pages = [], "", 0
    while True:
        page = json.loads(w.ask("GET", f"/v1/keys?{query}{cursor}").body)
        found += page[name]
        pages += 1
        equal("cursor" in page, not page["complete"])
        if page["complete"]:
            return found
        assert pages < 10000
        cursor = "&cursor=" + page["cursor"]


def together(function, n):
    """Run it in `n` threads, with their numbers; what fails in one fails here."""
    failed = []

    def one(number):
        try:
            function(number)
        except BaseException as why:
            failed.append(why)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failed:
        raise failed[0]


def moment(text):
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=datetime.timezone.utc).timestamp()


def fill(w, n, value="v" * 50, prefix="k"):
    """So many keys, prefix000000 and on."""
    for at in range(0, n, 2000):
        equal(batch(w, *({"op": "put", "key": f"{prefix}{i:06}", "value": value}
                         for i in range(at, min(at + 2000, n)))).status, 200)


def lines_of(r):
    assert r.status == 200 and r.fields["content-type"] == "application/x-ndjson", r
    assert r.body.endswith(b"\n")
    return [json.loads(line) for line in r.body.splitlines()]


def figures(w):
    return json.loads(w.ask("GET", "/stats").body)
