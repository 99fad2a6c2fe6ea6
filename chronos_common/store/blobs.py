"""Large payloads, aside: a directory of files that are named by the SHA-256 of their content."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from chronos_common.errors import CorruptStateError
from chronos_common.runtime import sync_directory

_TEMPORARY_PREFIX: Final = ".writing-"


class BlobDirectory:
    """Content-addressed files; written once, never changed.

    A blob is durable after :meth:`sync`: its bytes are flushed before it gets its name, and the directory after
    that, so that a crash leaves at worst a temporary file or a blob that no row names.

    Args:
        path: the directory; made by the first write.
        fsync: flushes an open descriptor to the disk (a seam for tests).
        clock: unix seconds, to compare with files' times.
    """

    def __init__(
        self, path: Path, *, fsync: Callable[[int], None] = os.fsync, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._fsync = fsync
        self._clock = clock
        self._counter = itertools.count()
        self._unsynced = False

    def write(self, content: bytes) -> str:
        """Store ``content`` and return its name; identical content is written once. ``OSError`` if it fails."""
        name = hashlib.sha256(content).hexdigest()
        # Also when the file is there: a crash may have come between its renaming and the directory's flush.
        self._unsynced = True
        if self._holds(name, content):
            return name
        if not self._path.is_dir():
            self._path.mkdir(parents=True)
            sync_directory(self._path.parent, self._fsync)
        temporary = self._path / f"{_TEMPORARY_PREFIX}{os.getpid()}-{next(self._counter)}"
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                self._fsync(file.fileno())
            temporary.replace(self._path / name)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        return name

    def sync(self) -> None:
        """Make every blob written so far durable; must precede the commit of the rows that name them."""
        if self._unsynced:
            sync_directory(self._path, self._fsync)
            self._unsynced = False

    def read(self, name: str) -> bytes:
        """The content of a blob.

        Raises:
            CorruptStateError: it is missing, unreadable, or its content does not have this hash.
        """
        path = self._path / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CorruptStateError(
                f"blob {path} cannot be read ({error.strerror}); restore it from a backup", blob=name
            ) from error
        if hashlib.sha256(content).hexdigest() != name:
            raise CorruptStateError(
                f"the content of blob {path} does not match its name; restore it from a backup", blob=name
            )
        return content

    def remove_temporaries(self) -> None:
        """Delete what writers that died left unfinished; only the leader may call it."""
        for leftover in self._path.glob(f"{_TEMPORARY_PREFIX}*"):
            leftover.unlink(missing_ok=True)

    def names(self) -> set[str]:
        """Every blob that there is."""
        if not self._path.is_dir():
            return set()
        return {name for name in os.listdir(self._path) if not name.startswith(_TEMPORARY_PREFIX)}

    def collect(self, unnamed: Iterable[str], grace_seconds: float) -> None:
        """Delete blobs that no row names, if they were written longer ago than the grace; only the leader may.

        One that cannot be deleted stays, for the next time: nothing depends on it.
        """
        latest = self._clock() - grace_seconds
        for name in unnamed:
            path = self._path / name
            with contextlib.suppress(OSError):
                if path.stat().st_mtime <= latest:
                    path.unlink()

    def _holds(self, name: str, content: bytes) -> bool:
        """Whether the blob is there with the right bytes; a damaged one is written anew."""
        try:
            return (self._path / name).read_bytes() == content
        except FileNotFoundError:
            return False
