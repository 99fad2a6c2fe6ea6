"""Phases of a round, and the factor that rates follow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from chronos_common.clan.config import ClanConfig

PhaseKind = Literal["fan_out", "cooperative", "competitive", "independent"]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Steps of one kind.

    Attributes:
        kind: of phase.
        steps: how many.
    """

    kind: PhaseKind
    steps: int

    @property
    def shares_gradients(self) -> bool:
        """Whether members step with the mean gradient."""
        return self.kind == "cooperative"

    @property
    def common_data(self) -> bool:
        """Whether all members see the same samples; else each its own share."""
        return self.kind in ("competitive", "fan_out")

    @property
    def expresses_all(self) -> bool:
        """Whether members express their own specialised genes; else the consensus."""
        return self.kind in ("competitive", "independent")


def round_phases(config: ClanConfig, steps: int, *, specialised: bool) -> tuple[Phase, ...]:
    """Phases of an ordinary round of so many steps; ``specialised``: whether a specialised gene is declared."""
    if not config.share_gradients:
        return (Phase(kind="independent", steps=steps),)
    competing = config.compete == "always" or (config.compete == "specialised" and specialised)
    wanted = max(round(config.duty_cycle * steps), config.least_competitive_steps)
    competitive = min(wanted, steps) if competing and config.duty_cycle > 0.0 else 0
    found = (
        Phase(kind="cooperative", steps=steps - competitive),
        Phase(kind="competitive", steps=competitive),
    )
    return tuple(phase for phase in found if phase.steps)


def averaging_decay(config: ClanConfig, steps: int) -> float:
    """Decay of the moving average of weights in a member's step ``steps`` (from 0).

    It grows with the steps, min(averaging, (1 + n)/(10 + n)): an average that still held the initial weights after a
    short fan-out would prefer rates that are too high.
    """
    return min(config.averaging, (1.0 + steps) / (10.0 + steps))


def rate_factor(config: ClanConfig, step: int, first_step: int) -> float:
    """s(t): what the schedule multiplies every member's rate with in step ``step``, counted over the training.

    Where the end is open, ``wsd`` is the inverse square root of the time, (1 + t/2R)^−½ with rounds of R steps, the
    classical rate that needs no horizon (Robbins and Monro 1951; Vaswani et al. 2017 for transformers).

    Args:
        config: of the clan.
        step: from 0.
        first_step: at which the fan-out had ended; 0 without one. Before it the factor is 1.
    """
    schedule, total = config.schedule, config.total_steps
    if schedule.kind == "constant" or step < first_step:
        return 1.0
    horizon = config.round_length if total is None else max(total - first_step, 1)
    position = step - first_step
    warm_up = schedule.warm_up * horizon
    rising = min(1.0, (position + 1.0) / warm_up) if warm_up >= 1.0 else 1.0
    if total is None:
        return rising if schedule.decay == 0.0 else rising / math.sqrt(1.0 + position / (2.0 * horizon))
    if schedule.kind == "cosine":
        share = min(1.0, max(0.0, position - warm_up) / max(horizon - warm_up, 1.0))
        return rising * (schedule.floor + (1.0 - schedule.floor) * (1.0 + math.cos(math.pi * share)) / 2.0)
    decay = schedule.decay * horizon
    left = (horizon - position) / decay if decay > 0.0 else 1.0
    return rising * (schedule.floor + (1.0 - schedule.floor) * min(1.0, left))
