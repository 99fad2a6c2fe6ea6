"""Everything that depends on which SQL database it is: connecting, beginning, locking, reading its errors.

The rest of the store is one SQL path. A second database is a second function like :func:`sqlite_database`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from chronos_common.errors import CorruptStateError, StoreError
from chronos_common.store.base import StoreOptions
from chronos_common.store.lock import FileLock, LeaderLock

_WRITES: Final = "chronos_writes"
_CORRUPTION_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


@dataclass(frozen=True, kw_only=True)
class Database:
    """An SQL database and what belongs to it.

    Args:
        where: for messages.
        engine: hands out connections for reading; those of :meth:`writer` write.
        lock: makes leadership exclusive.
        blobs: directory of large payloads.
        directories: must be flushed for the database's own name to be durable.
    """

    where: str
    engine: Engine
    lock: LeaderLock
    blobs: Path
    directories: tuple[Path, ...] = ()

    def writer(self) -> Engine:
        """The engine whose transactions take the write lock at their start."""
        return self.engine.execution_options(**{_WRITES: True})

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A read transaction.

        Raises:
            CorruptStateError: the database is damaged.
            StoreError: it cannot be read.
        """
        with self.translating(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Turn the database's errors into those of the store."""
        try:
            yield
        except SQLAlchemyError as error:
            raise self.translate(error) from error

    def translate(self, error: SQLAlchemyError) -> StoreError:
        """The typed error for a database's error."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        code = getattr(cause, "sqlite_errorcode", None)
        # Extended codes keep the primary one in their lowest byte.
        if code is not None and code & 0xFF in _CORRUPTION_CODES:
            return CorruptStateError(f"{self.where} is damaged ({cause}); restore it from a backup")
        return StoreError(f"{self.where} cannot be used: {cause}")


def sqlite_database(
    path: Path,
    *,
    read_only: bool = False,
    options: StoreOptions | None = None,
    lock: LeaderLock | None = None,
    on_connect: Callable[[sqlite3.Connection], None] | None = None,
) -> Database:
    """SQLite in WAL mode with a flush at every commit; made where it is missing, unless ``read_only``.

    Args:
        path: the database file; ``-lock`` and ``-blobs`` lie beside it, as SQLite's own ``-wal`` does.
        read_only: refuse every change. The process still needs write permission for the directory, because
            readers of a WAL take part in its locking.
        options: see :class:`~chronos_common.store.base.StoreOptions`.
        lock: instead of the lock file (a seam for tests).
        on_connect: called with each new connection (a seam for tests).
    """
    timeout_seconds = (options or StoreOptions()).busy_timeout_seconds
    uri = f"{path.absolute().as_uri()}?mode={'rw' if read_only else 'rwc'}"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            uri, uri=True, timeout=timeout_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            if read_only:
                connection.execute("PRAGMA query_only = ON")
            else:
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            if on_connect is not None:
                on_connect(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)
    event.listen(engine, "begin", _begin)
    return Database(
        where=str(path),
        engine=engine,
        lock=lock if lock is not None else FileLock(path.with_name(path.name + "-lock")),
        blobs=path.with_name(path.name + "-blobs"),
        directories=(path.parent,),
    )


def _begin(connection: Connection) -> Any:
    # A transaction that reads first and writes later can fail half-way with "database is locked".
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
