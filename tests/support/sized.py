"""Data whose samples are their own numbers, with sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Numbers(Sequence[int]):
    """The numbers from 0."""

    def __init__(self, sizes: ArrayLike) -> None:
        self._sizes = np.asarray(sizes, dtype=np.float64)

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index: Any) -> Any:
        return index

    def sizes(self) -> NDArray[np.float64]:
        """As given."""
        return self._sizes


def numbers(count: int, seed: int = 0) -> Numbers:
    """With log-normal sizes."""
    return Numbers(np.random.default_rng(seed).lognormal(3, 1, count))
