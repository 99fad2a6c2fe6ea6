"""``/metrics`` over HTTP."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Self
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from chronos_common.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class MetricsConfig:
    """Where a service shows its series to Prometheus.

    Attributes:
        host: address that ``/metrics`` listens on.
        port: its port; 0 lets the operating system choose (the readiness line names it), none turns it off.
    """

    host: str = "127.0.0.1"
    port: int | None = 0

    def __post_init__(self) -> None:
        if self.port is not None and not 0 <= self.port <= 65535:
            raise ConfigurationError(f"port is {self.port}; it must lie between 0 and 65535, or be none")


class MetricsServer:
    """``/metrics`` over HTTP, from a thread; made by :func:`serve_metrics`."""

    def __init__(self, server: WSGIServer, thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.server_port

    def close(self) -> None:
        """Stops it and frees the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def show_process(registry: CollectorRegistry) -> None:
    """Adds what the operating system says of this process, ``PROCESS_SERIES``; on Linux, elsewhere nothing."""
    ProcessCollector(registry=registry)


def serve_metrics(registry: CollectorRegistry, host: str, port: int) -> MetricsServer:
    """Serves a registry under ``http://host:port/metrics``; port 0 lets the operating system choose.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise ConfigurationError(f"cannot serve metrics on {host}:{port}: {error}") from error
    return MetricsServer(server, thread)
