"""The stores under contract: each backend is a place that several stores can open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from chronos_common.store import MemoryStore, SqlStore, Store, StoreOptions
from chronos_common.store.dialect import sqlite_database
from chronos_common.store.memory import MemoryDatabase
from chronos_common.store.opening import open_database

BLOB_THRESHOLD_BYTES = 1024


class Backend(Protocol):
    def open(self, *, exclusive: bool = True, **options: Any) -> Store: ...


class NoLock:
    """Leadership as on a database that cannot see whether the old leader still lives."""

    def acquire(self, holder: str) -> None:
        pass

    def release(self) -> None:
        pass


class MemoryBackend:
    def __init__(self, _: Path) -> None:
        self._database = MemoryDatabase()

    def open(self, *, exclusive: bool = True, **options: Any) -> Store:
        return MemoryStore(self._database, exclusive=exclusive, **options)


class SqliteBackend:
    def __init__(self, directory: Path) -> None:
        self.path = directory / "chronos.db"
        self._opened: list[SqlStore] = []

    def open(self, *, exclusive: bool = True, on_connect: Any = None, **options: Any) -> SqlStore:
        database = sqlite_database(
            self.path,
            read_only=options.get("read_only", False),
            lock=None if exclusive else NoLock(),
            on_connect=on_connect,
        )
        settings = StoreOptions(blob_threshold_bytes=BLOB_THRESHOLD_BYTES)
        store = open_database(database, options=settings, **options)
        self._opened.append(store)
        return store

    def close(self) -> None:
        for store in self._opened:
            store.close()


BACKENDS: dict[str, Callable[[Path], Any]] = {"memory": MemoryBackend, "sqlite": SqliteBackend}


@pytest.fixture(params=list(BACKENDS))
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    made = BACKENDS[request.param](tmp_path)
    yield made
    if hasattr(made, "close"):
        made.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SqliteBackend]:
    made = SqliteBackend(tmp_path)
    yield made
    made.close()
