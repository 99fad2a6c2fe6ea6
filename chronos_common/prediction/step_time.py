"""How long a training step takes: the physics prior, corrected by trees, in a width that the folds vouch for.

There are three *heads*, for what training has seen of a question: the device and the model (``known``), all but the
device (``new_device``), all but the model (``new_model``). A head names the features that its trees may ask for and
how far they are trusted; what is neither seen by device nor by model gets the prior alone, with both heads' widths.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_common.errors import ArtefactError
from chronos_common.prediction.artefact import Artefact
from chronos_common.prediction.counts import Counts
from chronos_common.prediction.intervals import Interval, interval
from chronos_common.prediction.loading import measured_wait
from chronos_common.prediction.physics import Parts, Physics, loading_kind, term_matrix
from chronos_common.prediction.processor import ERRORS, is_processor, processor_parts
from chronos_common.prediction.query import Query, matrix, raw_features
from chronos_common.prediction.smooth import Smooth
from chronos_common.prediction.trees import Floats, Trees

HEADS = ("known", "new_device", "new_model")
SAME_SIZE = 0.2
"""Difference of the log of parameters up to which models of one structure are one."""

PRIOR_FEATURES = ("prior", "launch_over_device", "loading_over_compute")


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """A correction of the prior.

    Attributes:
        features: that its trees ask for.
        boosted: trees by boosting.
        forest: extremely randomised trees.
        smooth: a function that is smooth in the features.
        shares: of these three in the correction; one that is ``None`` has none, and the prior stands alone without any.
        trust: factor of the correction, between 0 and 1.
        errors: quantiles of out-of-fold errors; see ``intervals.py``.
    """

    features: tuple[str, ...]
    boosted: Trees | None = None
    forest: Trees | None = None
    smooth: Smooth | None = None
    shares: tuple[float, float, float] = (0.5, 0.5, 0.0)
    trust: float = 1.0
    errors: Floats

    def correction(self, rows: list[dict[str, float]]) -> Floats:
        """log(corrected / prior), ``(rows,)``."""
        found: Floats = self.trust * (np.array(self.shares) @ self.members(rows))
        return found

    def members(self, rows: list[dict[str, float]]) -> Floats:
        """What each of the three says, ``(3, rows)``; 0 where it is none."""
        found = np.zeros((3, len(rows)))
        for index, member in enumerate((self.boosted, self.forest, self.smooth)):
            if member is not None:
                found[index] = member.predict(matrix(rows, self.features))
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """Everything trained for one family of models.

    Attributes:
        physics: the prior.
        heads: by name.
        devices: that training has seen.
        models: signatures of the models that it has seen.
    """

    physics: Physics
    heads: Mapping[str, Head]
    devices: frozenset[str]
    models: frozenset[tuple[int, int, int]]

    def predict(self, queries: Sequence[Query], head: str) -> tuple[Floats, Parts]:
        """Milliseconds of a step by one head, ``(rows,)``, and the prior."""
        parts, rows = prior_rows(self.physics, list(queries))
        return parts.total * np.exp(self.heads[head].correction(rows)), parts


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """A prediction.

    Attributes:
        seconds: of one step, with its spread.
        compute_seconds: of it, computing.
        loading_seconds: of it, waiting for data.
        basis: the head that answered, ``prior``, or ``processor``.
    """

    seconds: Interval
    compute_seconds: float
    loading_seconds: float
    basis: str


class StepTimeModel:
    """The trained model of step times.

    Args:
        families: by name: ``mlp``, ``cnn``, ``transformer``.
    """

    def __init__(self, families: Mapping[str, Family]) -> None:
        self.families = families

    def predict(self, query: Query, *, level: float = 0.9) -> StepTime:
        """One step's time."""
        family = self.families[family_of(query.counts)]
        head = "processor" if is_processor(query.device) else basis(family, query)
        if head == "processor":
            return _on_processor(query, level)
        milliseconds, parts = family.predict([query], "known" if head == "prior" else head)
        centre = float(parts.total[0] if head == "prior" else milliseconds[0]) / 1000
        waiting = centre * float(parts.loading[0] / parts.total[0])
        compute = centre - waiting
        measured = measured_wait(query, compute)
        if measured is not None:
            # A probe makes samples from memory: how slow the disk is that files come from it does not know.
            waiting = max(measured, waiting) if query.data is not None and query.data.files else measured
        return StepTime(
            seconds=interval(compute + waiting, _errors(family, head), level=level),
            compute_seconds=compute,
            loading_seconds=waiting,
            basis=head,
        )

    @classmethod
    def read(cls, artefact: Artefact) -> StepTimeModel:
        """From an artefact.

        Raises:
            ArtefactError: a part is missing.
        """
        try:
            about = artefact.about["step_time"]
            return cls({name: _family(name, about[name], artefact.arrays) for name in about})
        except (KeyError, TypeError) as error:
            raise ArtefactError(f"the artefact has no {error}; train the predictor anew") from error


