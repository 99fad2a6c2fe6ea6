"""A server of Chronos' services: options, TLS, health, admission, drain."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from chronos_common.errors import ConfigurationError
from chronos_common.runtime import get_logger
from chronos_common.wire.access import make_gate
from chronos_common.wire.admission import Admission
from chronos_common.wire.channel import keepalive_options
from chronos_common.wire.deadlines import DeadlineConfig
from chronos_common.wire.interceptor import ErrorInterceptor, Observe
from chronos_common.wire.limits import WireLimits
from chronos_common.wire.security import ServerSecurity
from chronos_common.wire.tls import ServerCertificates
from chronos_common.wire.tokens import is_loopback

DEFAULT_PORT: Final = 50551

GRACE_SECONDS: Final = 1.0
"""How long a drained server keeps its connections."""

MAX_NOTICE_SECONDS: Final = 60.0

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Where a server listens and what it takes.

    Attributes:
        host: address to listen on; the default is reachable from this machine only.
        port: port; 0 lets the system choose a free one.
        reflection: describe the services to anyone who asks, or with tokens, to anyone who has one (for grpcurl
            and the like).
        notice_seconds: how long a stopping server keeps its port open at least, so that clients which come back
            with their next call are told that it stops and that they may repeat it.
        security: TLS and tokens.
        limits: sizes and concurrency.
        deadlines: the deadline budget.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    reflection: bool = False
    notice_seconds: float = 0.0
    security: ServerSecurity = field(default_factory=ServerSecurity)
    limits: WireLimits = field(default_factory=WireLimits)
    deadlines: DeadlineConfig = field(default_factory=DeadlineConfig)

    def __post_init__(self) -> None:
        if not self.host:
            raise ConfigurationError(
                "the server's host is empty; use 127.0.0.1, or 0.0.0.0 for every interface"
            )
        if not 0 <= self.port < 65536:
            raise ConfigurationError(f"port is {self.port}; it must lie between 0 and 65535", field="port")
        if not 0.0 <= self.notice_seconds <= MAX_NOTICE_SECONDS:
            raise ConfigurationError(
                f"notice_seconds is {self.notice_seconds}; it must lie between 0 and {MAX_NOTICE_SECONDS:g}",
                field="notice_seconds",
            )


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service that a server offers.

    Attributes:
        name: full name in the contract, such as ``chronos.v1.CoordinatorService``.
        add_to: registers the handlers on a gRPC server; given what it needs for admission.
    """

    name: str
    add_to: Callable[[grpc.aio.Server, Admission], None]


