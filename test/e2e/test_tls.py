#!/usr/bin/env python3
"""TLS on both doors: who gets in, what is taken up while the server runs, and what a client can do
to it before it has shaken hands."""

import calendar
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

from authority import Authority, options, put_in_place
from quernd import Refused, Server, curl, equal, main, request, test, until


def told(s, tls):
    with s.connect(tls=tls) as w:
        return json.loads(w.ask("GET", "/v1/admin/tls").body)


def fails(s, tls, resp=False):
    """The handshake, or what follows it, fails; returns the words of the client's library."""
    try:
        with (s.resp(tls=tls) if resp else s.connect(tls=tls)) as w:
            if not resp:
                w.ask("GET", "/livez")  # TLS 1.3 tells a client only now what the server says
            else:
                w.call("PING")
    except ssl.SSLError as e:
        return str(e)
    except (ConnectionResetError, EOFError) as e:
        return repr(e)
    raise AssertionError("the server took it")


@test
def both_doors_speak_tls_to_the_clients_that_people_use():
    with Authority() as ca, Server(*options(ca.issue("s"))) as s:
        assert f"stop with: kill {s.process.pid}\n" in s.stdout(), "curl would need the CA"
        u = f"https://localhost:{s.port}"
        equal(curl("--cacert", ca.pem, "-X", "POST", f"{u}/set?key=k&value=v"), (200, b"OK\n"))
        equal(curl("--cacert", ca.pem, f"{u}/get?key=k"), (200, b"v"))
        with s.resp(tls=ca.client()) as r:
            equal(r.call("GET", "k"), b"v")
            equal(r.call("SET", "k", "w"), "OK")
        if shutil.which("redis-cli"):
            out = subprocess.run(["redis-cli", "--tls", "--cacert", ca.pem, "-h", "localhost", "-p",
                                  str(s.resp_port), "get", "k"], capture_output=True, text=True)
            if "Unrecognized option" not in out.stderr + out.stdout:
                equal(out.stdout, "w\n", out.stderr)
        sys.path.append("/usr/lib/python3/dist-packages")  # where Debian has it, whichever Python this is
        try:
            import redis
            client = redis.Redis(port=s.resp_port, ssl=True, ssl_ca_certs=ca.pem)
            equal(client.get("k"), b"w")
            client.close()
        except ImportError:
            print("# without redis-py")
        assert f"listening: https://127.0.0.1:{s.port}\n" in s.stdout(), s.stdout()
        equal(told(s, ca.client())["enabled"], True)
    with Server() as s, s.connect() as w:
        equal(json.loads(w.ask("GET", "/v1/admin/tls").body), {"enabled": False})


@test
def the_command_speaks_https_to_a_server_whose_ca_it_is_given():
    quern = os.environ["QUERN"]
    with Authority() as ca, Authority() as other, Server(*options(ca.issue("s"))) as s:
        u = f"https://localhost:{s.port}"
        run = lambda *words: subprocess.run([quern, *words], capture_output=True, text=True)
        equal(run("--url", u, "--cacert", ca.pem, "set", "k", "v").returncode, 0)
        got = run("--url", u, "--cacert", ca.pem, "get", "k")
        equal((got.returncode, got.stdout), (0, "v"))
        got = run("--url", u, "--cacert", other.pem, "get", "k")
        assert got.returncode == 4 and "certificate" in got.stderr and "--cacert" in got.stderr, got
        equal(run("--url", u, "get", "k").returncode, 4)
        got = run("--db", s.data, "--cacert", ca.pem, "get", "k")
        equal(got.returncode, 2, got.stderr)
        both = ca.path("both.pem")
        with open(both, "w") as f:
            for part in ca.issue("client"):
                f.write(open(part).read())
        with Server(*options(ca.issue("t"), "--tls-client-ca", ca.pem)) as t:
            u = f"https://localhost:{t.port}"
            equal(run("--url", u, "--cacert", ca.pem, "--cert", both, "set", "k", "v").returncode, 0)
            equal(run("--url", u, "--cacert", ca.pem, "set", "k", "v").returncode, 4)


