"""A run's memory as JSON and as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from chronos_common.engine.views import MemoryView
from chronos_common.engine.warm_start import WarmStartCandidate
from chronos_common.outer.memory import Neighbour

_COUNTS = ("stored", "evicted", "hits", "predictions", "failures", "shortened", "entered")


def memory_json(view: MemoryView) -> dict[str, Any]:
    """How a memory stands; what is not known is null."""
    return {
        "entries": view.entries,
        "max_entries": view.max_entries,
        "bytes": view.size_bytes,
        "max_bytes": view.max_bytes,
        **{name: getattr(view.counts, name) for name in _COUNTS},
        "mean_cosine": _known(view.mean_cosine),
        "trend": {
            name: _known(value) if isinstance(value, float) else value
            for name, value in asdict(view.trend).items()
        },
        "forbidden": [
            {"version": version, "radius": radius, "reason": reason}
            for version, radius, reason in view.forbidden
        ],
    }


def memory_summary(run_id: str, view: MemoryView) -> Table:
    """The same for people."""
    table = Table(box=None, show_header=False, title=f"memory of {run_id}", title_justify="left")
    counts, trend = view.counts, view.trend
    rows = [
        (
            "entries",
            f"{view.entries} of at most {view.max_entries}; {counts.stored} stored, {counts.evicted} evicted",
        ),
        ("bytes", f"{view.size_bytes:,} of at most {view.max_bytes:,}"),
        ("hits", str(counts.hits)),
        (
            "predictions",
            f"{counts.predictions}, mean cosine with what was measured {_text(view.mean_cosine)}",
        ),
        (
            "loss",
            f"{_text(trend.first)} to {_text(trend.last)}, slope {trend.slope:.3g} over {trend.entries}",
        ),
        ("best loss", f"{_text(trend.best)} at version {trend.best_version}"),
        (
            "failures",
            f"{counts.failures} reported; steps shortened {counts.shortened}, let in {counts.entered}",
        ),
    ]
    rows += [
        ("failed place", f"version {version}, radius {radius:g}: {reason}")
        for version, radius, reason in view.forbidden
    ]
    for row in rows:
        table.add_row(*row)
    return table


def neighbour_json(found: Neighbour) -> dict[str, Any]:
    """An entry without its arrays."""
    names = ("number", "version", "loss", "source", "distance", "cosine", "relevance", "half")
    return {name: getattr(found, name) for name in names}


def neighbours_table(found: Sequence[Neighbour]) -> Table:
    """One line for each entry."""
    table = Table(box=SIMPLE_HEAD)
    for column in ("entry", "version", "loss", "distance", "cosine", "relevance", "source"):
        table.add_column(column, justify="left" if column == "source" else "right")
    for one in found:
        figures = (one.loss, one.distance, one.cosine, one.relevance)
        table.add_row(str(one.number), str(one.version), *(f"{value:.4g}" for value in figures), one.source)
    return table


def source_json(found: WarmStartCandidate) -> dict[str, Any]:
    """A run to begin from, or why not."""
    return asdict(found)


def sources_table(found: Sequence[WarmStartCandidate]) -> Table:
    """One line for each run."""
    table = Table(box=SIMPLE_HEAD)
    for column in ("run", "version", "outer loss", "similarity", "cannot be used because"):
        table.add_column(column)
    for one in found:
        loss = "" if one.outer_loss is None else f"{one.outer_loss:.6g}"
        table.add_row(one.run_id, str(one.version), loss, f"{one.similarity:.2f}", one.problem)
    return table


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _text(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else "unknown"
