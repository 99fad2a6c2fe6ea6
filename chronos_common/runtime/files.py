"""Files that survive a crash: replaced whole or not at all, and locks that end with their process."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

TEMPORARY_SUFFIX: Final = ".writing"
"""What :func:`replace_file` writes first; a crash may leave one behind, which the next write overwrites."""

Fsync = Callable[[int], None]
"""Flushes an open descriptor to the disk: ``os.fsync``, or what a test puts in its place."""


def replace_file(path: Path, content: bytes, *, fsync: Fsync = os.fsync) -> None:
    """Make ``content`` durable under ``path``: after a crash at any moment the file is the old or the new one, whole.

    One writer at a time. ``OSError`` if it fails; of the old and the new file it may be either then.
    """
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent, fsync)


def remove_file(path: Path, *, fsync: Fsync = os.fsync) -> None:
    """Make it durable that there is no file of that name. ``OSError`` if it fails."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    sync_directory(path.parent, fsync)


def sync_directory(path: Path, fsync: Fsync = os.fsync) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fsync(descriptor)
    finally:
        os.close(descriptor)


class ProcessLock:
    """``flock`` on a file: the kernel releases it when the process dies, however it dies.

    The file stays, with the last holder's name and process id in it for the message that others get.

    Args:
        path: the file; made when it is first locked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self, holder: str) -> str | None:
        """Take the lock; nothing happens where it is held already.

        Args:
            holder: who takes it, for people.

        Returns:
            Who else holds it; ``None`` when it was taken.

        Raises:
            OSError: the file cannot be opened or written.
        """
        if self._descriptor is not None:
            return None
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"holder": holder, "pid": os.getpid()}).encode(), 0)
        except BlockingIOError:
            owner = _owner(descriptor)
            os.close(descriptor)
            return owner
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return None

    def release(self) -> None:
        """Give it up; nothing happens where it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _owner(descriptor: int) -> str:
    try:
        fields = json.loads(os.pread(descriptor, 4096, 0))
        return f"{fields['holder']!r} (process {fields['pid']})"
    except (ValueError, KeyError, TypeError):
        return "another process"  # between its flock and its write
