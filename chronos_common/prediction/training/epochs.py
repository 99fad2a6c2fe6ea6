"""Trains the prior of epochs: the kernel by marginal likelihood, its share of the mean on inner folds."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chronos_common.prediction.catalogue import counts_of
from chronos_common.prediction.epochs import Ensemble, EpochQuery, epoch_matrix
from chronos_common.prediction.gaussian import Process, matern, squared_distances
from chronos_common.prediction.intervals import quantiles
from chronos_common.prediction.names import DATASETS
from chronos_common.prediction.training.ensembles import forest
from chronos_common.prediction.training.rows import OPTIMIZERS
from chronos_common.prediction.trees import Floats

SHARES = (0.0, 0.25, 0.5, 0.75)
KERNELS = tuple(itertools.product((1.0,), (1.5, 3.0, 6.0, 12.0), (0.03, 0.1, 0.3)))
TREES = 100
INNER_FOLDS = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Runs:
    """Finished runs: questions and epochs, patience included."""

    queries: list[EpochQuery]
    epochs: Floats

    def take(self, chosen: NDArray[np.intp]) -> Runs:
        """Some of them."""
        return Runs(queries=[self.queries[index] for index in chosen], epochs=self.epochs[chosen])


def runs_of(rows: list[dict[str, str]]) -> Runs:
    """From the columns of a convergence file."""
    return Runs(
        queries=[
            EpochQuery(
                counts=counts_of(
                    row["model"], row["dataset"], int(row["embed_dim"]) if "embed_dim" in row else None
                ),
                data=DATASETS[row["dataset"]],
                optimizer=OPTIMIZERS[row["optimizer"]],
                batch_size=int(row["batch_size"]),
                learning_rate=float(row["learning_rate"]),
                patience=int(row["patience_P"]),
            )
            for row in rows
        ],
        epochs=np.array([float(row["T_conv"]) for row in rows]),
    )


def train_epochs(runs: Runs, *, seed: int = 0) -> Ensemble:
    """The prior of a family, with errors of inner folds for its intervals."""
    fold = np.random.default_rng(seed).permutation(len(runs.epochs)) % INNER_FOLDS
    errors: list[list[Floats]] = [[] for _ in SHARES]
    for index in range(INNER_FOLDS):
        inside, outside = runs.take(np.flatnonzero(fold != index)), runs.take(np.flatnonzero(fold == index))
        fitted = _fit(inside, 0.0, np.zeros(1), seed)
        for found, share in zip(errors, SHARES, strict=True):
            predicted = _with(fitted, share, fitted.errors).epochs(outside.queries)
            found.append(np.log(outside.epochs / predicted))
    scores = [float(np.abs(np.expm1(-np.concatenate(found))).mean()) for found in errors]
    best = int(np.argmin(scores))
    return _with(_fit(runs, 0.0, np.zeros(1), seed), SHARES[best], quantiles(np.concatenate(errors[best])))


def _fit(runs: Runs, share: float, errors: Floats, seed: int) -> Ensemble:
    every = tuple(runs.queries[0].features())
    spread = epoch_matrix(runs.queries, every).std(axis=0)
    names = tuple(name for name, wide in zip(every, spread, strict=True) if wide > 1e-6)
    features = epoch_matrix(runs.queries, names)
    patience = np.array([float(query.patience) for query in runs.queries])
    target = np.log(np.maximum(runs.epochs - patience, 1.0))
    process = max((Process.condition(features, target, kernel) for kernel in KERNELS), key=_evidence)
    trees = forest(features, target, np.ones(len(target)), trees=TREES, leaf=1, seed=seed)
    return Ensemble(names=names, process=process, forest=trees, share=share, errors=errors)


def _with(fitted: Ensemble, share: float, errors: Floats) -> Ensemble:
    return Ensemble(
        names=fitted.names, process=fitted.process, forest=fitted.forest, share=share, errors=errors
    )


def _evidence(process: Process) -> float:
    """The log marginal likelihood of standardised targets, with the amplitude at its best value."""
    amplitude, length, noise = process.kernel
    gram = amplitude * matern(squared_distances(process.points, process.points), length)
    gram = gram + noise * np.eye(len(process.points))
    target = gram @ process.alpha
    scale = float(target @ process.alpha) / len(target)
    return -0.5 * len(target) * math.log(scale) - 0.5 * float(np.linalg.slogdet(gram)[1])
