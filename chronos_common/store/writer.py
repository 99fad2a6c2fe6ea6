"""Group commit: one thread, one transaction and one flush for all writes that wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    ProgrammingError,
    SQLAlchemyError,
)

from chronos_common.errors import ChronosError, StoreWriteError
from chronos_common.store.base import Observe
from chronos_common.store.blobs import BlobDirectory
from chronos_common.store.dialect import Database

Apply = Callable[[Connection], None]
"""The statements of one write, inside of the group's transaction."""

_OWN_FAULTS: Final = (
    IntegrityError,
    DataError,
    InterfaceError,
    ProgrammingError,
    OverflowError,
    TypeError,
    ValueError,
)
"""What a single write can do wrong by its values; the transaction around its savepoint stays sound."""

Prepare = Callable[[], Apply]
"""What comes before the transaction: checks, and large payloads into blobs."""


Landed = Callable[[], None]
"""What follows once a write is durable, on the writer's thread and before it prepares the next group."""


def _nothing() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class _Write:
    operation: str
    prepare: Prepare
    submitted: float
    landed: Landed
    future: Future[None] = field(default_factory=Future)


class GroupWriter:
    """Applies writes in the order of their submission, in groups.

    While one group is being flushed the next one gathers, so that the number of commits follows the disk and
    not the number of writes. Each write has its own savepoint: one that is refused leaves the others alone.

    Args:
        database: where to.
        blobs: flushed before the commit that names them.
        observe: see :data:`~chronos_common.store.base.Observe`.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobDirectory,
        observe: Observe,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._database = database
        self._engine = database.writer()
        self._blobs = blobs
        self._observe = observe
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: list[_Write] = []
        self._refusal: str | None = None
        self._thread = threading.Thread(target=self._run, name="chronos-store-writer", daemon=True)
        self._thread.start()

    def submit(self, operation: str, prepare: Prepare, landed: Landed = _nothing) -> Future[None]:
        """Queue a write; its future completes with its durability or its error."""
        write = _Write(operation=operation, prepare=prepare, submitted=self._clock(), landed=landed)
        with self._changed:
            if self._refusal is None:
                self._waiting.append(write)
                self._changed.notify()
                return write.future
        write.future.set_exception(StoreWriteError(self._refusal))
        return write.future

    def close(self) -> None:
        """Refuse new writes, finish those that wait, and end the thread."""
        with self._changed:
            self._refusal = self._refusal or f"the store at {self._database.where} is closed; open it again"
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        try:
            while group := self._next_group():
                self._write(group)
        finally:
            if self._refusal is None:
                # Only an error that nobody foresaw leads here; no future may be left hanging.
                self._break("its writer thread has ended")

    def _next_group(self) -> list[_Write]:
        """All writes that wait; blocks while there are none, empty when the writer is closed."""
        with self._changed:
            while True:
                group, self._waiting = self._waiting, []
                started = [write for write in group if write.future.set_running_or_notify_cancel()]
                if started or self._refusal is not None:
                    return started
                self._changed.wait()

    def _write(self, group: Sequence[_Write]) -> None:
        started = self._clock()
        problem = "an unexpected error"
        outcomes: list[ChronosError | None] | None = None
        try:
            outcomes = self._commit(group)
        except (SQLAlchemyError, OSError) as error:
            problem = _cause(error)
        finally:
            if outcomes is None:
                message = self._break(f"a write to it failed: {problem}")
                outcomes = [StoreWriteError(message) for _ in group]
            finished = self._clock()
            for write, outcome in zip(group, outcomes, strict=True):
                if outcome is None:
                    write.landed()
                    write.future.set_result(None)
                else:
                    write.future.set_exception(outcome)
        self._observe("commit", finished - started)
        for write in group:
            self._observe(write.operation, finished - write.submitted)

    def _commit(self, group: Sequence[_Write]) -> list[ChronosError | None]:
        """One transaction for the group; per write None or why it was refused. Raises when nothing is durable."""
        prepared = [self._prepared(write) for write in group]
        self._blobs.sync()
        with self._engine.begin() as connection:
            return [
                step if isinstance(step, ChronosError) else self._applied(connection, step)
                for step in prepared
            ]

    @staticmethod
    def _prepared(write: _Write) -> Apply | ChronosError:
        try:
            return write.prepare()
        except ChronosError as refusal:
            return refusal

    @staticmethod
    def _applied(connection: Connection, apply: Apply) -> ChronosError | None:
        try:
            with connection.begin_nested():
                apply(connection)
        except ChronosError as refusal:
            return refusal
        except _OWN_FAULTS as error:
            return StoreWriteError(f"the write cannot be stored as it is: {_cause(error)}")
        return None

    def _break(self, why: str) -> str:
        """Refuse everything from now on, and all that waits; the message that says so."""
        message = (
            f"the store at {self._database.where} is broken ({why}); "
            "close it, open it again and reload: it is unknown what became durable"
        )
        with self._changed:
            self._refusal = message
            abandoned, self._waiting = self._waiting, []
        for write in abandoned:
            if write.future.set_running_or_notify_cancel():
                write.future.set_exception(StoreWriteError(message))
        return message


def _cause(error: BaseException) -> str:
    """What went wrong first, in the database's own words: SQLAlchemy's repeat the statement with its payloads.

    A full disk ends SQLite's transaction, and the failure to roll back to a savepoint must not hide it.
    """
    while error.__context__ is not None:
        error = error.__context__
    return str(error.orig) if isinstance(error, DBAPIError) else str(error)
