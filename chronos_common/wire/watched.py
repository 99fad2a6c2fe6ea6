"""Files that somebody else replaces while this process runs: certificates, keys, tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chronos_common.errors import ConfigurationError

_Stamp = tuple[int, int, int, int]


class WatchedFiles:
    """Notices when one of a few files was replaced or rewritten. Links are followed, as Kubernetes swaps them.

    Args:
        paths: the files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._seen: tuple[_Stamp | None, ...] | None = None

    def changed(self) -> bool:
        """Whether they differ from what they were when this was last asked; the first time, yes."""
        now = tuple(_stamp(path) for path in self._paths)
        before, self._seen = self._seen, now
        return now != before


def read_file(path: Path, what: str) -> bytes:
    """The content of a file that has to be there.

    Raises:
        ConfigurationError: it cannot be read, or is empty; one line that names it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the {what} {path} cannot be read: {error.strerror}; check the path and who may read it",
            file=str(path),
        ) from error
    if not content.strip():
        raise ConfigurationError(f"the {what} {path} is empty", file=str(path))
    return content


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
