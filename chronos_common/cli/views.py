"""Runs as JSON and as tables."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table

from chronos_common.engine import RunConfig, RunView, VersionRecord, WorkerView
from chronos_common.tensors import Array

DISPLAYED_VALUES = 8
WHOLE_VALUES = 64
"""The largest array that goes into a JSON document as it is."""


def run_json(view: RunView) -> dict[str, Any]:
    """Everything about a run."""
    return {
        "run_id": view.run_id,
        "status": view.status,
        "reason": view.reason,
        "version": view.version,
        "digest": view.digest,
        "created_at": datetime.fromtimestamp(view.created_at, UTC).isoformat(),
        "commits": {
            "accepted": view.accepted,
            "refused": view.refused,
            "skipped": view.skipped,
            "duplicate": view.duplicate,
            "residuals_lost": view.residuals_lost,
        },
        "staleness": {str(versions): count for versions, count in sorted(view.staleness.items())},
        "bytes": {
            "sent": view.bytes_sent,
            "received": view.bytes_received,
            "dense_equivalent": view.bytes_dense,
        },
        "metrics": dict(view.metrics),
        "workers": [_worker_json(worker) for worker in view.workers],
        "warm_from": view.warm_from,
        "config": _config_json(view.config),
    }


def outer_json(outer: Mapping[str, Array]) -> dict[str, Any]:
    """λ in natural coordinates by name: small arrays whole, of large ones the shape and some figures."""
    return {name: _array_json(values) for name, values in outer.items()}


def version_json(record: VersionRecord, run_id: str) -> dict[str, Any]:
    """A published version."""
    return {
        "run_id": run_id,
        "version": record.version,
        "digest": record.digest,
        "time": datetime.fromtimestamp(record.time, UTC).isoformat(),
        "metrics": dict(record.metrics),
        "commits": [
            {
                "worker_id": commit.worker_id,
                "seq": commit.seq,
                "staleness": commit.staleness,
                "weight": commit.weight,
                "work": commit.work,
                "skipped": commit.skipped,
            }
            for commit in record.commits
        ],
    }


def runs_table(views: Sequence[RunView]) -> Table:
    """One line for each run."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("run", no_wrap=True)
    table.add_column("status")
    for name in ("version", "outer loss", "workers"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("created", no_wrap=True)
    table.add_column("problem", overflow="fold")
    for view in views:
        live = sum(worker.live for worker in view.workers)
        table.add_row(
            view.run_id,
            view.status,
            progress_text(view),
            _loss(view),
            f"{live}/{len(view.workers)}",
            _local_time(view.created_at),
            view.config.work.problem or "-",
        )
    return table


def run_summary(view: RunView) -> RenderableType:
    """A run in full, for people."""
    work, rounds, outer = view.config.work, view.config.rounds, view.config.outer
    quorum = "half of the live workers" if rounds.quorum is None else str(rounds.quorum)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("run", view.run_id)
    grid.add_row("status", view.status + (f" ({view.reason})" if view.reason else ""))
    grid.add_row("version", f"{progress_text(view)}  digest {view.digest[:16]}…")
    grid.add_row("created", _local_time(view.created_at))
    grid.add_row("problem", f"{work.problem or '-'} {work.problem_config if work.problem else ''}".strip())
    grid.add_row(
        "work", f"{work.estimator} {work.estimator_config}, {work.inner_steps} inner steps, seed {work.seed}"
    )
    grid.add_row("outer", f"{outer.name}, learning rate {outer.learning_rate:g}")
    for level in outer.levels:
        own = outer if level.optimizer is None else level.optimizer
        period = f"{'at first ' if level.adaptive else ''}every {level.period} versions"
        grid.add_row(f"  {level.name}", f"{own.name}, learning rate {own.learning_rate:g}, {period}")
    grid.add_row("rounds", f"quorum {quorum}, max staleness {rounds.max_staleness}, decay {rounds.decay:g}")
    grid.add_row(
        "commits",
        f"{view.accepted} accepted ({view.skipped} skipped), {view.refused} refused, {view.duplicate} duplicate",
    )
    if view.residuals_lost:
        grid.add_row(
            "residuals", f"{view.residuals_lost} declared lost by workers that came back without state"
        )
    staleness = ", ".join(f"{count} × {versions}" for versions, count in sorted(view.staleness.items()))
    grid.add_row("staleness", f"{staleness} (commits × versions behind)" if staleness else "-")
    for name, value in view.metrics.items():
        grid.add_row(name.replace("_", " "), f"{value:.6g}")
    return Group(grid, _workers_table(view.workers)) if view.workers else grid


def progress_text(view: RunView) -> str:
    """Version, and the one at which the run finishes."""
    goal = view.config.max_versions
    return f"{view.version}/{goal}" if goal else str(view.version)


def _workers_table(workers: Sequence[WorkerView]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("worker", no_wrap=True)
    table.add_column("live")
    for name in ("incarnation", "commits", "weight", "compute", "wait", "communication", "took", "predicted"):
        table.add_column(name, justify="right", no_wrap=True)
    for worker in workers:
        table.add_row(
            worker.worker_id,
            "yes" if worker.live else "no",
            str(worker.incarnation),
            str(worker.accepted),
            f"{worker.effective_weight:.1f}",
            f"{worker.compute_seconds:.1f} s",
            f"{worker.wait_seconds:.1f} s",
            f"{worker.communication_seconds:.1f} s",
            f"{worker.actual_seconds:.3g} s" + (" slow" if worker.straggling else ""),
            f"{worker.predicted_seconds:.3g} s" if worker.predicted_seconds else "-",
        )
    return table


def outer_table(outer: Mapping[str, Array]) -> Table:
    """λ in natural coordinates, for people."""
    table = Table.grid(padding=(0, 2))
    for name, values in outer.items():
        table.add_row(f"outer.{name}", _excerpt(values))
    return table


def _excerpt(values: Array) -> str:
    """A few of the values, and what kind of array they are from."""
    flat = values.reshape(-1)
    shown = ", ".join(f"{value:.4g}" for value in flat[:DISPLAYED_VALUES])
    if flat.size <= DISPLAYED_VALUES:
        return shown
    shape = "×".join(map(str, values.shape))
    figures = f"from {np.min(flat):.4g} to {np.max(flat):.4g}, mean {np.mean(flat, dtype=np.float64):.4g}"
    return f"{shown}, … ({shape}, {figures})"


def _array_json(values: Array) -> dict[str, Any]:
    whole: dict[str, Any] = {"shape": list(values.shape)}
    if values.size <= WHOLE_VALUES:
        return whole | {"values": values.tolist()}
    return whole | {
        "min": float(np.min(values)),
        "mean": float(np.mean(values, dtype=np.float64)),
        "max": float(np.max(values)),
    }


def _config_json(config: RunConfig) -> dict[str, Any]:
    """The definition; unlike a store's, with bounds in natural coordinates."""
    document: dict[str, Any] = json.loads(config.to_json())
    for parameter in document["parameters"]:
        if parameter["scale"] == "log":
            for side in ("lower", "upper"):
                stored = parameter[side]
                # A bound that went through log comes back with the last digit or two changed.
                parameter[side] = None if stored is None else float(f"{math.exp(stored):.14g}")
    return document


def _worker_json(worker: WorkerView) -> dict[str, Any]:
    return {
        "worker_id": worker.worker_id,
        "incarnation": worker.incarnation,
        "live": worker.live,
        "accepted": worker.accepted,
        "effective_weight": worker.effective_weight,
        "seconds": {
            "compute": worker.compute_seconds,
            "wait": worker.wait_seconds,
            "communication": worker.communication_seconds,
        },
        "last_work_seconds": {"actual": worker.actual_seconds, "predicted": worker.predicted_seconds},
        "next_work_seconds": {"p50": worker.next_seconds[0], "p95": worker.next_seconds[1]},
        "work_share": worker.share,
        "straggling": worker.straggling,
    }


def _loss(view: RunView) -> str:
    loss = view.metrics.get("outer_loss")
    return "-" if loss is None else f"{loss:.4g}"


def _local_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
