"""The wire: everything between Chronos' dataclasses and gRPC.

``status`` maps the error tree to statuses and back, ``interceptor`` is the one place that aborts a call,
``chunks`` carries payloads, ``convert`` turns messages into dataclasses, ``limits`` and ``deadlines`` hold
the numbers, ``admission`` counts what is in flight. ``security`` says how a connection is secured, ``tls`` and
``tokens`` do it, ``access`` knows which call takes which role, and ``diagnosis`` why no connection comes
about. ``server`` and ``channel`` set the two ends up, ``client``
and ``sync`` are what the rest of Chronos calls: they raise Chronos' errors and return plain data, so that no
code outside this package and the services' ``*_service.py`` sees grpc or the generated messages.

To add an RPC: the proto, a handler in the service's ``*_service.py``, a method in ``client`` (and its line in
``sync``), a row in ``access.RULES``, one in ``channel.IDEMPOTENT_METHODS`` if it may be repeated, and a test of the
two together.
"""

import chronos_common.wire.grpc_log  # noqa: F401 - before anything imports grpc
from chronos_common.wire.client import CoordinatorClient
from chronos_common.wire.data_source import CoordinatorSource
from chronos_common.wire.deadlines import DeadlineConfig
from chronos_common.wire.limits import WireLimits
from chronos_common.wire.loop import run
from chronos_common.wire.results import CheckoutResult, CommitResult, RegisterResult, WatchUpdate
from chronos_common.wire.security import ClientSecurity, ServerSecurity
from chronos_common.wire.server import DEFAULT_PORT, Server, ServerConfig, Service
from chronos_common.wire.sync import SyncCoordinatorClient

__all__ = [
    "DEFAULT_PORT",
    "CheckoutResult",
    "ClientSecurity",
    "CommitResult",
    "CoordinatorClient",
    "CoordinatorSource",
    "DeadlineConfig",
    "RegisterResult",
    "Server",
    "ServerConfig",
    "ServerSecurity",
    "Service",
    "SyncCoordinatorClient",
    "WatchUpdate",
    "WireLimits",
    "run",
]
