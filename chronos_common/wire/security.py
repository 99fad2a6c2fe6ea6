"""What secures a connection, as both ends are told: certificates for the channel, tokens for the caller.

Without any of it a connection is plaintext and everybody may do everything: the default on loopback.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chronos_common.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class ServerSecurity:
    """How a server proves who it is, and whom it lets in. All files are read again when they change.

    Attributes:
        tls_cert: certificate chain of the server, PEM; with it and its key the port speaks TLS and nothing else.
        tls_key: private key of that certificate, PEM, not encrypted.
        tls_client_ca: certificates of the authorities that clients' certificates must come from, PEM; clients
            without such a certificate are turned away (mutual TLS).
        token_file: tokens and the roles that they give, a line each, "ROLE NAME TOKEN"; with it every call but
            those of the health service needs a token.
    """

    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    token_file: Path | None = None

    def __post_init__(self) -> None:
        _require_pair(self.tls_cert, self.tls_key)
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ConfigurationError(
                "tls_client_ca asks clients for certificates, which takes TLS: give tls_cert and tls_key too",
                field="tls_client_ca",
            )

    @property
    def tls(self) -> bool:
        """Whether the port speaks TLS."""
        return self.tls_cert is not None

    @property
    def knows_callers(self) -> bool:
        """Whether not everybody who can reach the port may use it."""
        return self.tls_client_ca is not None or self.token_file is not None


@dataclass(frozen=True, kw_only=True)
class ClientSecurity:
    """Whom a client trusts, and how it proves who it is. All files are read again when they change.

    Attributes:
        tls_ca: certificates of the authorities that the coordinator's certificate must come from, PEM; with it
            the connection is TLS.
        tls_cert: certificate chain of this client, PEM, for a coordinator that asks for one.
        tls_key: private key of that certificate, PEM, not encrypted.
        tls_server_name: name that the coordinator's certificate must be for, where it is not the host of its
            address.
        token_file: file that holds nothing but this client's token.
        token_without_tls: send the token over connections that others can read, as inside of a service mesh that
            encrypts by itself.
    """

    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_server_name: str = ""
    token_file: Path | None = None
    token_without_tls: bool = False

    def __post_init__(self) -> None:
        _require_pair(self.tls_cert, self.tls_key)
        for name in ("tls_cert", "tls_server_name"):
            if getattr(self, name) and self.tls_ca is None:
                raise ConfigurationError(
                    f"{name} means nothing without TLS: give tls_ca, the authority of the coordinator's certificate",
                    field=name,
                )

    @property
    def tls(self) -> bool:
        """Whether the connection is TLS."""
        return self.tls_ca is not None


def _require_pair(cert: Path | None, key: Path | None) -> None:
    if (cert is None) != (key is None):
        given, missing = ("tls_cert", "tls_key") if key is None else ("tls_key", "tls_cert")
        raise ConfigurationError(
            f"{given} is given without {missing}; a certificate and its key go together", field=missing
        )