def _on_processor(query: Query, level: float) -> StepTime:
    centre = float(processor_parts([query]).total[0]) / 1000
    return StepTime(
        seconds=interval(centre, ERRORS, level=level),
        compute_seconds=centre,
        loading_seconds=0.0,
        basis="processor",
    )


def basis(family: Family, query: Query) -> str:
    """Which head answers a question."""
    device = query.device.name in family.devices
    model = knows(family, query.counts)
    if device:
        return "known" if model else "new_model"
    return "new_device" if model else "prior"


def signature(counts: Counts) -> tuple[int, int, int]:
    """What tells one model from another: kernels of forward, tensors of parameters, parameters."""
    return round(counts.forward_kernels), round(counts.parameter_tensors), round(counts.parameters)


def knows(family: Family, counts: Counts) -> bool:
    """Whether training has seen a model, perhaps with another head or on images of another size."""
    kernels, tensors, parameters = signature(counts)
    return any(
        (kernels, tensors) == seen[:2] and abs(math.log(max(parameters, 1) / seen[2])) < SAME_SIZE
        for seen in family.models
    )


def family_of(counts: Counts) -> str:
    """The family whose rows a model is most like, by where its FLOPs are."""
    convolutional = counts.conv_flops.per_sample + counts.grouped_flops.per_sample
    if convolutional > counts.matmul_flops.per_sample:
        return "cnn"
    return "transformer" if counts.attention_kernels else "mlp"


def prior_parts(physics: Physics, query: Query) -> Parts:
    """The prior of one question: a processor's own, or the family's."""
    if is_processor(query.device):
        return processor_parts([query])
    return prior_rows(physics, [query])[0]


def prior_rows(physics: Physics, queries: list[Query]) -> tuple[Parts, list[dict[str, float]]]:
    """The prior of some questions and the features of each, those that speak of the prior included."""
    batch = np.array([float(query.batch_size) for query in queries])
    parts = physics.parts(term_matrix(queries), batch, np.array([loading_kind(query) for query in queries]))
    rows = [raw_features(query) for query in queries]
    for index, row in enumerate(rows):
        row["prior"] = math.log(parts.total[index])
        row["launch_over_device"] = math.log(parts.launch[index] / parts.device[index])
        row["loading_over_compute"] = math.log(parts.loading[index] / parts.compute[index] + 1e-3)
    return parts, rows


def _errors(family: Family, head: str) -> NDArray[np.float64]:
    if head != "prior":
        return family.heads[head].errors
    return np.hypot(family.heads["new_device"].errors, family.heads["new_model"].errors)


def _family(name: str, about: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> Family:
    return Family(
        physics=Physics.from_json(about["physics"]),
        heads={head: _head(f"{name}.{head}", about["heads"][head], arrays) for head in HEADS},
        devices=frozenset(about["devices"]),
        models=frozenset(
            (int(kernels), int(tensors), int(size)) for kernels, tensors, size in about["models"]
        ),
    )


def _head(name: str, about: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> Head:
    members = about["members"]
    return Head(
        features=tuple(about["features"]),
        boosted=Trees.read(arrays, f"{name}.boosted") if "boosted" in members else None,
        forest=Trees.read(arrays, f"{name}.forest") if "forest" in members else None,
        smooth=Smooth.read(arrays, f"{name}.smooth") if "smooth" in members else None,
        shares=tuple(about["shares"]),
        trust=float(about["trust"]),
        errors=np.array(about["errors"], dtype=np.float64),
    )
