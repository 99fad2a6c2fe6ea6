"""Certificates as people make them: with openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

from chronos_common.wire import ClientSecurity, ServerSecurity

HOSTS = "DNS:localhost,IP:127.0.0.1"
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Authority:
    """An authority of its own in a directory, which exists.

    Attributes:
        directory: where everything is.
        certificate: what its peers must trust.
    """

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self.directory = directory
        self.name = name
        self.certificate = directory / f"{name}.pem"
        openssl(
            *("req", "-x509", *KEY, "-days", "1", "-subj", f"/CN={name}"),
            *("-keyout", self._file(f"{name}.key"), "-out", self._file(f"{name}.pem")),
        )

    def issue(self, name: str, *, usage: str = "serverAuth", hosts: str = HOSTS, days: int = 1) -> None:
        """Signs ``name``.pem for a new ``name``.key; ``days`` below 0 have passed already."""
        request, extensions = self._file(f"{name}.csr"), self._file(f"{name}.ext")
        Path(extensions).write_text(f"subjectAltName={hosts}\nextendedKeyUsage={usage}\n")
        new_key, new_certificate = self._file(f"{name}.key.new"), self._file(f"{name}.pem.new")
        openssl("req", *KEY, "-subj", f"/CN={name}", "-keyout", new_key, "-out", request)
        openssl(
            *("x509", "-req", "-in", request, "-CA", str(self.certificate), "-CAcreateserial"),
            *("-CAkey", self._file(f"{self.name}.key"), "-days", str(days)),
            *("-extfile", extensions, "-out", new_certificate),
        )
        Path(new_key).replace(self._file(f"{name}.key"))
        Path(new_certificate).replace(self._file(f"{name}.pem"))

    def server(self, name: str = "server", *, mutual: bool = False) -> ServerSecurity:
        """Settings of a server with the certificate ``name``."""
        return ServerSecurity(
            tls_cert=self.directory / f"{name}.pem",
            tls_key=self.directory / f"{name}.key",
            tls_client_ca=self.certificate if mutual else None,
        )

    def client(self, name: str | None = None) -> ClientSecurity:
        """Settings of a client that trusts this authority, with the certificate ``name``."""
        if name is None:
            return ClientSecurity(tls_ca=self.certificate)
        return ClientSecurity(
            tls_ca=self.certificate,
            tls_cert=self.directory / f"{name}.pem",
            tls_key=self.directory / f"{name}.key",
        )

    def _file(self, name: str) -> str:
        return str(self.directory / name)


def openssl(*arguments: str) -> None:
    """Runs openssl; an error is a failure, with what it said."""
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
