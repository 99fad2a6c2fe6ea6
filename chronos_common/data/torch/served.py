"""Batches of a data plan that a coordinator holds, for ``DataLoader(dataset, batch_sampler=...)``; elastic.

The source is any :class:`~chronos_common.data.source.ShareSource`, given from outside: nothing here knows the wire.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from torch.utils.data import Sampler

from chronos_common.data.plan import Indices
from chronos_common.data.source import DealtShare, ShareSource
from chronos_common.data.torch.arguments import require_in_order, require_unforked
from chronos_common.data.torch.share import Weights, require_seconds
from chronos_common.data.torch.sizes import sizes_of
from chronos_common.errors import ConfigurationError

Batch = TypeVar("Batch")
_FOREIGN = (
    "the loader does not give the batches of this sampler: pass DataLoader(dataset, batch_sampler=batches)"
)


class ServedShare(Weights):
    """What this worker takes in one turn.

    Attributes:
        dealt: the share as it came.
        batch: what the loader fetches, indices into its data set: the share's samples, or a stand-in where it has none.
        finished: whether the turn is done.
        counted: whether the result counts; ``False`` once the share had gone to others, who compute it again.
        last: whether the optimiser steps after it; always.
    """

    last = True

    def __init__(self, dealt: DealtShare, batch: list[int], source: ShareSource) -> None:
        self.dealt = dealt
        self.batch = batch
        self.finished = False
        self.counted = True
        self._source = source

    @property
    def indices(self) -> Indices:
        """The plan's numbers of the samples, (n,)."""
        return self.dealt.indices

    @property
    def count(self) -> int:
        """Samples that count: 0 where a stand-in is loaded."""
        return len(self.dealt.indices)

    @property
    def cost(self) -> float:
        """By the plan's cost model."""
        return self.dealt.cost

    @property
    def size(self) -> float:
        """Sum of the samples' sizes."""
        return self.dealt.size

    @property
    def total_count(self) -> int:
        """Samples of all members in this turn."""
        return self.dealt.total_count

    @property
    def total_size(self) -> float:
        """Sum of their sizes."""
        return self.dealt.total_size

    @property
    def world_size(self) -> int:
        """Members that share the turn."""
        return self.dealt.workers

    def finish(self, seconds: float | None = None) -> bool:
        """Reports the turn as done; whether it counts. Later calls change nothing.

        Args:
            seconds: that this worker itself computed, before it waited for the others; ``None`` where it did not
                measure them.

        Raises:
            InvalidRequestError: seconds that are not finite and above 0.
            ChronosError: as the source raises it; the share is not finished then.
        """
        if not self.finished:
            require_seconds(seconds, self.dealt.step)
            self.counted = self._source.finish(self.dealt, seconds or 0.0)
            self.finished = True
        return self.counted


class ServedBatchSampler(Sampler[list[int]]):
    """One list of indices for each turn of a data plan, to be run through by :meth:`follow` only.

    Args:
        dataset: that the loader reads; of a partitioned plan, this node's part.
        source: where shares come from, a :class:`chronos_common.wire.CoordinatorSource` for example.
        first: of a partitioned plan, the number of the first sample of this node's part.
    """

    def __init__(self, dataset: Any, source: ShareSource, *, first: int = 0) -> None:
        sizes = sizes_of(dataset)
        self.epoch = 0
        self._source = source
        self._first = first
        self._samples = len(sizes)
        self._stand_in = int(np.argmin(sizes))
        self._following = False
        self._next: deque[ServedShare] = deque()
        """What the loader gets before anything new."""
        self._handed: deque[ServedShare] = deque()
        """What the loader has, and the training loop has not got yet."""
        self._open: deque[ServedShare] = deque()
        """What was taken from the source and is not finished."""

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the next :meth:`follow`; without it, that is the one after the last that ended."""
        self.epoch = epoch

    def follow(self, loader: Iterable[Batch]) -> Iterator[tuple[Batch, ServedShare]]:
        """Each batch of an epoch with its share, until all members have finished the epoch.

        A share that the loop did not finish is finished when the next batch is asked for. A loop that ends early
        keeps what it has not finished, and gets it again first from the next call.

        Raises:
            ConfigurationError: a loader that was not made with this sampler, or whose workers would be forked from a
                connected process.
            ChronosError: as the source raises it.
        """
        require_in_order(loader)
        if not self._source.fork_safe:
            require_unforked(loader)
        self._source.begin(self.epoch)
        self._next = self._unfinished()
        self._handed.clear()
        self._following = True
        try:
            while self._next or self._take(wait=True):
                # The loader ends a pass when nothing is at hand: the last shares may come only after those before.
                for batch in loader:
                    if not self._handed:
                        raise ConfigurationError(_FOREIGN)
                    share = self._handed.popleft()
                    yield batch, share
                    share.finish()
                if self._next or self._handed:
                    raise ConfigurationError(_FOREIGN)
        finally:
            self._following = False
        self.epoch += 1

    def __iter__(self) -> Iterator[list[int]]:
        if not self._following:
            raise ConfigurationError(
                "batches of a data plan come with their shares, which must be reported: iterate over "
                "batches.follow(loader) instead of the loader"
            )
        return _Batches(self)

    def state_dict(self) -> dict[str, Any]:
        """Where the whole job stands, as JSON can hold it.

        One worker takes it, when all have finished the same turns: what is not finished will be dealt out again.
        """
        return {"epoch": self.epoch, "plan": base64.b64encode(self._source.save()).decode("ascii")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes back to a state: what was finished after it is dealt out again.

        One worker does this before any of them begins; the others only :meth:`set_epoch` to ``state["epoch"]``.

        Raises:
            ConfigurationError: no state of this sampler.
            InvalidRequestError: the state of another plan.
        """
        try:
            epoch, plan = int(state["epoch"]), base64.b64decode(state["plan"], validate=True)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"this is no state of a served sampler: {error!r}") from error
        self._source.restore(plan)
        self.epoch = epoch
        self._open.clear()

    def take(self) -> ServedShare | None:
        """The share of the loader's next batch; ``None`` while there is none, and one that is open must end first."""
        if not self._next and not self._take(wait=self._may_wait()):
            return None
        share = self._next.popleft()
        self._handed.append(share)
        return share

    def _take(self, *, wait: bool) -> bool:
        dealt = self._source.next_share(wait=wait)
        if dealt is None:
            return False
        share = ServedShare(dealt, self._loaded(dealt.indices), self._source)
        self._open.append(share)
        self._next.append(share)
        return True

    def _may_wait(self) -> bool:
        """Whether another share comes although those that are open stay so."""
        self._open = self._unfinished()
        return not self._open or (self._open[-1].dealt.continued and len(self._open) < self._source.lookahead)

    def _unfinished(self) -> deque[ServedShare]:
        return deque(share for share in self._open if not share.finished)

    def _loaded(self, indices: Indices) -> list[int]:
        own = indices - self._first
        if own.size and not 0 <= own.min() <= own.max() < self._samples:
            raise ConfigurationError(
                f"the plan deals samples {int(indices.min())} to {int(indices.max())}, and the data set has "
                f"{self._samples} from {self._first} on; all workers must see the same data set"
            )
        return own.tolist() or [self._stand_in]


class _Batches(Iterator[list[int]]):
    """No generator: what has nothing now may have something when it is asked again."""

    def __init__(self, sampler: ServedBatchSampler) -> None:
        self._sampler = sampler

    def __next__(self) -> list[int]:
        share = self._sampler.take()
        if share is None:
            raise StopIteration
        return share.batch
