"""Whether a worker works, by the gRPC health protocol: for the health checks of containers and clusters."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from chronos_common.errors import ConfigurationError
from chronos_common.wire import DeadlineConfig, Server, ServerConfig, WireLimits

WORKER_SERVICE: Final = "chronos.worker"
"""Serves from the worker's registration until it is asked to stop. The server as a whole serves while the process
lives, whether there is a coordinator or not: nobody should restart a worker because its coordinator is away."""


@dataclass(frozen=True, kw_only=True)
class HealthConfig:
    """Where a worker says, by the gRPC health protocol, that it works.

    Attributes:
        host: address that the health service listens on.
        port: its port; 0 lets the operating system choose (the readiness line names it), none turns it off.
    """

    host: str = "127.0.0.1"
    port: int | None = None

    def __post_init__(self) -> None:
        if not self.host:
            raise ConfigurationError("the health service's host is empty; use 127.0.0.1 or 0.0.0.0")
        if self.port is not None and not 0 <= self.port <= 65535:
            raise ConfigurationError(f"port is {self.port}; it must lie between 0 and 65535, or be none")


class Health:
    """The health service of one worker; an async context manager. Without a port it does nothing.

    Args:
        config: where it listens.
        deadlines: the deadline budget.
        limits: what its server takes.
    """

    def __init__(self, config: HealthConfig, *, deadlines: DeadlineConfig, limits: WireLimits) -> None:
        self._server: Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        if config.port is not None:
            listen = ServerConfig(host=config.host, port=config.port, deadlines=deadlines, limits=limits)
            self._server = Server(listen, [])

    @property
    def port(self) -> int | None:
        """The port it listens on, ``None`` when it is off."""
        return None if self._server is None else self._server.port

    def registered(self) -> None:
        """The coordinator knows the worker; to be called in the event loop."""
        task = asyncio.ensure_future(self._say(serving=True))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stopping(self) -> None:
        """The worker takes no new work."""
        await asyncio.gather(*self._tasks)
        await self._say(serving=False)

    async def _say(self, *, serving: bool) -> None:
        if self._server is not None:
            await self._server.set_serving(WORKER_SERVICE, serving=serving)

    async def __aenter__(self) -> Self:
        if self._server is not None:
            await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            await self._server.stop()
