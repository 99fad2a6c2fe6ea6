"""Regression trees in numpy: what boosting or a forest learnt elsewhere, read from arrays and evaluated here.

A node asks ``feature ≤ threshold`` (yes goes left), a leaf holds a value, children are numbers of nodes, and leaves
are their own children, so that all trees walk in step. The sum over trees, with an offset, is the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chronos_common.errors import ArtefactError

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trees:
    """An ensemble.

    Attributes:
        feature: that each node asks for; ``(nodes,)``.
        threshold: of each node.
        left: where "at most" goes.
        right: where "above" goes.
        value: of each leaf, learning rate included.
        roots: first node of each tree; ``(trees,)``.
        depth: of the deepest tree.
        offset: added to the sum.
    """

    feature: Ints
    threshold: Floats
    left: Ints
    right: Ints
    value: Floats
    roots: Ints
    depth: int
    offset: float = 0.0

    def __post_init__(self) -> None:
        nodes = len(self.feature)
        children = np.concatenate((self.left, self.right, self.roots))
        if any(len(part) != nodes for part in (self.threshold, self.left, self.right, self.value)) or (
            len(children) and not (0 <= children.min() and children.max() < nodes)
        ):
            raise ArtefactError("the arrays of a tree ensemble do not fit together; train the predictor anew")

    def predict(self, features: Floats) -> Floats:
        """``(rows, features)`` to ``(rows,)``."""
        rows = np.arange(len(features))[:, None]
        at = np.broadcast_to(self.roots, (len(features), len(self.roots)))
        for _ in range(self.depth):
            below = features[rows, self.feature[at]] <= self.threshold[at]
            at = np.where(below, self.left[at], self.right[at])
        total: Floats = self.value[at].sum(axis=1) + self.offset
        return total

    def arrays(self, name: str) -> dict[str, NDArray[np.generic]]:
        """What :meth:`read` reads, under ``name.``."""
        return {
            f"{name}.feature": self.feature.astype(np.int16),
            f"{name}.threshold": self.threshold,
            f"{name}.left": self.left,
            f"{name}.right": self.right,
            f"{name}.value": self.value.astype(np.float32),
            f"{name}.roots": self.roots,
            f"{name}.more": np.array([self.depth, self.offset]),
        }

    @classmethod
    def read(cls, arrays: Mapping[str, NDArray[np.generic]], name: str) -> Trees:
        """From the arrays of an artefact.

        Raises:
            ArtefactError: they are missing or do not fit together.
        """
        try:
            depth, offset = arrays[f"{name}.more"].astype(np.float64)
            return cls(
                feature=arrays[f"{name}.feature"].astype(np.int32),
                threshold=arrays[f"{name}.threshold"].astype(np.float64),
                left=arrays[f"{name}.left"].astype(np.int32),
                right=arrays[f"{name}.right"].astype(np.int32),
                value=arrays[f"{name}.value"].astype(np.float64),
                roots=arrays[f"{name}.roots"].astype(np.int32),
                depth=int(depth),
                offset=float(offset),
            )
        except KeyError as error:
            raise ArtefactError(f"the artefact has no {error.args[0]!r}; train the predictor anew") from error
