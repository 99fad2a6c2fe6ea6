"""The lock that makes leadership exclusive on one machine."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Protocol

from chronos_common.errors import LeadershipHeldError, StoreError


class LeaderLock(Protocol):
    """Mutual exclusion between processes that ends with the process that holds it."""

    def acquire(self, holder: str) -> None:
        """Take the lock; ``LeadershipHeldError`` if another holds it."""
        ...

    def release(self) -> None:
        """Give it up; nothing happens where it is not held."""
        ...


class FileLock:
    """``flock`` on a file beside the database: the kernel releases it when the process dies, however it dies.

    The file stays, with the last holder's name and process id in it for the message that others get.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self, holder: str) -> None:
        if self._descriptor is not None:
            return
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"cannot open the lock file {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = self._owner(descriptor)
            os.close(descriptor)
            raise LeadershipHeldError(
                f"{self._path.parent} is in use by {owner}; stop that coordinator or use another directory",
                holder=owner,
            ) from error
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"holder": holder, "pid": os.getpid()}).encode(), 0)
        except OSError as error:
            os.close(descriptor)
            raise StoreError(f"cannot write the lock file {self._path}: {error.strerror}") from error
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @staticmethod
    def _owner(descriptor: int) -> str:
        try:
            fields = json.loads(os.pread(descriptor, 4096, 0))
            return f"{fields['holder']!r} (process {fields['pid']})"
        except (ValueError, KeyError, TypeError):
            return "another process"  # between its flock and its write
