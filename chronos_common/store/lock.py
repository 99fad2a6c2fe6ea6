"""The lock that makes leadership exclusive on one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from chronos_common.errors import LeadershipHeldError, StoreError
from chronos_common.runtime import ProcessLock


class LeaderLock(Protocol):
    """Mutual exclusion between processes that ends with the process that holds it."""

    def acquire(self, holder: str) -> None:
        """Take the lock; ``LeadershipHeldError`` if another holds it."""
        ...

    def release(self) -> None:
        """Give it up; nothing happens where it is not held."""
        ...


class FileLock:
    """A file beside the database, locked for as long as the process lives; see ``ProcessLock``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = ProcessLock(path)

    def acquire(self, holder: str) -> None:
        try:
            owner = self._lock.acquire(holder)
        except OSError as error:
            raise StoreError(f"cannot take the lock file {self._path}: {error.strerror}") from error
        if owner is not None:
            raise LeadershipHeldError(
                f"{self._path.parent} is in use by {owner}; stop that coordinator or use another directory",
                holder=owner,
            )

    def release(self) -> None:
        self._lock.release()
