"""The prior of a step's time: work over peak rates, kernels times launch cost, and the slower of the two wins.

``compute = (launch⁴ + device⁴)^¼``: a GPU runs behind the process that feeds it, so that a step takes the longer of
the two times, with a soft corner where they are alike. ``device`` and ``launch`` are weighted sums of the terms of
:meth:`~chronos_common.prediction.query.Query.terms`; the weights, one over the share of the peak that is reached, are
fitted by robust least squares on ``log`` (``training/prior.py``). Loading that computing does not hide is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chronos_common.prediction.query import Query
from chronos_common.prediction.trees import Floats

DEVICE_TERMS = (
    "matmul",
    "conv",
    "grouped",
    "matmul_bytes",
    "conv_bytes",
    "grouped_bytes",
    "norm_bytes",
    "pointwise_bytes",
    "update_bytes",
)
LAUNCH_TERMS = ("kernels", "casts", "update_kernels")
TERMS = (*DEVICE_TERMS, *LAUNCH_TERMS)
CORNER = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """The prior for some rows, in milliseconds.

    Attributes:
        device: time of the device's work, ``(rows,)``.
        launch: time of launching it.
        loading: waiting for data.
        corner: how soft the greater of device and launch is taken; 1 is their sum.
    """

    device: Floats
    launch: Floats
    loading: Floats
    corner: int = CORNER

    @property
    def compute(self) -> Floats:
        """Without loading."""
        found: Floats = (self.device**self.corner + self.launch**self.corner) ** (1 / self.corner)
        return found

    @property
    def total(self) -> Floats:
        """With loading."""
        return self.compute + self.loading


@dataclass(frozen=True, kw_only=True, eq=False)
class Physics:
    """The fitted prior of a family of models.

    Attributes:
        log_weights: of :data:`TERMS`, then of a constant number of milliseconds for each step.
        file_ms: waiting for one sample where each is a file of its own on a rented machine's disk.
        memory_ms: waiting for one sample otherwise.
    """

    log_weights: Floats
    file_ms: float
    memory_ms: float

    def parts(self, terms: Floats, batch: Floats, from_files: Floats) -> Parts:
        """The prior of many rows.

        Args:
            terms: ``(rows, TERMS)``.
            batch: samples in a step, ``(rows,)``.
            from_files: 1 where samples come from slow files, 0 where they do not, negative where nothing is loaded.
        """
        weights = np.exp(self.log_weights)
        split = len(DEVICE_TERMS)
        each = np.where(from_files > 0, self.file_ms, np.where(from_files < 0, 0.0, self.memory_ms))
        return Parts(
            device=terms[:, :split] @ weights[:split],
            launch=terms[:, split:] @ weights[split:-1] + weights[-1],
            loading=each * batch,
        )

    def to_json(self) -> dict[str, Any]:
        """For the artefact."""
        return {"log_weights": list(self.log_weights), "file_ms": self.file_ms, "memory_ms": self.memory_ms}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Physics:
        """The inverse of :meth:`to_json`."""
        weights = np.array(plain["log_weights"], dtype=np.float64)
        return cls(log_weights=weights, file_ms=plain["file_ms"], memory_ms=plain["memory_ms"])


def term_matrix(queries: list[Query]) -> Floats:
    """``(rows, TERMS)``."""
    found = [query.terms() for query in queries]
    return np.array([[row[name] for name in TERMS] for row in found])


def loading_kind(query: Query) -> float:
    """What :meth:`Physics.parts` takes as ``from_files``."""
    if query.data is None:
        return -1.0
    return float(query.data.files and query.device.host == "rented")
