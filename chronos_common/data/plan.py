"""What a plan is made for and what it says.

A plan is a pure function of (sizes, :class:`PlanConfig`, epoch, step, :class:`Speeds`); the speeds carry the version of
the membership and of the speed table that they belong to.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from chronos_common.data.randomness import parse_randomness
from chronos_common.errors import ConfigurationError
from chronos_common.runtime import require_kinds

Kind = Literal["static", "dynamic", "guided"]
KINDS = ("static", "dynamic", "guided")

Indices = NDArray[np.int64]
Reals = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """How an epoch is cut into batches and a batch into shares.

    Attributes:
        batch_size: samples of one step, all workers together.
        kind: ``static``: equal speeds and equal counts; ``dynamic``: measured speeds, counts vary; ``guided``:
            contiguous segments of the sorted batch, for models that pad to the longest sample.
        cost: name of the cost model: ``linear`` or ``quadratic`` in the size, or ``padded`` (count times longest).
        randomness: ``strict`` (the batch is the shuffled one), ``window:M`` (balance over M batches), ``noisy:S``
            (sorted by log size plus N(0, S) noise), or ``auto``.
        shuffle: a new order each epoch; otherwise the order of the data set.
        seed: of the shuffles.
        drop_last: leave an incomplete last batch out; otherwise it is a smaller batch.
        workers: expected number, by which ``window`` and ``auto`` know what a worker's share is; the others need
            none. It is part of what fixes the batches, and stays as it is when members come and go.
    """

    batch_size: int
    kind: Kind = "dynamic"
    cost: str = "linear"
    randomness: str = "strict"
    shuffle: bool = True
    seed: int = 0
    drop_last: bool = False
    workers: int = 0

    def __post_init__(self) -> None:
        require_kinds(self)
        if self.batch_size < 1:
            raise ConfigurationError(f"batch_size is {self.batch_size}; it must be 1 or more")
        if self.kind not in KINDS:
            raise ConfigurationError(f"kind is {self.kind!r}; it must be one of {', '.join(KINDS)}")
        if self.cost == "padded" and self.kind != "guided":
            raise ConfigurationError(
                f"cost is 'padded' and kind {self.kind!r}: what a share costs by its longest sample is balanced by "
                "kind='guided' alone"
            )
        if not 0 <= self.seed < 1 << 64:
            raise ConfigurationError(f"seed is {self.seed}; it must be 0 or more, and below 2**64")
        if self.workers < 0:
            raise ConfigurationError(f"workers is {self.workers}; it must be 0 (not said) or more")
        found = parse_randomness(self.randomness)
        if found.needs_workers and not self.workers:
            raise ConfigurationError(
                f"randomness is {self.randomness!r} and workers is 0: say for how many workers, that it is known what "
                "the share of one is"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """Which node holds which samples: of a partitioned data set, a worker can only take those of its own node.

    Attributes:
        samples: node of each sample, (N,), from 0.
        workers: node of each worker, (W,); every node that holds samples has a worker.
    """

    samples: Indices
    workers: Indices


@dataclass(frozen=True, kw_only=True, eq=False)
class Caps:
    """What one worker takes at most in one step.

    Attributes:
        count: samples, (W,); 0 is no limit.
        memory: sum of sizes (for padded costs: count times longest), (W,); 0 is no limit.
    """

    count: Indices
    memory: Reals


@dataclass(frozen=True, kw_only=True, eq=False)
class Speeds:
    """Seconds that each worker needs: ``alpha + beta * cost of its share``.

    Attributes:
        alpha: fixed seconds of a step, (W,).
        beta: seconds for one unit of cost, (W,), above 0.
        membership: version of the list of workers that the rows stand for.
        version: of the measurements.
    """

    alpha: Reals
    beta: Reals
    membership: int = 0
    version: int = 0

    @classmethod
    def equal(cls, workers: int, membership: int = 0) -> Speeds:
        """No fixed time and one second for each unit of cost, for every worker."""
        return cls(alpha=np.zeros(workers), beta=np.ones(workers), membership=membership)

    @property
    def workers(self) -> int:
        """How many there are."""
        return len(self.beta)


@dataclass(frozen=True, kw_only=True, eq=False)
class StepPlan:
    """Who takes which samples in one step.

    Attributes:
        epoch: from 0.
        step: from 0 in each epoch.
        indices: of the samples, those of worker 0 first, (n,).
        offsets: worker w takes ``indices[offsets[w]:offsets[w + 1]]``, (W + 1,).
        seconds: expected of each worker, (W,).
    """

    epoch: int
    step: int
    indices: Indices
    offsets: Indices
    seconds: Reals

    def share(self, worker: int) -> Indices:
        """The samples of one worker, (n_w,)."""
        return self.indices[self.offsets[worker] : self.offsets[worker + 1]]

    @cached_property
    def counts(self) -> Indices:
        """Samples of each worker, (W,)."""
        return np.diff(self.offsets)
