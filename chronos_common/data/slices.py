"""Sizes of all samples, put together from what workers say about slices of them."""

from __future__ import annotations

from typing import Final

import numpy as np

from chronos_common.data.plan import Indices, Reals
from chronos_common.errors import InvalidRequestError, SizesDisagreeError

MAX_NODES: Final = 1 << 20


class Slices:
    """The sizes that are there; told twice they must agree.

    Args:
        samples: how many there are.
        partitioned: each sample belongs to a node.
    """

    def __init__(self, samples: int, *, partitioned: bool = False) -> None:
        self._samples = samples
        self._partitioned = partitioned
        self._sizes: Reals | None = None
        self._nodes: Indices | None = None
        self._sized = 0

    @property
    def sized(self) -> int:
        """Samples whose sizes are there."""
        return self._sized

    @property
    def complete(self) -> bool:
        """Whether none is missing."""
        return self._sized == self._samples

    @property
    def first_missing(self) -> int:
        """The first sample without a size; the number of samples when there is none."""
        if self.complete or self._sizes is None:
            return self._sized
        return int(np.isnan(self._sizes).argmax())

    @property
    def sizes(self) -> Reals:
        """Of the samples, (N,), NaN where it is missing."""
        return np.full(self._samples, np.nan) if self._sizes is None else self._sizes

    @property
    def nodes(self) -> Indices | None:
        """Node of each sample, (N,), of a partitioned data set."""
        return self._nodes

    def news(self, begin: int, sizes: Reals, node: int = 0) -> bool:
        """Whether a slice says anything new; nothing changes.

        Args:
            begin: its first sample.
            sizes: of its samples, (n,), float64.
            node: that holds them.

        Raises:
            InvalidRequestError: no samples, samples out of range, sizes that are not finite and above 0, a bad node.
            SizesDisagreeError: another slice said otherwise.
        """
        end = begin + len(sizes)
        if not (0 <= begin < end <= self._samples):
            raise InvalidRequestError(
                f"a slice of {len(sizes)} samples from {begin} on; the plan has samples 0 to {self._samples - 1}",
                field="begin",
            )
        if not 0 <= node < MAX_NODES or (node and not self._partitioned):
            raise InvalidRequestError(
                f"node is {node}; it must lie in 0 to {MAX_NODES - 1}, and be 0 unless the plan is partitioned",
                field="node",
            )
        good = np.isfinite(sizes) & (sizes > 0.0)
        if not good.all():
            first = int(good.argmin())
            raise InvalidRequestError(
                f"sample {begin + first} has size {sizes[first]} ({len(sizes) - int(good.sum())} of this slice are not "
                "finite or not above 0); give an empty sample what its fixed work costs, for example 1",
                field="sizes",
                sample=begin + first,
            )
        if self._sizes is None:
            return True
        before = self._sizes[begin:end]
        known = ~np.isnan(before)
        same = before[known] == sizes[known]
        if self._nodes is not None:
            same &= self._nodes[begin:end][known] == node
        if not same.all():
            sample = begin + int(np.flatnonzero(known)[int(same.argmin())])
            raise SizesDisagreeError(
                f"the size or node of sample {sample} was told before, and otherwise ({self._sizes[sample]}); all "
                "workers must see the same data set in the same order",
                sample=sample,
            )
        return not known.all()

    def add(self, begin: int, sizes: Reals, node: int = 0) -> None:
        """Takes a slice that :meth:`news` has let through."""
        if self._sizes is None:
            self._sizes = np.full(self._samples, np.nan)
            self._nodes = np.zeros(self._samples, dtype=np.int64) if self._partitioned else None
        end = begin + len(sizes)
        self._sized += int(np.isnan(self._sizes[begin:end]).sum())
        self._sizes[begin:end] = sizes
        if self._nodes is not None:
            self._nodes[begin:end] = node
