"""How many epochs until a run stops improving: a prior from finished runs, told apart by what is known before a start.

The target is ``log(epochs − patience)``: patience is waited for whatever happens. A Gaussian process and a forest
each say a mean; theirs is the answer, with a width from out-of-fold errors. Every finished run feeds back
(:meth:`EpochModel.learn`): errors of runs like it move the next answers, by a second process on the residual.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_common.errors import ArtefactError, BadWorkloadError
from chronos_common.prediction.artefact import Artefact
from chronos_common.prediction.counts import Counts
from chronos_common.prediction.gaussian import Process, matern, squared_distances
from chronos_common.prediction.intervals import Interval, half_width
from chronos_common.prediction.names import DatasetSpec, Optimizers
from chronos_common.prediction.trees import Floats, Trees

FEEDBACK_KERNEL = (1.0, 2.0, 0.3)


@dataclass(frozen=True, kw_only=True)
class EpochQuery:
    """A run whose length is asked for.

    Attributes:
        counts: of the model.
        data: what it trains on.
        optimizer: its update rule.
        batch_size: samples in a step.
        learning_rate: of the optimiser.
        patience: epochs without improvement after which the run stops; included in the answer.
    """

    counts: Counts
    data: DatasetSpec
    optimizer: Optimizers
    batch_size: int
    learning_rate: float
    patience: int = 5

    def __post_init__(self) -> None:
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise BadWorkloadError(
                f"learning_rate is {self.learning_rate!r}; it must be above zero", field="learning_rate"
            )
        for name in ("batch_size", "patience"):
            if getattr(self, name) < (1 if name == "batch_size" else 0):
                raise BadWorkloadError(f"{name} is {getattr(self, name)}; it is too small", field=name)

    def features(self) -> dict[str, float]:
        """Everything that the ensemble may ask for, by name."""
        adaptive = float(self.optimizer not in (Optimizers.SGD, Optimizers.MOMENTUM))
        rate, batch = math.log(self.learning_rate), math.log(self.batch_size)
        convolutional = self.counts.conv_flops.per_sample + self.counts.grouped_flops.per_sample
        return {
            "rate": rate,
            "batch": batch,
            "rate_over_batch": rate - batch,
            "adaptive": adaptive,
            "adaptive_rate": adaptive * rate,
            "factored": float(self.optimizer is Optimizers.ADAFACTOR),
            "decoupled": float(self.optimizer is Optimizers.ADAMW),
            "parameters": math.log(self.counts.parameters + 1),
            "sample_flops": math.log(self.counts.flops(1) + 1),
            "tensors": math.log(self.counts.parameter_tensors + 1),
            "norms": math.log(self.counts.norm_elements.per_sample + 1),
            "grouped": float(self.counts.grouped_flops.per_sample > 0),
            "convolutional": convolutional / max(self.counts.flops(1), 1.0),
            "kernels": math.log(self.counts.forward_kernels + 1),
            "samples": math.log(self.data.samples),
            "steps": math.log(self.data.samples / self.batch_size),
            "side": math.log(self.data.side + 1),
            "classes": math.log(self.data.classes + 1),
            "vocabulary": math.log(self.data.vocabulary + 1),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Ensemble:
    """The prior of one family.

    Attributes:
        names: of the features that vary in training.
        process: on log(epochs − patience).
        forest: on the same.
        share: of the process in the mean.
        errors: quantiles of out-of-fold errors of log(epochs).
    """

    names: tuple[str, ...]
    process: Process
    forest: Trees
    share: float
    errors: Floats

    def log_epochs(self, queries: Sequence[EpochQuery]) -> Floats:
        """log(epochs − patience), ``(rows,)``."""
        features = epoch_matrix(queries, self.names)
        found: Floats = self.share * self.process.predict(features)[0]
        return found + (1 - self.share) * self.forest.predict(features)

    def epochs(self, queries: Sequence[EpochQuery]) -> Floats:
        """Epochs, patience included, ``(rows,)``."""
        patience = np.array([float(query.patience) for query in queries])
        found: Floats = np.exp(self.log_epochs(queries)) + patience
        return found


class EpochModel:
    """The trained prior, and what finished runs have taught it since.

    Args:
        ensembles: by family.
    """

    def __init__(self, ensembles: Mapping[str, Ensemble]) -> None:
        self.ensembles = ensembles
        self._finished: dict[str, list[tuple[EpochQuery, float]]] = {name: [] for name in ensembles}

    def predict(self, family: str, query: EpochQuery, *, level: float = 0.9) -> Interval:
        """Epochs until early stopping, patience included; never less than patience and one."""
        ensemble = self.ensembles[family]
        moved, narrowed = self._feedback(family, query)
        centre = float(ensemble.log_epochs([query])[0]) + moved
        widths = [half_width(ensemble.errors, each) * narrowed for each in (0.8, level)]
        total = math.exp(centre) + query.patience

        def at(log_factor: float) -> float:
            return max(total * math.exp(log_factor), query.patience + 1.0)

        return Interval(
            p10=at(-widths[0]), p50=at(0.0), p90=at(widths[0]), low=at(-widths[1]), high=at(widths[1]), level=level
        )  # fmt: skip

    def learn(self, family: str, query: EpochQuery, epochs: float) -> None:
        """Takes a finished run in.

        Raises:
            BadWorkloadError: the run stopped before its own patience, or the number is none.
        """
        if not math.isfinite(epochs) or epochs <= query.patience:
            raise BadWorkloadError(
                f"a run of {epochs} epochs with patience {query.patience} cannot have stopped by itself; give runs "
                f"that ended by early stopping",
                field="epochs",
            )
        residual = math.log(epochs - query.patience) - float(self.ensembles[family].log_epochs([query])[0])
        self._finished[family].append((query, residual))

    def _feedback(self, family: str, query: EpochQuery) -> tuple[float, float]:
        """How far finished runs move an answer in log, and the factor of its width."""
        finished = self._finished[family]
        if not finished:
            return 0.0, 1.0
        ensemble = self.ensembles[family]
        mean, scale = ensemble.process.mean, ensemble.process.scale
        seen = (epoch_matrix([each for each, _ in finished], ensemble.names) - mean) / scale
        asked = (epoch_matrix([query], ensemble.names) - mean) / scale
        moved, variance = residual_process(seen, np.array([residual for _, residual in finished]), asked)
        return moved, math.sqrt(variance)

    @classmethod
    def read(cls, artefact: Artefact) -> EpochModel:
        """From an artefact.

        Raises:
            ArtefactError: a part is missing.
        """
        try:
            about: Mapping[str, Any] = artefact.about["epochs"]
            return cls({name: _ensemble(name, about[name], artefact.arrays) for name in about})
        except (KeyError, TypeError) as error:
            raise ArtefactError(f"the artefact has no {error}; train the predictor anew") from error


def residual_process(seen: Floats, residuals: Floats, asked: Floats) -> tuple[float, float]:
    """A zero-mean process on residuals: the mean, and the variance left as a share of that before."""
    amplitude, length, noise = FEEDBACK_KERNEL
    gram = amplitude * matern(squared_distances(seen, seen), length) + noise * np.eye(len(seen))
    across = amplitude * matern(squared_distances(asked, seen), length)[0]
    solved = np.linalg.solve(gram, np.column_stack([residuals, across]))
    left = (amplitude + noise - float(across @ solved[:, 1])) / (amplitude + noise)
    return float(across @ solved[:, 0]), left


def epoch_matrix(queries: Sequence[EpochQuery], names: tuple[str, ...]) -> Floats:
    """``(rows, names)``, rounded to float32, in which trees are trained."""
    rows = [query.features() for query in queries]
    return np.array([[row[name] for name in names] for row in rows], dtype=np.float32).astype(np.float64)


def _ensemble(name: str, about: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> Ensemble:
    return Ensemble(
        names=tuple(about["names"]),
        process=Process.read(arrays, f"epochs.{name}.process"),
        forest=Trees.read(arrays, f"epochs.{name}.forest"),
        share=float(about["share"]),
        errors=np.array(about["errors"], dtype=np.float64),
    )
