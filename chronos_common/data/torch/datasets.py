"""Data sets whose samples have sizes: torch's classes with ``__sizeof__(index)``.

``__sizeof__`` is called with an index by a sampler and without one by ``sys.getsizeof``, so its index is optional. A
data set that knows all sizes at once overrides ``sizes()``: a million samples then need no million calls.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
import torch.utils.data as base

from chronos_common.data.plan import Reals
from chronos_common.data.torch.sizes import length_of, measured, sizes_of
from chronos_common.errors import ConfigurationError

T_co = TypeVar("T_co", covariant=True)


class Dataset(base.Dataset[T_co]):
    """A map-style data set; a sample's size is 1 unless a subclass says otherwise."""

    def __sizeof__(self, index: int | None = None) -> int:
        """Size of one sample, in any unit that its cost grows with (frames, tokens); without index, bytes of self."""
        return super().__sizeof__() if index is None else 1

    def sizes(self) -> Reals:
        """Sizes of all samples, (N,); override it where they are known at once."""
        return measured(self)


class IterableDataset(base.IterableDataset[T_co]):
    """A stream of samples whose sizes are known by position; it needs ``__len__`` for anything to be planned."""

    def __sizeof__(self, index: int | None = None) -> int:
        """Size of the sample at a position of the stream; without index, bytes of self."""
        return super().__sizeof__() if index is None else 1

    def sizes(self) -> Reals:
        """Sizes of all samples, (N,); override it where they are known at once."""
        return measured(self)


class ConcatDataset(base.ConcatDataset[T_co]):
    """Data sets one after another; each part says how large its samples are.

    Parts may be data sets of torch or of others: theirs count as 1.
    """

    def __sizeof__(self, index: int | None = None) -> int:
        """Size of one sample, asked of its part; a negative index counts from the end."""
        if index is None:
            return super().__sizeof__()
        part, inside = _locate(self.cumulative_sizes, index)
        return _size_in(self.datasets[part], inside)

    def sizes(self) -> Reals:
        """Sizes of all samples, part by part, (N,)."""
        return np.concatenate([sizes_of(part) for part in self.datasets])


class ChainDataset(base.ChainDataset):
    """Streams one after another; each says how large its samples are, and how many there are."""

    def __init__(self, datasets: Iterable[base.Dataset[T_co]]) -> None:
        # Asked more than once, which the base class does not foresee.
        super().__init__(list(datasets))

    def __sizeof__(self, index: int | None = None) -> int:
        """Size of the sample at a position of the chain, asked of its stream."""
        if index is None:
            return super().__sizeof__()
        ends = np.cumsum([length_of(part) for part in self.datasets]).tolist()
        part, inside = _locate(ends, index)
        return _size_in(list(self.datasets)[part], inside)

    def sizes(self) -> Reals:
        """Sizes of all samples, stream by stream, (N,)."""
        return np.concatenate([sizes_of(part) for part in self.datasets])


def _locate(ends: list[int], index: int) -> tuple[int, int]:
    """Part that holds a sample, and its place there."""
    total = ends[-1]
    if not -total <= index < total:
        raise IndexError(f"index {index} of {total} samples")
    index %= total
    part = int(np.searchsorted(ends, index, side="right"))
    return part, index - (ends[part - 1] if part else 0)


def _size_in(part: base.Dataset[T_co], index: int) -> int:
    if type(part).__sizeof__ is object.__sizeof__:
        return 1
    try:
        return int(type(part).__sizeof__(part, index))  # type: ignore[call-arg]
    except TypeError as error:
        raise ConfigurationError(
            f"{type(part).__name__}.__sizeof__ takes no index; define __sizeof__(self, index=None)"
        ) from error