@test
def tls_1_2_and_1_3_are_spoken_and_nothing_older_or_weaker():
    v = ssl.TLSVersion
    with Authority() as ca, Server(*options(ca.issue("s"))) as s:
        for version, name in ((v.TLSv1_2, "TLSv1.2"), (v.TLSv1_3, "TLSv1.3")):
            with s.connect(tls=ca.client(lowest=version, highest=version)) as w:
                equal(w.ask("GET", "/livez").status, 200)
                equal(w.socket.version(), name)
                equal(w.socket.compression(), None)
        old = ca.client(lowest=v.TLSv1, highest=v.TLSv1_1)
        old.set_ciphers("ALL:@SECLEVEL=0")
        words = fails(s, old)
        assert "PROTOCOL_VERSION" in words.upper().replace(" ", "_"), words
        weak = ca.client(highest=v.TLSv1_2)
        weak.set_ciphers("AES128-SHA:AES256-GCM-SHA384:ECDHE-ECDSA-AES128-SHA256")
        assert "HANDSHAKE_FAILURE" in fails(s, weak).upper().replace(" ", "_")


@test
def a_handshake_settles_on_http_1_1_and_a_door_takes_no_other_protocols_client():
    with Authority() as ca, Server(*options(ca.issue("s"))) as s:
        both = ca.client()
        both.set_alpn_protocols(["h2", "http/1.1"])
        with s.connect(tls=both) as w:
            equal(w.ask("GET", "/livez").status, 200)
            equal(w.socket.selected_alpn_protocol(), "http/1.1")
        with s.connect(tls=ca.client()) as w:
            equal((w.ask("GET", "/livez").status, w.socket.selected_alpn_protocol()), (200, None))
        h2 = ca.client()
        h2.set_alpn_protocols(["h2"])
        assert "no application protocol" in fails(s, h2).lower().replace("_", " ")
        # A page over https must not reach the Redis protocol, whatever certificate it shows.
        assert "no application protocol" in fails(s, both, resp=True).lower().replace("_", " ")


@test
def a_client_that_trusts_another_ca_does_not_talk_to_us():
    with Authority() as ca, Authority() as other, Server(*options(ca.issue("s"))) as s:
        assert "CERTIFICATE_VERIFY_FAILED" in fails(s, other.client())
        until(lambda: told(s, ca.client())["failed"] == 1, "the failure is counted")


@test
def with_a_client_ca_only_those_it_vouches_for_come_in():
    with Authority() as ca, Authority() as other:
        mine, theirs, own = ca.issue("client"), other.issue("client"), ca.issue("s")
        forged = ca.client(*theirs)
        with Server(*options(own, "--tls-client-ca", ca.pem)) as s:
            for highest in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                with s.connect(tls=ca.client(*mine, highest=highest)) as w:
                    equal(w.put("k", b"v").status, 200)
                with s.resp(tls=ca.client(*mine, highest=highest)) as r:
                    equal(r.call("GET", "k"), b"v")
                for resp in (False, True):
                    fails(s, ca.client(highest=highest), resp)
                    forged.maximum_version = highest
                    fails(s, forged, resp)
            equal(told(s, ca.client(*mine))["client_certificates"], True)


@test
def client_certificates_let_the_server_listen_beyond_this_machine_and_tls_alone_does_not():
    with Authority() as ca:
        own, mine = ca.issue("s"), ca.issue("client")
        everywhere = ("--listen", "0.0.0.0")
        with Server(*options(own, "--tls-client-ca", ca.pem, *everywhere)) as s:
            equal(told(s, ca.client(*mine))["enabled"], True)
            assert f"access: at ports with a certificate of a CA in {ca.pem}\n" in s.stdout(), s.stdout()
            assert "without a token" not in s.stdout() and "kill" in s.stdout(), s.stdout()
        with Server(*options(own, *everywhere)) as s:
            equal(s.process.wait(30), 1)
            s.wanted_end = 1
            assert "--tls-client-ca" in s.stderr(), s.stderr()


