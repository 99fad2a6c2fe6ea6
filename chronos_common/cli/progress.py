"""Progress of a run: a live bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from chronos_common.engine import MergedCommit, VersionRecord

PLAIN_INTERVAL_SECONDS = 5.0
TIMED_ROUNDS = 20
"""The ETA follows so many of the newest rounds."""
MIN_TIMED_ROUNDS = 3
"""There is no ETA before: the first rounds hold the start of the workers."""
WIDE = 110
"""Columns from which a bar has room beside the figures."""


class RunProgress:
    """Shows steps one after the other; those that publish versions show round, loss, staleness and ETA.

    Used as a context manager.

    Args:
        console: where to; progress belongs on stderr, so that stdout holds results only.
        quiet: show nothing.
        clock: monotonic seconds.
    """

    def __init__(
        self, console: Console, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._quiet = quiet
        self._clock = clock
        self._live: Progress | None = None
        self._task: TaskID | None = None
        self._title = ""
        self._total = 0
        self._published: deque[tuple[int, float]] = deque(maxlen=TIMED_ROUNDS + 1)
        self._said = -math.inf
        if console.is_terminal and not quiet:
            bar = [BarColumn(bar_width=24)] if console.width >= WIDE else []
            self._live = Progress(
                SpinnerColumn(finished_text="✓"),
                TextColumn("{task.description}"),
                *bar,
                TextColumn("{task.fields[text]}"),
                console=console,
            )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            if kind is None:
                self.done()
            self._live.stop()

    def step(self, title: str, *, total: int = 0, start: int = 0) -> None:
        """Begins the next step, and ends the one before.

        Args:
            title: what it is.
            total: versions that it publishes; 0 when nobody knows, or when it publishes none.
            start: the version it begins at.
        """
        self.done()
        self._title, self._total, self._said = title, total, -math.inf
        self._published.clear()
        if self._live is not None:
            self._task = self._live.add_task(title, total=total or None, completed=start, text="")
        else:
            self._say(title)

    def done(self) -> None:
        """Ends the step."""
        if self._live is not None and self._task is not None:
            total = self._total or 1
            self._live.update(self._task, total=total, completed=total)
        self._task = None

    def version(self, version: int, loss: float | None, staleness: float | None = None) -> None:
        """A version was published.

        Args:
            version: its number.
            loss: outer loss of its commits, if they reported one.
            staleness: mean staleness of its commits, in versions.
        """
        self._published.append((version, self._clock()))
        text = self._text(version, loss, staleness)
        if self._live is not None and self._task is not None:
            self._live.update(self._task, completed=version, text=text)
        elif version == self._total or self._clock() - self._said >= PLAIN_INTERVAL_SECONDS:
            self._said = self._clock()
            self._say(f"{self._title}: {text}")

    def record(self, record: VersionRecord) -> None:
        """A version was published, as a watcher hears of it."""
        self.version(record.version, record.metrics.get("outer_loss"), mean_staleness(record.commits))

    def _text(self, version: int, loss: float | None, staleness: float | None) -> str:
        parts = [f"round {version}/{self._total}" if self._total else f"round {version}"]
        parts += [] if loss is None else [f"outer loss {loss:.4g}"]
        parts += [] if staleness is None else [f"staleness {staleness:.1f}"]
        left = self._total - version
        if self._total and left > 0:
            (first, began), (last, now) = self._published[0], self._published[-1]
            if last - first >= MIN_TIMED_ROUNDS:
                parts.append(f"ETA {(now - began) / (last - first) * left:.0f} s")
        return "  ".join(parts)

    def _say(self, text: str) -> None:
        if not self._quiet:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def mean_staleness(commits: Sequence[MergedCommit]) -> float | None:
    """Mean staleness of the commits of a version, in versions; None without commits."""
    return sum(commit.staleness for commit in commits) / len(commits) if commits else None


def count_of(workers: int) -> str:
    """``1 worker``, ``2 workers``."""
    return f"{workers} worker{'' if workers == 1 else 's'}"
