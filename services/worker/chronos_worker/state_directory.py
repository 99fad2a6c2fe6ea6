"""Where a worker's state is kept: one directory for each worker, in it two files for each run."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Final, Literal

from chronos_common.errors import CorruptStateError, StateDirectoryError
from chronos_common.runtime import ProcessLock, remove_file, replace_file
from chronos_common.runtime.files import TEMPORARY_SUFFIX, Fsync
from chronos_worker.state_file import Identity, identity_of

Part = Literal["outbox", "theta"]
PARTS: Final[tuple[Part, ...]] = ("outbox", "theta")

_DAMAGED: Final = ".damaged"
_READABLE_CHARACTERS: Final = 40


class StateDirectory:
    """Reads and writes the state of one worker; everything but :meth:`open` raises plain ``OSError``.

    Args:
        root: the configured directory; several workers may share it.
        worker_id: whose.
        fsync: flushes an open descriptor to the disk (a seam for tests).
    """

    def __init__(self, root: Path, worker_id: str, *, fsync: Fsync = os.fsync) -> None:
        self.path = root / safe_name(worker_id)
        self._worker_id = worker_id
        self._fsync = fsync
        self._lock = ProcessLock(self.path / "lock")

    def open(self) -> None:
        """Makes the directory, makes sure that it can be written, and locks it until :meth:`close`.

        Raises:
            StateDirectoryError: it cannot be written, or another process of this worker holds it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            owner = self._lock.acquire(f"worker {self._worker_id}")
            if owner is None:
                for unfinished in self.path.glob(f"*{TEMPORARY_SUFFIX}"):
                    unfinished.unlink()
                probe = self.path / "probe"
                replace_file(probe, b"probe", fsync=self._fsync)
                remove_file(probe, fsync=self._fsync)
        except OSError as error:
            self.close()
            raise StateDirectoryError(
                f"the state directory {self.path} cannot be written: {error.strerror or error}; choose another with "
                "--state-dir, or leave it out to work without"
            ) from error
        if owner is not None:
            raise StateDirectoryError(
                f"the state directory {self.path} is held by {owner}; stop that process, or give this one another "
                "--worker-id",
                holder=owner,
            )

    def close(self) -> None:
        """Lets the directory go; again does nothing."""
        self._lock.release()

    def read(self, run_id: str, part: Part) -> bytes | None:
        """A part of a run's state; ``None`` where there is none."""
        try:
            return self._file(run_id, part).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, run_id: str, part: Part, content: bytes) -> None:
        """Makes a part durable, in place of what was there."""
        replace_file(self._file(run_id, part), content, fsync=self._fsync)

    def remove(self, run_id: str, part: Part) -> None:
        """Makes it durable that the part is not there."""
        remove_file(self._file(run_id, part), fsync=self._fsync)

    def set_aside(self, run_id: str, part: Part) -> Path:
        """Moves a part that cannot be used out of the way, for people to look at; where it is now."""
        path = self._file(run_id, part)
        aside = path.with_name(path.name + _DAMAGED)
        path.replace(aside)
        return aside

    def kept(self) -> list[Identity]:
        """The runs that something is kept of, as far as the files can be read; each once."""
        found: dict[Identity, None] = {}
        for path in sorted(path for part in PARTS for path in self.path.glob(f"*.{part}")):
            try:
                found[identity_of(path.read_bytes())] = None
            except (CorruptStateError, OSError):
                continue  # whoever works on that run says what is wrong with it
        return list(found)

    def _file(self, run_id: str, part: Part) -> Path:
        return self.path / f"{safe_name(run_id)}.{part}"


def safe_name(name: str) -> str:
    """A file name for any text: its readable beginning, and a hash that tells it from all others."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:_READABLE_CHARACTERS]
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