@test
def what_cannot_be_used_is_refused_at_the_start_with_a_reason():
    with Authority() as ca:
        cert, key = ca.issue("s")
        other = ca.issue("other")
        locked = ca.path("locked.key")
        ca.openssl("ec", "-in", key, "-aes256", "-passout", "pass:x", "-out", locked)
        empty, open_key = ca.path("empty"), ca.path("open.key")
        open(empty, "w").close()
        os.chmod(empty, 0o600)
        shutil.copy(key, open_key)
        os.chmod(open_key, 0o644)
        cases = (
            (("--tls-cert", cert), "--tls-key"),
            (("--tls-key", key), "--tls-cert"),
            (("--tls-client-ca", ca.pem), "--tls-cert"),
            (options((cert, other[1])), "not the key of the certificate"),
            (options((ca.path("none"), key)), "No such file"),
            (options((cert, ca.path("none"))), "No such file"),
            (options((empty, key)), "no certificate"),
            (options((cert, empty)), "no private key"),
            (options((cert, locked)), "passphrase"),
            (options((cert, open_key)), "chmod o="),
            (options((cert, key), "--tls-client-ca", empty), "no certificates"),
        )
        for given, words in cases:
            with Server(*given) as s:
                equal(s.process.wait(30), 1, given)
                s.wanted_end = 1
                assert words in s.stderr(), (given, s.stderr())


@test
def a_certificate_that_has_expired_is_taken_and_told_of():
    with Authority() as ca, Server(*options(ca.issue("s", days=-1))) as s:
        assert "has expired" in s.stderr(), s.stderr()
        assert "CERTIFICATE_VERIFY_FAILED" in fails(s, ca.client())
        blind = ca.client()
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        with s.connect(tls=blind) as w:
            about = json.loads(w.ask("GET", "/v1/admin/tls").body)
            end = re.search(rb"^quern_tls_not_after_seconds (\d+)$", w.ask("GET", "/metrics").body, re.M)
        equal(calendar.timegm(time.strptime(about["not_after"], "%Y-%m-%dT%H:%M:%SZ")), int(end.group(1)))
        assert int(end.group(1)) < time.time()


def subject_shown(s, tls):
    with s.connect(tls=tls) as w:
        found = w.socket.getpeercert()["subject"]
        equal(w.ask("GET", "/livez").status, 200)
    return dict(pair for part in found for pair in part)["commonName"]


@test
def a_new_certificate_is_taken_up_while_connections_live():
    with Authority() as ca:
        used, fresh = ca.issue("used", "first"), ca.issue("fresh", "second")
        tls = ca.client()
        with Server(*options(used)) as s, s.connect(tls=tls) as old, s.resp(tls=tls) as r:
            equal(old.put("k", b"v").status, 200)
            equal(subject_shown(s, tls), "first")
            for a, b in zip(fresh, used):
                put_in_place(a, b)
            until(lambda: told(s, tls)["subject"] == "CN=second", "the new one is taken up")
            equal(subject_shown(s, tls), "second")
            equal((old.get("k").body, r.call("GET", "k")), (b"v", b"v"))
            equal(told(s, tls)["reload_error"], None)
            s.wait_told("read again")


@test
def sighup_takes_the_files_up_at_once():
    with Authority() as ca:
        used, fresh = ca.issue("used", "first"), ca.issue("fresh", "second")
        tls = ca.client()
        with Server(*options(used)) as s:
            handshakes = told(s, tls)["loaded_at"]
            for a, b in zip(fresh, used):
                put_in_place(a, b)
            s.process.send_signal(signal.SIGHUP)
            until(lambda: told(s, tls)["subject"] == "CN=second", "the new one is taken up")
            assert told(s, tls)["loaded_at"] >= handshakes


