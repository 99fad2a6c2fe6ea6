"""Importing a user's problem from directories that the user names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from chronos_common.errors import ConfigurationError


@contextmanager
def import_path(paths: Sequence[Path]) -> Iterator[None]:
    """Puts directories first on ``sys.path`` for a block, and takes them off again.

    Raises:
        ConfigurationError: one of them is no directory.
    """
    for path in paths:
        if not path.is_dir():
            raise ConfigurationError(f"--path {path} is no directory")
    added = [str(path.resolve()) for path in paths]
    before = list(sys.path)
    sys.path[:0] = added
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before
