"""Where a worker's samples come from: a coordinator, or a planner in the same process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from chronos_common.data.plan import Indices


@dataclass(frozen=True, kw_only=True, eq=False)
class DealtShare:
    """One worker's samples of one turn, under a lease until they are finished.

    Every member gets a share of every turn, be it empty, so that a turn is one collective operation.

    Attributes:
        epoch: from 0.
        step: from 0 in each epoch.
        part: 0 for the step itself, above where it brings samples that others left unfinished.
        turn: number that grows from share to share and names this one.
        worker: whose it is.
        indices: of the samples, (n,); may be empty.
        cost: by the plan's cost model.
        size: sum of the samples' sizes.
        total_count: samples of all workers in this turn.
        total_size: sum of their sizes.
        workers: members that share this turn.
    """

    epoch: int
    step: int
    part: int
    turn: int
    worker: str
    indices: Indices
    cost: float
    size: float
    total_count: int
    total_size: float
    workers: int


class ShareSource(Protocol):
    """What a sampler asks for its samples."""

    def begin(self, epoch: int) -> None:
        """Asks for the shares of an epoch; the one before must be over. Repeating it changes nothing."""
        ...

    def next_share(self, *, wait: bool = True) -> DealtShare | None:
        """The next share of this worker, in order.

        Args:
            wait: until there is one or the epoch is over; otherwise ``None`` also means that there is none *yet*,
                and :attr:`over` tells the two apart. A loader that reads ahead must not wait: the last shares of an
                epoch may come only after it has finished earlier ones.

        Returns:
            The share, or ``None`` when the epoch is over.
        """
        ...

    @property
    def over(self) -> bool:
        """Whether every sample of the epoch is finished, by whomever."""
        ...

    def finish(self, share: DealtShare, seconds: float = 0.0) -> bool:
        """Says that a share is done, and the own compute seconds that it took; whether it counts.

        It does not count when the share was given to others meanwhile, because this worker was silent for too long.
        """
        ...
