"""Regression trees in numpy: what boosting or a forest learnt elsewhere, read from arrays and evaluated here.

Nodes stand in preorder, so that "at most" always goes to the next node and only "above" needs a number. A leaf has
feature −1 and keeps its value where a node keeps its threshold. The sum over trees, plus an offset, is the answer.
Features are compared as float32, and thresholds are rounded down to float32, which changes no comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chronos_common.errors import ArtefactError

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trees:
    """An ensemble.

    Attributes:
        feature: that each node asks for, −1 in leaves; ``(nodes,)``.
        threshold: of each node, or the value of a leaf.
        above: node to go to from a node whose feature is above its threshold.
        roots: first node of each tree; ``(trees,)``.
        offset: added to the sum.
    """

    feature: NDArray[np.int8]
    threshold: NDArray[np.float32]
    above: NDArray[np.int32]
    roots: NDArray[np.int32]
    offset: float = 0.0

    def __post_init__(self) -> None:
        nodes = len(self.feature)
        inner = self.feature >= 0
        onwards = self.above[inner] > np.flatnonzero(inner) if len(self.above) == nodes else np.array([False])
        if (
            len(self.threshold) != nodes
            or not onwards.all()
            or (self.above >= nodes).any()
            or (self.roots >= nodes).any()
        ):
            raise ArtefactError("the arrays of a tree ensemble do not fit together; train the predictor anew")

    def predict(self, features: Floats) -> Floats:
        """``(rows, features)`` to ``(rows,)``."""
        asked = features.astype(np.float32)
        rows = np.arange(len(asked))[:, None]
        at = np.repeat(self.roots[None, :], len(asked), axis=0)
        while True:
            feature = self.feature[at]
            inner = feature >= 0
            if not inner.any():
                break
            above = asked[rows, feature] > self.threshold[at]
            at = np.where(inner, np.where(above, self.above[at], at + 1), at)
        total: Floats = self.threshold[at].astype(np.float64).sum(axis=1) + self.offset
        return total

    def arrays(self, name: str) -> dict[str, NDArray[np.generic]]:
        """What :meth:`read` reads, under ``name.``."""
        return {
            f"{name}.feature": self.feature,
            f"{name}.threshold": self.threshold,
            f"{name}.above": self.above,
            f"{name}.roots": self.roots,
            f"{name}.offset": np.array([self.offset]),
        }

    @classmethod
    def read(cls, arrays: Mapping[str, NDArray[np.generic]], name: str) -> Trees:
        """From the arrays of an artefact.

        Raises:
            ArtefactError: they are missing or do not fit together.
        """
        try:
            return cls(
                feature=arrays[f"{name}.feature"].astype(np.int8),
                threshold=arrays[f"{name}.threshold"].astype(np.float32),
                above=arrays[f"{name}.above"].astype(np.int32),
                roots=arrays[f"{name}.roots"].astype(np.int32),
                offset=float(arrays[f"{name}.offset"].astype(np.float64)[0]),
            )
        except KeyError as error:
            raise ArtefactError(f"the artefact has no {error.args[0]!r}; train the predictor anew") from error
