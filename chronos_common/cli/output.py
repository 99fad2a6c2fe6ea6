"""Where output goes: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

PROGRAM = "chronos"


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


class ExplainedInterrupt(KeyboardInterrupt):
    """An interrupt about which everything is said."""


@contextmanager
def parting(where_it_stands: Callable[[], str]) -> Iterator[None]:
    """Around work that a signal may end: the command then says how things stand.

    Args:
        where_it_stands: what to say after "interrupted" or "terminated".
    """
    try:
        yield
    except KeyboardInterrupt as error:
        remark(f"interrupted {where_it_stands()}")
        raise ExplainedInterrupt from error
    except SystemExit:
        remark(f"terminated {where_it_stands()}")
        raise


def remark(text: str) -> None:
    """One line for people on stderr."""
    sys.stderr.write(f"{PROGRAM}: {text}\n")
    sys.stderr.flush()