@test
def a_path_stays_in_the_clear():
    with Authority() as ca:
        path = ca.path("http.sock")
        with Server(*options(ca.issue("s")), "--listen", "127.0.0.1", "--listen", f"unix:{path}") as s:
            with socket.socket(socket.AF_UNIX) as plain:
                plain.connect(path)
                plain.sendall(request("GET", "/livez", fields=[("Connection", "close")]))
                got = b""
                while more := plain.recv(4096):
                    got += more
                assert got.endswith(b"ok\n"), got
            equal(told(s, ca.client())["enabled"], True)


@test
def no_handshake_fails_while_certificates_change():
    with Authority() as ca:
        pairs = [ca.issue("a", "first"), ca.issue("b", "second")]
        used = ca.issue("used", "first")
        tls, over, troubles, shaken = ca.client(), threading.Event(), [], [0] * 4

        def connect(n):
            try:
                while not over.is_set():
                    subject_shown(s, tls)
                    shaken[n] += 1
            except Exception as e:  # whatever it is
                troubles.append(e)
        with Server(*options(used, "--loops", "2")) as s:
            threads = [threading.Thread(target=connect, args=(n,)) for n in range(4)]
            for t in threads:
                t.start()
            for turn in range(4):
                want = ("second", "first")[turn % 2]
                for a, b in zip(pairs[1 - turn % 2], used):
                    put_in_place(a, b)
                until(lambda: troubles or told(s, tls)["subject"] == f"CN={want}", "the change")
            over.set()
            for t in threads:
                t.join()
            equal((troubles, min(shaken) > 0), ([], True))


@test
def a_pair_that_does_not_fit_is_refused_and_the_old_one_stays():
    with Authority() as ca:
        used, fresh = ca.issue("used", "first"), ca.issue("fresh", "second")
        tls = ca.client()
        with Server(*options(used)) as s:
            put_in_place(fresh[0], used[0])  # and not its key
            until(lambda: told(s, tls)["reload_error"], "the refusal")
            assert "not the key" in told(s, tls)["reload_error"]["detail"]
            equal(told(s, tls)["subject"], "CN=first")
            equal(subject_shown(s, tls), "first")
            s.wait_told("not taken up")
            said = s.stderr().count("not taken up")
            os.remove(used[0])
            os.remove(used[1])
            until(lambda: "No such file" in told(s, tls)["reload_error"]["detail"], "the next one")
            equal(subject_shown(s, tls), "first")
            put_in_place(fresh[0], used[0])
            put_in_place(fresh[1], used[1])
            os.chmod(used[1], 0o644)
            until(lambda: "chmod" in told(s, tls)["reload_error"]["detail"], "the open key")
            equal(subject_shown(s, tls), "first")
            os.chmod(used[1], 0o600)
            until(lambda: told(s, tls)["subject"] == "CN=second", "the pair is whole")
            equal(told(s, tls)["reload_error"], None)
            assert 1 <= said <= 2, s.stderr()  # each state is refused once, not every second


@test
def who_lost_the_favour_of_the_client_ca_does_not_resume():
    with Authority() as ca, Authority() as next_ca:
        mine, theirs, trusted = ca.issue("client"), next_ca.issue("client"), ca.path("trusted.pem")
        shutil.copy(ca.pem, trusted)
        tls, then = ca.client(*mine), ca.client(*theirs)
        with Server(*options(ca.issue("s"), "--tls-client-ca", trusted)) as s:
            with s.connect(tls=tls) as w:
                equal(w.ask("GET", "/livez").status, 200)
                session = w.socket.session
            put_in_place(next_ca.pem, trusted)

            def is_out():
                try:
                    return told(s, then)["enabled"]
                except (ssl.SSLError, ConnectionError, AttributeError):
                    return False
            until(is_out, "the new CA is taken up")
            fails(s, lambda sock: tls.wrap_socket(sock, server_hostname="localhost",
                                                  session=session))


