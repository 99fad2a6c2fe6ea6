"""A coordinator in a thread of somebody's program, for scripts, notebooks and tests."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self

from chronos_common.errors import UnavailableError
from chronos_common.metrics import MetricsConfig
from chronos_common.wire import run
from chronos_coordinator.app import CoordinatorApp, ListenConfig, Settings, StoreConfig


class EmbeddedCoordinator:
    """Serves on this machine for as long as the block lasts.

    ::

        with EmbeddedCoordinator("chronos-data") as coordinator:
            client = SyncCoordinatorClient(coordinator.address)

    Args:
        store_path: directory that keeps the runs; a later coordinator goes on with them.
        settings: everything else; by default a free port of the loopback interface, and no ``/metrics``.

    Raises:
        LeadershipHeldError: another coordinator uses the store; raised on entering the block.
        ConfigurationError, StoreError: it cannot serve; likewise.
    """

    def __init__(self, store_path: str = "chronos-data", *, settings: Settings | None = None) -> None:
        self._settings = settings if settings is not None else _default_settings(store_path)
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._error: BaseException | None = None
        self._address = ""

    @property
    def address(self) -> str:
        """``host:port``. Raises ``UnavailableError`` outside of the block."""
        if not self._address:
            raise UnavailableError("the embedded coordinator does not serve; enter its with-block first")
        return self._address

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="chronos-coordinator", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join()
        self._address = ""
        if self._error is not None and kind is None:
            raise self._error

    def _run(self) -> None:
        try:
            run(self._serve())
        except BaseException as error:  # noqa: BLE001  # raised again where the block is
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        app = CoordinatorApp(settings=self._settings)
        await app.start()
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._address = app.address
        self._ready.set()
        try:
            await self._stop.wait()
        finally:
            await app.stop()


def _default_settings(store_path: str) -> Settings:
    return Settings(
        coordinator=ListenConfig(port=0, notice_seconds=0.0),
        store=StoreConfig(path=store_path),
        metrics=MetricsConfig(port=None),
    )
