"""Everybody in turns, so that what slows the machine slows all of them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping


def interleaved(arms: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of CPU time of each arm in each round, after two rounds that do not count.

    CPU time of this thread rather than wall time: with one thread both are the same on an idle machine, and only the
    former is the arm's own where neighbours take the core away. Each round begins with another arm.
    """
    names, seconds = list(arms), {name: list[float]() for name in arms}
    gc.collect()
    gc.disable()
    try:
        for i in range(-2, rounds):
            for name in names[i % len(names) :] + names[: i % len(names)]:
                start = time.thread_time()
                arms[name]()
                elapsed = time.thread_time() - start
                if i >= 0:
                    seconds[name].append(elapsed)
    finally:
        gc.enable()
    return seconds


def ratio(seconds: Mapping[str, list[float]], name: str, to: str) -> float:
    """The median over the rounds of ``name``'s time over ``to``'s in the same round."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[to], strict=True))
