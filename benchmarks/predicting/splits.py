"""Every split of the step times and epochs, ours and the published method on the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.predicting import published
from chronos_common.prediction.calibration import Calibration, coordinates, design
from chronos_common.prediction.intervals import half_width
from chronos_common.prediction.training.epochs import runs_of, train_epochs
from chronos_common.prediction.training.heads import train_family
from chronos_common.prediction.training.rows import TimeRow, convergence_rows, time_rows
from chronos_common.prediction.training.samples import collapse
from chronos_common.prediction.trees import Floats

Index = NDArray[np.intp]
MEASURED_POINTS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """The rows of a family and what splits need of them."""

    name: str
    rows: list[TimeRow]
    target: Floats
    features: Floats

    @classmethod
    def read(cls, folder: Path, name: str) -> Family:
        """From a data folder."""
        rows = time_rows(folder, name)
        target = np.array([row.total_ms for row in rows])
        return cls(
            name=name, rows=rows, target=target, features=published.time_features([row.raw for row in rows])
        )

    def groups(self, of: str) -> NDArray[np.intp]:
        """The number of each row's configuration, device or model."""
        found: NDArray[np.intp] = np.unique([getattr(row, of) for row in self.rows], return_inverse=True)[1]
        return found


def mape(predicted: Floats, actual: Floats) -> float:
    """Mean absolute percentage error."""
    return 100 * float(np.abs(predicted / actual - 1).mean())


def random_split(family: Family, seeds: range) -> dict[str, Any]:
    """80/10/10 by rows, as published: repeats may stand on both sides. The middle tenth is not used."""
    ours, theirs = [], []
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(family.rows))
        tenth = len(order) // 10
        train, test = order[2 * tenth :], order[:tenth]
        predicted, _ = _ours(family, train, test, "known", widths=False)
        ours.append(mape(predicted, family.target[test]))
        theirs.append(mape(_theirs(family, train, test, seed), family.target[test]))
    return {"split": "random 80/10/10", **_means(ours, theirs)}


def grouped(family: Family, seed: int) -> dict[str, Any]:
    """Five folds; repeats of a configuration stay together; intervals from inner folds."""
    predicted, theirs = np.zeros(len(family.rows)), np.zeros(len(family.rows))
    inside, widths = [], []
    for train, test in _folds(family.groups("configuration"), 5, seed):
        predicted[test], wide = _ours(family, train, test, "known")
        theirs[test] = _theirs(family, train, test, seed)
        inside.append(np.abs(np.log(family.target[test] / predicted[test])) <= wide)
        widths.append(np.exp(wide))
    return {
        "split": "grouped by configuration",
        **_means([mape(predicted, family.target)], [mape(theirs, family.target)]),
        "coverage": float(np.concatenate(inside).mean()),
        "width": float(np.mean(widths)),
    }


def leave_one_out(family: Family, of: str, head: str, seed: int) -> list[dict[str, Any]]:
    """Every device or model left out in turn; for devices also with a few of its configurations measured."""
    groups = family.groups(of)
    predicted, theirs = np.zeros(len(groups)), np.zeros(len(groups))
    few, kept = np.zeros(len(groups)), np.zeros(len(groups), bool)
    inside = np.zeros(len(groups), bool)
    widths = []
    for group in range(int(groups.max()) + 1):
        train, test = np.flatnonzero(groups != group), np.flatnonzero(groups == group)
        trained = train_family(collapse([family.rows[index] for index in train]), (head,), seed=0)
        queries = [family.rows[index].query for index in test]
        predicted[test], parts = trained.predict(queries, head)
        wide = half_width(trained.heads[head].errors, 0.9)
        inside[test] = np.abs(np.log(family.target[test] / predicted[test])) <= wide
        widths.append(np.exp(wide))
        theirs[test] = _theirs(family, train, test, seed)
        if head == "new_device":
            few[test], kept[test] = _calibrated(family, test, predicted[test], coordinates(queries, parts))
    name = {"new_device": "leave one GPU out", "new_model": "leave one model out"}[head]
    rows = [
        {
            "split": name,
            **_means([mape(predicted, family.target)], [mape(theirs, family.target)]),
            "coverage": float(inside.mean()),
            "width": float(np.mean(widths)),
        }
    ]
    if head == "new_device":
        rows.append(
            {
                "split": f"{name}, {MEASURED_POINTS} measured",
                **_means([mape(few[kept], family.target[kept])], []),
            }
        )
    return rows


def convergence(folder: Path, name: str, seeds: range) -> dict[str, Any]:
    """Epochs to convergence, five folds, for each seed."""
    rows = convergence_rows(folder, name)
    runs, features = runs_of(rows), published.epoch_features(rows)
    ours, theirs, inside, widths = [], [], [], []
    for seed in seeds:
        predicted, other = np.zeros(len(rows)), np.zeros(len(rows))
        for train, test in _folds(np.arange(len(rows)), 5, seed):
            ensemble = train_epochs(runs.take(train))
            predicted[test] = ensemble.epochs(runs.take(test).queries)
            wide = half_width(ensemble.errors, 0.9)
            inside.append(np.abs(np.log(runs.epochs[test] / predicted[test])) <= wide)
            widths.append(np.exp(wide))
            other[test] = published.epochs(features[train], runs.epochs[train], features[test], 42)
        ours.append(mape(predicted, runs.epochs))
        theirs.append(mape(other, runs.epochs))
    coverage = float(np.concatenate(inside).mean())
    return {
        "split": "epochs, 5-fold",
        **_means(ours, theirs),
        "coverage": coverage,
        "width": float(np.mean(widths)),
    }


def _ours(
    family: Family, train: Index, test: Index, head: str, *, widths: bool = True
) -> tuple[Floats, float]:
    trained = train_family(collapse([family.rows[index] for index in train]), (head,), widths=widths)
    predicted, _ = trained.predict([family.rows[index].query for index in test], head)
    return predicted, half_width(trained.heads[head].errors, 0.9) if widths else 0.0


def _theirs(family: Family, train: Index, test: Index, seed: int) -> Floats:
    return published.step_times(
        family.name, family.features[train], family.target[train], family.features[test], seed
    )


def _calibrated(
    family: Family, test: Index, predicted: Floats, places: Floats
) -> tuple[Floats, NDArray[np.bool_]]:
    """Predictions after measuring a few configurations (one repeat of each), and which rows those do not hold."""
    names = [family.rows[index].configuration for index in test]
    _, first, owner = np.unique(names, return_index=True, return_inverse=True)
    chosen = design(places[first], MEASURED_POINTS)
    points = first[chosen]
    residuals = np.log(family.target[test][points] / predicted[points])
    moved, _ = Calibration(places=places[points], residuals=residuals).correction(places)
    return predicted * np.exp(moved), ~np.isin(owner, chosen)


def _folds(groups: Index, count: int, seed: int) -> Iterator[tuple[Index, Index]]:
    fold = (np.random.default_rng(seed).permutation(int(groups.max()) + 1) % count)[groups]
    for index in range(count):
        yield np.flatnonzero(fold != index), np.flatnonzero(fold == index)


def _means(ours: list[float], theirs: list[float]) -> dict[str, Any]:
    found: dict[str, Any] = {"MAPE %": float(np.mean(ours)), "spread": float(np.std(ours))}
    return {**found, "published %": float(np.mean(theirs))} if theirs else found
