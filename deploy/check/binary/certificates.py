"""A certificate authority by openssl, for a test's few dozen certificates."""

import base64
import dataclasses
import hashlib
import ssl
import subprocess
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Pair:
    """A chain with its key, as PEM."""

    certificate: bytes
    key: bytes

    @property
    def fingerprint(self) -> str:
        """Lower-case hex SHA-256 of the leaf."""
        body = self.certificate.split(b"-----BEGIN CERTIFICATE-----")[1].split(b"-----END")[0]
        return hashlib.sha256(base64.b64decode(body)).hexdigest()

    @property
    def not_after(self) -> int:
        """Seconds since 1970."""
        done = subprocess.run(["openssl", "x509", "-noout", "-enddate"], input=self.certificate, capture_output=True, check=True)
        return int(ssl.cert_time_to_seconds(done.stdout.decode().strip().removeprefix("notAfter=")))


class Authority:
    """Signs leaves for localhost."""

    def __init__(self, directory: Path):
        self.directory = directory
        directory.mkdir(parents=True)
        self.file = directory / "ca.crt"
        run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
            "-subj", "/CN=deploy check CA", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout", directory / "ca.key", "-out", self.file)

    def issue(self, days: int) -> Pair:
        key, request, leaf, extensions = (self.directory / name for name in ("leaf.key", "leaf.csr", "leaf.crt", "leaf.ext"))
        extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"
                              "keyUsage=critical,digitalSignature\nbasicConstraints=critical,CA:FALSE\n")
        run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost",
            "-keyout", key, "-out", request)
        run("x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.directory / "ca.key", "-days", str(days),
            "-extfile", extensions, "-out", leaf)
        return Pair(leaf.read_bytes() + self.file.read_bytes(), key.read_bytes())


def run(*args) -> None:
    subprocess.run(["openssl", *map(str, args)], capture_output=True, check=True, timeout=60)