class Server:
    """A running gRPC server; use it as an async context manager, or :meth:`start` and :meth:`stop` it.

    Args:
        config: where and what.
        services: what it offers.
        observe: is told of every call that ended: method, status code, seconds.
    """

    def __init__(
        self, config: ServerConfig, services: Sequence[Service], *, observe: Observe | None = None
    ) -> None:
        self._config = config
        self._observe = observe
        self._services = tuple(services)
        self._health = health.aio.HealthServicer()
        self._admission: Admission | None = None
        self._server: grpc.aio.Server | None = None
        self._stopping: asyncio.Future[None] | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port it listens on; 0 before the start."""
        return self._port

    @property
    def address(self) -> str:
        """``host:port``."""
        return join_address(self._config.host, self._port)

    async def start(self) -> int:
        """Binds, starts to serve, reports healthy, and returns the port.

        Raises:
            ConfigurationError: the port is taken or the address is not of this machine; certificates or tokens
                that cannot be used.
        """
        security = self._config.security
        certificates = ServerCertificates(security) if security.tls else None
        gate = make_gate(security)
        _require_free(self._config.host, self._config.port)
        limits = self._config.limits
        admission = Admission(limits)
        server = grpc.aio.server(
            interceptors=[ErrorInterceptor(admission, self._observe, gate=gate)],
            options=[
                # A second process on the same port is an error, not a load balancer.
                ("grpc.so_reuseport", 0),
                # Larger than what is admitted: gRPC itself would refuse without saying why in a typed way.
                ("grpc.max_receive_message_length", limits.max_received_bytes),
                ("grpc.max_send_message_length", limits.max_message_bytes),
                *keepalive_options(self._config.deadlines, server=True),
            ],
        )
        for service in self._services:
            service.add_to(server, admission)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._config.reflection:
            _add_reflection(server, [service.name for service in self._services])
        self._port = _bind(server, self._config.host, self._config.port, certificates)
        await server.start()
        self._server, self._admission = server, admission
        for service in self._services:
            await self.set_serving(service.name, serving=True)
        _log.info("server started", address=self.address, tls=security.tls, tokens=not gate.open)
        self._warn_of_strangers()
        return self._port

    async def set_serving(self, service: str, *, serving: bool) -> None:
        """What the health service says of a name from now on."""
        status = health_pb2.HealthCheckResponse
        await self._health.set(service, status.SERVING if serving else status.NOT_SERVING)

    def refuse(self) -> None:
        """Begins to drain: reports that it does not serve, takes no new calls."""
        if self._stopping is None and self._server is not None and self._admission is not None:
            self._stopping = asyncio.ensure_future(self._drain(self._server, self._admission))

    async def stop(self) -> None:
        """Drains and stops: not serving, no new calls, let accepted ones finish, close. Repeating it is safe."""
        if self._server is None or self._admission is None:
            return
        self.refuse()
        if self._stopping is not None:
            await asyncio.shield(self._stopping)

    async def wait(self) -> None:
        """Returns when the server has stopped."""
        if self._server is not None:
            await self._server.wait_for_termination()

    def _warn_of_strangers(self) -> None:
        if is_loopback(self._config.host):
            return
        security = self._config.security
        lacking = {"--tls-cert": security.tls, "--token-file or --tls-client-ca": security.knows_callers}
        missing = [flags for flags, given in lacking.items() if not given]
        if missing:
            _log.warning(
                "whoever reaches this port may read its traffic or use it; listen on 127.0.0.1, or set what is missing",
                address=self.address,
                missing=", ".join(missing),
            )

    async def _drain(self, server: grpc.aio.Server, admission: Admission) -> None:
        # First of all, so that nobody is sent here any more.
        await self._health.enter_graceful_shutdown()
        admission.draining.set()
        seconds = self._config.deadlines.drain_seconds
        notice = asyncio.ensure_future(asyncio.sleep(min(self._config.notice_seconds, seconds)))
        try:
            async with asyncio.timeout(seconds):
                await admission.idle()
                await notice
        except TimeoutError:
            _log.warning("server drain expired", address=self.address, calls=admission.calls, seconds=seconds)
        # Answers that are complete still have to leave; the watchers of health would stay for ever.
        await server.stop(grace=min(GRACE_SECONDS, seconds))
        _log.info("server stopped", address=self.address)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def join_address(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 host."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind(server: grpc.aio.Server, host: str, port: int, certificates: ServerCertificates | None) -> int:
    address = join_address(host, port)
    try:
        if certificates is not None:
            return server.add_secure_port(address, certificates.credentials())
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise ConfigurationError(f"cannot listen on {address}: {error}", host=host, port=port) from error


def _require_free(host: str, port: int) -> None:
    """Asks the system first: gRPC tells the reason only in a log line of its own."""
    try:
        candidates = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in candidates[:1]:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        advice = "another process uses this port: stop it, or choose another port" if taken else str(error)
        raise ConfigurationError(
            f"cannot listen on {join_address(host, port)}: {advice}", host=host, port=port
        ) from error


def _add_reflection(server: grpc.aio.Server, names: Sequence[str]) -> None:
    from grpc_reflection.v1alpha import reflection

    served: list[Any] = [*names, health.SERVICE_NAME, reflection.SERVICE_NAME]
    reflection.enable_server_reflection(served, server)
