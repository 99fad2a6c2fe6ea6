"""Why no connection comes about, in a sentence that says what to do.

gRPC tells of a failed connection in words of its TLS library, and of a peer that speaks something else as a
"closed socket". So after such a failure one connection is made by hand, with the standard library, whose
errors are typed.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from chronos_common.errors import ChronosError, TlsError, UnavailableError
from chronos_common.wire.certificates import EXPIRED, NOT_YET_VALID
from chronos_common.wire.security import ClientSecurity

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
"""What an HTTP/2 client says first, with empty settings; a gRPC server answers with settings of its own."""

_SETTINGS: Final = 4
_TLS_ALERT: Final = b"\x15\x03"
_WRONG_HOST: Final = (62, 64)

_ALERTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "CERTIFICATE_REQUIRED": "it wants a client certificate: give --tls-cert and --tls-key",
        "CERTIFICATE_EXPIRED": "the certificate in --tls-cert has expired by its clock: put a new one in its place",
        "UNKNOWN_CA": "it does not know the authority of the certificate in --tls-cert: use one from the "
        "authorities in its --tls-client-ca",
        "HANDSHAKE_FAILURE": "it wants a client certificate, or one of another kind: give --tls-cert and --tls-key",
        "CERTIFICATE_UNKNOWN": "it does not take the certificate in --tls-cert",
        "BAD_CERTIFICATE": "it does not take the certificate in --tls-cert",
        "UNSUPPORTED_CERTIFICATE": "the certificate in --tls-cert is none for clients (extendedKeyUsage=clientAuth)",
    }
)
"""End of the name of a TLS alert, to what the other side means by it."""


def diagnose(address: str, security: ClientSecurity, timeout_seconds: float) -> ChronosError | None:
    """What keeps a client from connecting to ``host:port``; blocks for up to about twice the timeout.

    Returns:
        A ``TlsError`` where the two sides do not fit, which time alone does not mend; an ``UnavailableError``
        where nobody answers; ``None`` when nothing seems to be in the way any more.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not port.isdecimal():
        return None

    def connect() -> socket.socket:
        return socket.create_connection((host, int(port)), timeout_seconds)

    try:
        if security.tls:
            return _over_tls(address, security, security.tls_server_name or host, connect)
        return _in_the_open(address, connect)
    except OSError as error:
        return UnavailableError(f"the coordinator at {address} cannot be reached: {_unreachable(error)}")


def _over_tls(
    address: str, security: ClientSecurity, name: str, connect: Callable[[], socket.socket]
) -> ChronosError | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=security.tls_ca)
    if security.tls_cert is not None:
        context.load_cert_chain(security.tls_cert, security.tls_key, password="")
    context.set_alpn_protocols(["h2"])
    who = f"the coordinator at {address}"
    with connect() as plain:
        try:
            secure = context.wrap_socket(plain, server_hostname=name)
        except ssl.SSLCertVerificationError as error:
            return TlsError(f"{who} cannot be trusted: {_untrusted(error, security, name)}")
        except (ssl.SSLError, ConnectionError) as error:
            return _handshake_failed(who, error)
        with secure:
            try:
                # With TLS 1.3 a server judges the client's certificate after the client's handshake.
                secure.sendall(_PREFACE)
                answer = secure.recv(len(_PREFACE))
            except ssl.SSLError as error:
                return _handshake_failed(who, error)
            except ConnectionError:
                answer = b""
    return None if answer else _hung_up(who, security)


def _in_the_open(address: str, connect: Callable[[], socket.socket]) -> ChronosError | None:
    with connect() as plain:
        try:
            plain.sendall(_PREFACE)
            answer = plain.recv(len(_PREFACE))
        except ConnectionError:
            answer = b""
    if len(answer) > 3 and answer[3] == _SETTINGS and not answer.startswith(b"HTTP/"):
        return None
    if answer.startswith(_TLS_ALERT) or _speaks_tls(connect):
        return TlsError(
            f"the coordinator at {address} speaks TLS, and this client does not: give --tls-ca, the authority of "
            "its certificate (environment: CHRONOS_CLIENT__TLS_CA)"
        )
    if answer:
        return UnavailableError(
            f"what listens at {address} is no coordinator: check the port (that of /metrics is another one)"
        )
    return None


def _speaks_tls(connect: Callable[[], socket.socket]) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with connect() as plain, context.wrap_socket(plain):
            return True
    except OSError:
        return False


def _untrusted(error: ssl.SSLCertVerificationError, security: ClientSecurity, name: str) -> str:
    if error.verify_code == EXPIRED:
        return (
            "its certificate has expired: put a new one into its --tls-cert; it is taken up without a restart"
        )
    if error.verify_code == NOT_YET_VALID:
        return "its certificate is not valid yet: compare the clocks of the two machines"
    if error.verify_code in _WRONG_HOST:
        return (
            f"its certificate is not for {name!r}: use a name that is in it (subjectAltName), or say with "
            "--tls-server-name which one to expect"
        )
    return (
        f"its certificate is from an authority that is not in {security.tls_ca} ({error.verify_message}): give "
        "the one that signed it with --tls-ca"
    )


def _handshake_failed(who: str, error: OSError) -> ChronosError:
    reason = getattr(error, "reason", None) or ""
    for alert, meaning in _ALERTS.items():
        if reason.endswith(alert):
            return TlsError(f"{who} turns this client away: {meaning}")
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"):
        return TlsError(
            f"{who} does not speak TLS, and this client does: start it with --tls-cert and --tls-key, or leave "
            "--tls-ca out"
        )
    return UnavailableError(
        f"{who} broke the TLS handshake off ({reason or error}); its log may have the reason"
    )


def _hung_up(who: str, security: ClientSecurity) -> ChronosError:
    advice = (
        "give --tls-cert and --tls-key, if it asks clients for certificates"
        if security.tls_cert is None
        else "it may not take the certificate in --tls-cert: it has to come from its --tls-client-ca"
    )
    return UnavailableError(f"{who} hung up after the TLS handshake: {advice}")


def _unreachable(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "its host name is not known; check the address"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there; check that it runs, and the port"
    if isinstance(error, TimeoutError):
        return "nothing answers there; check the address, and what stands between the two (a firewall?)"
    return f"{error.strerror or error}; check the address"