@test
def sessions_are_resumed():
    with Authority() as ca, Server(*options(ca.issue("s"))) as s:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            tls = ca.client(lowest=version, highest=version)
            with s.connect(tls=tls) as w:
                equal(w.ask("GET", "/livez").status, 200)
                session = w.socket.session
            again = lambda sock: tls.wrap_socket(sock, server_hostname="localhost",
                                                 session=session)
            with s.connect(tls=again) as w:
                equal(w.ask("GET", "/livez").status, 200)
                assert w.socket.session_reused
        equal(told(s, ca.client())["resumed"], 2)


class Client:
    """openssl's s_client, to which a line of one letter is an order."""

    def __init__(self, s, ca, version):
        self.process = subprocess.Popen(
            ["openssl", "s_client", version, "-CAfile", ca.pem, "-connect", f"127.0.0.1:{s.port}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.heard = b""

    def until(self, words):
        """Read until it says so; False: it ended before."""
        while words not in self.heard:
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                return False
            self.heard += more
        return True

    def say(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


@test
def renegotiation_is_refused_and_new_keys_are_taken():
    ask = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Authority() as ca, Server(*options(ca.issue("s"))) as s:
        with Client(s, ca, "-tls1_2") as old:
            assert old.until(b"Verify return code")
            old.say(ask)
            assert old.until(b"200 OK"), old.heard
            old.say(b"R\n")
            assert old.until(b"RENEGOTIATING"), old.heard
            assert old.until(b"no renegotiation"), old.heard
        with Client(s, ca, "-tls1_3") as new:
            assert new.until(b"Verify return code")
            new.say(b"K\n")  # and the server shall change its own
            assert new.until(b"KEYUPDATE"), new.heard
            new.say(ask)
            assert new.until(b"200 OK"), new.heard


@test
def what_is_not_tls_is_told_so_in_its_own_words():
    with Authority() as ca, Server(*options(ca.issue("s"))) as s:
        with s.connect() as w:
            w.send(request("GET", "/get?key=a"))
            r = w.read()
            equal((r.status, r.body), (400, b"error: this port speaks TLS; use https://\n"))
            assert w.ended()
        with s.connect() as w:
            w.send(request("PUT", "/v1/kv/a", b"v" * 100000))
            equal(w.read().status, 400)
        for words in (b"*1\r\n$4\r\nPING\r\n", b"PING\r\n"):
            with s.resp() as r:
                r.send(words)
                equal(r.answer(), Refused("ERR this port speaks TLS"))
                assert r.ended()
        for door in (s.connect, s.resp):
            for garbage in (b"\0" * 100, b"\x16\x03\x01\xff\xff" + b"x" * 70000, b"\x80\x2e\x01" + b"\0" * 60,
                            b"\x16\x03\x01\0\x05\x01\xff\xff\xff\xff", b"\x15\x03\x01\0\x02\x02\x28", b"\xff"):
                with door() as w:
                    w.send(garbage)
                    w.socket.shutdown(socket.SHUT_WR)
                    while w._more():
                        assert len(w.buffer) < 4096
                    assert w.buffer == b"" or w.buffer[0] == 0x15, w.buffer  # an alert, or nothing
        equal(told(s, ca.client())["enabled"], True)


@test
def a_handshake_that_stalls_ends_with_the_header_timeout():
    with Authority() as ca, Server(*options(ca.issue("s"), "--header-timeout", "300ms")) as s:
        out, into = ssl.MemoryBIO(), ssl.MemoryBIO()
        hello = ca.client().wrap_bio(into, out, server_hostname="localhost")
        try:
            hello.do_handshake()
        except ssl.SSLWantReadError:
            pass
        hello = out.read()
        for door in (s.connect, s.resp):
            for begun in (b"", hello[:1], hello[:-1], hello):
                with door() as w:
                    w.send(begun)
                    while w._more():  # what the server says to a whole hello
                        pass
                    assert len(w.buffer) < 65536


@test
def a_client_that_sends_certificates_without_end_is_cut():
    with Authority() as ca:
        cert, key = ca.issue("client")
        chain = ca.path("chain.pem")
        with open(chain, "w") as f:
            f.write(open(cert).read())
            f.write(open(ca.pem).read() * 200)
        with Server(*options(ca.issue("s"), "--tls-client-ca", ca.pem)) as s:
            fails(s, ca.client(chain, key))
            equal(told(s, ca.client(cert, key))["enabled"], True)


@test
def a_request_that_was_cut_off_is_not_carried_out():
    with Authority() as ca, Server(*options(ca.issue("s"))) as s:
        tls = ca.client()
        with s.connect(tls=tls) as w:
            w.send(request("PUT", "/v1/kv/cut", b"v" * 100000)[:-1])
            w.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        with s.connect() as w:
            t = tls.wrap_socket(w.socket, server_hostname="localhost")
            t.sendall(request("PUT", "/v1/kv/cut", b"v" * 100000)[:-1])
            t.shutdown(socket.SHUT_WR)  # the end of the connection, and none of TLS
            while t.recv(65536):  # the tickets and close_notify
                pass
            t.close()
        with s.connect(tls=tls) as w:
            equal(w.get("cut").status, 404)


@test
def the_end_is_said_so_that_a_cut_can_be_told_from_it():
    with Authority() as ca:
        tls = ca.client()
        with Server(*options(ca.issue("s"))) as s:
            with s.connect(tls=tls) as w:
                w.send(request("GET", "/livez", fields=[("Connection", "close")]))
                equal(w.read().status, 200)
                equal(w.socket.recv(1), b"")  # without close_notify: ssl.SSLEOFError
            with s.resp(tls=tls) as r:
                equal(r.call("QUIT"), "OK")
                equal(r.socket.recv(1), b"")
            with s.connect(tls=tls) as idle:
                equal(idle.ask("GET", "/livez").status, 200)
                equal(s.stop(), 0)
                equal(idle.socket.recv(1), b"")
            s.wanted_end = 0


@test
def a_client_that_has_said_all_still_hears_the_reply():
    with Authority() as ca, Server(*options(ca.issue("s"))) as s:
        with s.connect() as w:
            out, into = ssl.MemoryBIO(), ssl.MemoryBIO()
            t = ca.client().wrap_bio(into, out, server_hostname="localhost")

            def until_done(what):
                while True:
                    try:
                        result = what()
                        w.send(out.read())
                        return result
                    except ssl.SSLWantReadError:
                        w.send(out.read())
                        data = w.socket.recv(65536)
                        if not data:
                            into.write_eof()
                        into.write(data)
            until_done(t.do_handshake)
            t.write(request("PUT", "/v1/kv/k", b"v" * 1000))
            try:
                t.unwrap()
            except ssl.SSLWantReadError:
                pass
            w.send(out.read())  # the request and close_notify in one go
            while w._more():
                pass
            assert len(w.buffer) > 100, w.buffer  # sealed: a reply and close_notify
        with s.connect(tls=ca.client()) as w:
            equal(w.get("k").body, b"v" * 1000)


@test
def large_values_pass_both_ways_and_a_slow_reader_loses_nothing():
    value = os.urandom(1 << 20) * 24
    with Authority() as ca, Server(*options(ca.issue("s"), "--durability", "os")) as s:
        tls = ca.client()
        with s.connect(tls=tls) as w, s.resp(tls=tls) as r:
            equal(w.ask("PUT", "/v1/kv/big", value).status, 201)
            w.send(request("GET", "/v1/kv/big") + request("GET", "/livez"))
            with s.connect(tls=tls) as other:  # while the first waits for its client
                equal(other.ask("GET", "/livez").status, 200)
            equal(w.read().body == value, True)
            equal(w.read().body, b"ok\n")
            equal(r.call("GET", "big") == value, True)
            equal(r.call("SET", "big2", value[1:]), "OK")
            equal(w.get("big2").body == value[1:], True)
            equal(w.ask("GET", "/v1/kv/big", fields=[("Range", "bytes=70000-17000000")]).body ==
                  value[70000:17000001], True)


@test
def pipelined_requests_are_answered_in_order_however_the_records_are_cut():
    with Authority() as ca, Server(*options(ca.issue("s"), "--durability", "os")) as s:
        with s.connect(tls=ca.client()) as w:
            asked = b"".join(request("POST", f"/set?key=k{i}", b"v%d" % i) + request("GET", f"/get?key=k{i}")
                             for i in range(500))
            for at in range(0, len(asked), 4099):
                w.send(asked[at:at + 4099])
            for i in range(500):
                equal(w.read().body, b"OK\n")
                equal(w.read().body, b"v%d" % i)
            for byte in request("GET", "/get?key=k7"):  # a record for each byte
                w.send(bytes([byte]))
            equal(w.read().body, b"v7")
        with s.resp(tls=ca.client()) as r:
            r.send(b"*2\r\n$3\r\nGET\r\n$2\r\nk3\r\n" * 2000)
            for _ in range(2000):
                equal(r.answer(), b"v3")


@test
def what_was_carried_out_leaves_memory_though_more_has_always_begun():
    kept = {"ASAN_OPTIONS": "quarantine_size_mb=0:thread_local_quarantine_size_kb=0"}  # what a sanitizer keeps is not ours
    with Authority() as ca, Server(*options(ca.issue("s")), env=kept) as s, s.connect(tls=ca.client()) as w:
        one = request("GET", "/livez", fields=[("X-Fill", "x" * 4000)])

        def go(n):
            w.send(one[:50])
            for _ in range(n):
                w.send(one[50:] + one[:50])  # a record that ends inside the next request
                equal(w.read().body, b"ok\n")
            w.send(one[50:])
            equal(w.read().body, b"ok\n")

        def resident():
            with open(f"/proc/{s.process.pid}/statm") as f:
                return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        go(200)
        before = resident()
        go(4000)
        assert resident() - before < 4 << 20, resident() - before


@test
def records_that_arrive_byte_by_byte_are_put_together():
    with Authority() as ca, Server(*options(ca.issue("s"))) as s, s.connect() as w:
        out, into = ssl.MemoryBIO(), ssl.MemoryBIO()
        t = ca.client().wrap_bio(into, out, server_hostname="localhost")

        def trickle():
            for byte in out.read():
                w.send(bytes([byte]))
        while True:
            try:
                t.do_handshake()
                break
            except ssl.SSLWantReadError:
                trickle()
                into.write(w.socket.recv(65536))
        t.write(request("GET", "/livez"))
        trickle()
        while True:
            try:
                assert b"200 OK" in t.read(65536)
                break
            except ssl.SSLWantReadError:
                into.write(w.socket.recv(65536))


@test
def a_page_of_ours_over_https_is_no_other_site():
    with Authority() as ca, Server(*options(ca.issue("s"))) as s, s.connect(tls=ca.client()) as w:
        equal(w.ask("POST", "/set?key=a&value=1", fields=[("Origin", "https://localhost")]).status, 200)
        r = w.ask("POST", "/set?key=a&value=1", fields=[("Origin", "http://localhost")])
        equal((r.status, r.body), (403, b"error: not for a page of another site\n"))


if __name__ == "__main__":
    if not shutil.which("openssl"):
        print("1..0 # SKIP no openssl here")
        sys.exit(0)
    main()
