"""TLS for gRPC's two ends. Both take new certificates from the same files without a restart.

A server asks for its certificates at every handshake. A client's are fixed with its channel, so that it opens
another channel when they have changed: see ``chronos_common.wire.transport``.
"""

from __future__ import annotations

import threading
from typing import Any

import grpc

from chronos_common.errors import ConfigurationError
from chronos_common.runtime import get_logger
from chronos_common.wire.certificates import read_authorities, read_identity
from chronos_common.wire.security import ClientSecurity, ServerSecurity
from chronos_common.wire.watched import WatchedFiles

_log = get_logger(__name__)


class ServerCertificates:
    """A server's certificates, and whose clients' certificates it takes.

    Args:
        security: names the files; TLS is on.

    Raises:
        ConfigurationError: a file that is not there, does not fit, or holds what has expired.
    """

    def __init__(self, security: ServerSecurity) -> None:
        self._security = security
        paths = (security.tls_cert, security.tls_key, security.tls_client_ca)
        self._files = WatchedFiles([path for path in paths if path is not None])
        self._files.changed()
        self._lock = threading.Lock()
        self._initial = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """For ``add_secure_port``."""
        # The stubs do not know that it may answer None.
        renewed: Any = self.renewed
        return grpc.dynamic_ssl_server_credentials(
            self._initial,
            renewed,
            require_client_authentication=self._security.tls_client_ca is not None,
        )

    def renewed(self) -> Any | None:
        """New certificates, or ``None`` to go on with those that there are; called at every handshake."""
        with self._lock:
            if not self._files.changed():
                return None
            try:
                read = self._read()
            except ConfigurationError as error:
                # Its halves may be replaced one after the other: the second one brings it here again.
                _log.warning("new certificates cannot be used, the old ones stay", problem=str(error))
                return None
            _log.info("new certificates are in use", certificate=str(self._security.tls_cert))
            return read

    def _read(self) -> Any:
        security = self._security
        if security.tls_cert is None or security.tls_key is None:
            raise ConfigurationError("TLS needs tls_cert and tls_key")
        identity = read_identity(security.tls_cert, security.tls_key, server=True)
        authorities = None if security.tls_client_ca is None else read_authorities(security.tls_client_ca)
        return grpc.ssl_server_certificate_configuration([(identity.key, identity.chain)], authorities)


def client_credentials(security: ClientSecurity) -> grpc.ChannelCredentials:
    """For ``secure_channel``.

    Raises:
        ConfigurationError: a file that is not there, does not fit, or holds what has expired.
    """
    if security.tls_ca is None:
        raise ConfigurationError("TLS needs tls_ca")
    authorities = read_authorities(security.tls_ca)
    if security.tls_cert is None or security.tls_key is None:
        return grpc.ssl_channel_credentials(authorities)
    identity = read_identity(security.tls_cert, security.tls_key, server=False)
    return grpc.ssl_channel_credentials(authorities, identity.key, identity.chain)
