"""Where output goes: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

PROGRAM = "chronos"
_EXPLAINED = "the command has said how things stand"


def results() -> Console:
    """The console for results; as wide as needed where nobody sees it."""
    console = Console(file=sys.stdout)
    return console if console.is_terminal else Console(file=sys.stdout, width=100)


def messages() -> Console:
    """The console for progress and remarks."""
    return Console(file=sys.stderr)


def emit_json(document: Any, *, indent: int | None = 1) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=indent, allow_nan=False) + "\n")
    sys.stdout.flush()


@contextmanager
def parting(where_it_stands: Callable[[], str]) -> Iterator[None]:
    """Around work that a signal may end: the command then says how things stand.

    Args:
        where_it_stands: what to say after "interrupted" or "terminated".
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        what = "interrupted" if isinstance(error, KeyboardInterrupt) else "terminated"
        remark(f"{what} {where_it_stands()}")
        error.add_note(_EXPLAINED)
        raise


def was_explained(error: BaseException) -> bool:
    """Whether ``error``, or one that it came from, has passed :func:`parting`."""
    current: BaseException | None = error
    while current is not None:
        if _EXPLAINED in getattr(current, "__notes__", ()):
            return True
        current = current.__cause__ or current.__context__
    return False


def remark(text: str) -> None:
    """One line for people on stderr."""
    sys.stderr.write(f"{PROGRAM}: {text}\n")
    sys.stderr.flush()
