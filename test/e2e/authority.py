"""authority.py - certificates for the tests that speak TLS."""

import os
import shutil
import ssl
import subprocess
import tempfile
import warnings


class Authority:
    """A directory with a CA of its own, and the certificates it signs."""

    def __init__(self, name="quern test CA"):
        self.dir = tempfile.mkdtemp(prefix="quern-tls-")
        self.pem = self.path("ca.pem")
        self.openssl("req", "-x509", *NEW_KEY, "-keyout", self.path("ca.key"), "-out", self.pem,
                     "-subj", f"/CN={name}", "-days", "2")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    @staticmethod
    def openssl(*words):
        done = subprocess.run(["openssl", *words], stdin=subprocess.DEVNULL, capture_output=True)
        assert done.returncode == 0, done.stderr

    def issue(self, name, subject="localhost", days=2):
        """A certificate for localhost and its key; returns their paths."""
        cert, key, csr, more = (self.path(name + end) for end in (".pem", ".key", ".csr", ".ext"))
        with open(more, "w") as f:
            f.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        self.openssl("req", *NEW_KEY, "-keyout", key, "-out", csr, "-subj", f"/CN={subject}")
        self.openssl("x509", "-req", "-in", csr, "-CA", self.pem, "-CAkey", self.path("ca.key"),
                     "-CAcreateserial", "-days", str(days), "-extfile", more, "-out", cert)
        os.chmod(key, 0o600)
        return cert, key

    def client(self, *pair, lowest=None, highest=None):
        """What a client that trusts this CA speaks by; `pair`: what it shows of itself."""
        context = ssl.create_default_context(cafile=self.pem)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the old protocols
            if lowest:
                context.minimum_version = lowest
            if highest:
                context.maximum_version = highest
        if pair:
            context.load_cert_chain(*pair)
        return context


NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def options(pair, *more):
    return ("--tls-cert", pair[0], "--tls-key", pair[1], *more)


def put_in_place(source, target):
    shutil.copy2(source, target + ".new")
    os.rename(target + ".new", target)
