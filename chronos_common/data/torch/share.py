"""One rank's share of one step, as a training loop sees it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from chronos_common.data.plan import Indices, StepPlan
from chronos_common.data.torch.weighting import loss_weight
from chronos_common.errors import InvalidRequestError


class _Weighed(Protocol):
    """What a weight follows from; shares of both kinds have it."""

    @property
    def count(self) -> int: ...

    @property
    def size(self) -> float: ...

    @property
    def total_count(self) -> int: ...

    @property
    def total_size(self) -> float: ...

    @property
    def world_size(self) -> int: ...


class Weights:
    """The weights of a share."""

    @property
    def weight(self: _Weighed) -> float:
        """What a mean loss over samples is multiplied by; steps that accumulate then add up, without a division."""
        return loss_weight(self.count, self.total_count, self.world_size)

    @property
    def size_weight(self: _Weighed) -> float:
        """What a mean loss over units of size (tokens, if sizes are tokens) is multiplied by."""
        return loss_weight(min(self.size, self.total_size), self.total_size, self.world_size)


def require_seconds(seconds: float | None, step: int) -> None:
    """Raises ``InvalidRequestError`` for seconds that are said, and not finite and above 0."""
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0.0):
        raise InvalidRequestError(
            f"{seconds} seconds for step {step}; it must be a finite number above 0", field="seconds"
        )


@dataclass(kw_only=True, eq=False)
class Share(Weights):
    """What one rank takes in one step.

    Attributes:
        plan: of the step, for all ranks.
        indices: of this rank's samples, (n,); a rank without samples has none.
        batch: what the loader fetches: the indices, or a stand-in for a rank without samples.
        cost: of the share, by the plan's cost model.
        size: sum of its samples' sizes.
        total_count: samples of all ranks; with accumulation, of all steps that accumulate.
        total_size: sum of sizes of all ranks, likewise.
        last: whether the optimiser steps after it: with accumulation, only after the last of its steps.
        on_finish: told when the step is done, with the share.
        seconds: own computing, once it was said.
        finished: whether the step is done.
    """

    plan: StepPlan
    indices: Indices
    batch: list[int]
    cost: float
    size: float
    total_count: int
    total_size: float
    last: bool = True
    on_finish: Callable[[Share], None] | None = field(default=None, repr=False)
    seconds: float | None = None
    finished: bool = False

    @property
    def world_size(self) -> int:
        """Ranks that share the step."""
        return len(self.plan.offsets) - 1

    @property
    def count(self) -> int:
        """Samples that count: 0 for a rank without any, whatever stands in for them."""
        return len(self.indices)

    def finish(self, seconds: float | None = None) -> None:
        """The step is done: a state taken from now on does not repeat it. Later calls change nothing.

        Args:
            seconds: that this rank itself computed, before it waited for the others; needed where speeds are measured.

        Raises:
            InvalidRequestError: seconds that are not finite and above 0.
        """
        if self.finished:
            return
        require_seconds(seconds, self.plan.step)
        self.seconds = seconds
        if self.on_finish is not None:
            self.on_finish(self)
        self.finished = True
