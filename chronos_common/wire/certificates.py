"""Certificates on disk: read, and refused before they are used where no peer could ever accept them.

gRPC reads certificates late and reports what is wrong with them in its own log, if at all. So the standard
library's TLS looks at them first. It tells an expired certificate only from within a handshake, which is why
there is one here, from memory to memory.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chronos_common.errors import ConfigurationError
from chronos_common.wire.watched import read_file

NOT_YET_VALID: Final = 9
EXPIRED: Final = 10
"""Numbers that OpenSSL gives to what it found wrong with a certificate (``X509_V_ERR_*``)."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A certificate chain and its private key, PEM; the key never shows in ``repr``."""

    chain: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Identity(...)"


def read_identity(cert: Path, key: Path, *, server: bool) -> Identity:
    """A certificate chain and its key, fit for use today.

    Args:
        cert: the chain, PEM.
        key: the private key, PEM.
        server: whether it is a server's; else it is a client's.

    Raises:
        ConfigurationError: a file that cannot be read, is no PEM, or does not belong to the other; a
            certificate that has expired or is not valid yet.
    """
    identity = Identity(chain=read_file(cert, "certificate"), key=read_file(key, "private key"))
    owner, peer = _contexts(server)
    try:
        for end in (owner,) if server else (owner, peer):  # a server without a certificate shakes no hands
            end.load_cert_chain(cert, key, password="")  # else a password is asked for on the terminal
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ConfigurationError(_unusable(cert, key, error), file=str(cert)) from error
    peer.load_verify_locations(cafile=cert)
    _require_in_time(*((peer, owner) if server else (owner, peer)), cert)
    return identity


def read_authorities(path: Path) -> bytes:
    """Certificates of authorities, PEM; raises ``ConfigurationError`` when there is none in the file."""
    content = read_file(path, "certificate authority")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError) as error:
        raise ConfigurationError(
            f"the certificate authority {path} holds no certificate in PEM form", file=str(path)
        ) from error
    return content


def _contexts(server: bool) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of the certificate's owner and of a peer that trusts this very certificate."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_side.check_hostname = False
    client_side.verify_mode = ssl.CERT_NONE
    owner, peer = (server_side, client_side) if server else (client_side, server_side)
    peer.verify_mode = ssl.CERT_REQUIRED
    peer.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return owner, peer


def _require_in_time(client: ssl.SSLContext, server: ssl.SSLContext, cert: Path) -> None:
    try:
        _shake_hands(client, server)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code not in (EXPIRED, NOT_YET_VALID):
            return  # the peer's own authorities decide about everything else
        what = "has expired" if error.verify_code == EXPIRED else "is not valid yet"
        raise ConfigurationError(
            f"the certificate {cert} {what}: put a new one in its place "
            f"(`openssl x509 -in {cert} -noout -dates` shows when it is valid)",
            file=str(cert),
        ) from error
    except ssl.SSLError:
        return


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    waiting = [
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while waiting:
        for end in tuple(waiting):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(end)


def _unusable(cert: Path, key: Path, error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return (
            f"the private key {key} is not that of the certificate {cert}; give the key that it was made with"
        )
    return f"the certificate {cert} and its key {key} cannot be used: they must be PEM, the key without a password"
