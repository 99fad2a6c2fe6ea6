"""Rows of the clan benchmark as tables: one for each budget, and figures that no bar stands on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks._harness import mean_and_spread
from benchmarks.population.arms import GRID, PBT, PLUS, PROBED, RAY

TITLES: Mapping[str, str] = {
    "samples": "equal samples",
    "flops": "equal FLOPs, evaluation counted",
    "seconds": "equal CPU seconds, one process",
}

Losses = Mapping[tuple[str, str, str], Mapping[int, float]]
"""Test losses by task, arm and budget, then by seed; infinite where training diverged."""

Rows = Sequence[Mapping[str, Any]]


def losses_of(rows: Rows) -> dict[tuple[str, str, str], dict[int, float]]:
    """Rows by what they are of; those of libraries that were not there are left out."""
    found: dict[tuple[str, str, str], dict[int, float]] = {}
    for row in rows:
        if "missing" in row:
            continue
        loss = math.inf if row["test_loss"] is None else float(row["test_loss"])
        found.setdefault((row["task"], row["arm"], row["budget"]), {})[row["seed"]] = loss
    return found


def excess(losses: Losses, task: str, arm: str, other: str, budget: str = "flops") -> list[float]:
    """By seed, how much an arm's loss is above another's, as a share of it; where both have a seed."""
    mine, theirs = losses.get((task, arm, budget), {}), losses.get((task, other, budget), {})
    return [mine[seed] / theirs[seed] - 1.0 for seed in sorted(set(mine) & set(theirs))]


def summarise(rows: Rows) -> list[dict[str, Any]]:
    """One line for each table, task and arm; losses are means, seconds medians."""
    losses = losses_of(rows)
    summary = []
    for budget, title in TITLES.items():
        found = dict.fromkeys((row["task"], row["arm"]) for row in rows if row["budget"] == budget)
        for task, arm in found:
            summary.append(
                {"table": title, "task": task, "arm": arm, **_line(rows, losses, task, arm, budget)}
            )
    return summary + _figures(rows, losses)


def _line(rows: Rows, losses: Losses, task: str, arm: str, budget: str) -> dict[str, Any]:
    own = losses.get((task, arm, budget))
    if not own:
        return {"seeds": 0}
    finite = [loss for loss in own.values() if math.isfinite(loss)]
    if not finite:
        return {"seeds": len(own), "diverged": len(own)}
    mean, spread = mean_and_spread(finite)
    against = excess(losses, task, arm, PROBED, budget)
    seconds = [
        row["cpu_seconds"]
        for row in rows
        if (row["task"], row["arm"], row["budget"]) == (task, arm, budget) and row.get("cpu_seconds")
    ]
    return {
        "test loss": mean,
        "±": spread,
        "seeds": len(own),
        "against probe + cosine, %": 100.0 * statistics.fmean(against) if against else None,
        "CPU seconds": statistics.median(seconds) if seconds else None,
        **({"diverged": len(own) - len(finite)} if len(finite) < len(own) else {}),
    }


def _figures(rows: Rows, losses: Losses) -> list[dict[str, Any]]:
    """What is reported beside the bars."""
    pairs = {
        "digits: Clan+ above the small-batch grid, %": ("digits", PLUS, GRID),
        "lm: our PBT above Ray Tune's, %": ("lm", PBT, RAY),
        "digits: our PBT above Ray Tune's, %": ("digits", PBT, RAY),
        "lm: Clan+ against probe + cosine, mean over seeds, %": ("lm", PLUS, PROBED),
        "spirals: Clan+ against probe + cosine, mean over seeds, %": ("spirals", PLUS, PROBED),
    }
    found = []
    for name, (task, arm, other) in pairs.items():
        differences = excess(losses, task, arm, other)
        if differences:
            mean, spread = mean_and_spread(differences)
            found.append(_figure(name, 100.0 * mean, 100.0 * spread, len(differences)))
    ray = [row["wall_seconds"] for row in rows if row["arm"] == RAY and "wall_seconds" in row]
    if ray:
        mean, spread = mean_and_spread(ray)
        found.append(_figure("Ray Tune: seconds of a run with its processes", mean, spread, len(ray)))
    return found


def _figure(name: str, mean: float, spread: float, seeds: int) -> dict[str, Any]:
    return {"table": "reported, no bar", "figure": name, "mean": mean, "±": spread, "seeds": seeds}
