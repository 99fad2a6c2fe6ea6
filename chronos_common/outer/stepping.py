"""One version's step of the master, within the bounds: the same in a coordinator, in a replay and in one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chronos_common.outer.base import OptimizerState, OuterOptimizer
from chronos_common.outer.multi_timescale import MultiTimescaleOptimizer
from chronos_common.outer.space import OuterSpec, clip
from chronos_common.tensors import Array, Arrays


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a version made of the parameters.

    Attributes:
        params: after it, within the bounds.
        state: of the optimiser.
        moved: parameters that were stepped; the arrays of all others are those of before.
        flushed: levels that were stepped, of an optimiser that has some.
    """

    params: dict[str, Array]
    state: OptimizerState
    moved: frozenset[str]
    flushed: tuple[str, ...] = ()


def step_within(
    optimizer: OuterOptimizer,
    specs: Sequence[OuterSpec],
    params: Arrays,
    gradient: Arrays | None,
    state: OptimizerState,
    *,
    scale: float = 1.0,
) -> Step:
    """x ← clip(x + scale · (step(x) - x)), for the parameters that are stepped at all.

    Args:
        optimizer: steps them.
        specs: of all parameters, for their bounds.
        params: x.
        gradient: of all parameters; ``None`` in a version that brought none: then only levels that are due step.
        state: of the optimiser.
        scale: of the step; 1 takes it as it is.

    Raises:
        PayloadError: the arguments do not match each other, or the gradient is not finite.
    """
    if isinstance(optimizer, MultiTimescaleOptimizer):
        advance = optimizer.advance(params, gradient, state)
        stepped, state = advance.params, advance.state
        moved, flushed = advance.moved, advance.flushed
    elif gradient is None:
        return Step(params=dict(params), state=state, moved=frozenset())
    else:
        stepped, state = optimizer.step(params, gradient, state)
        moved, flushed = frozenset(params), ()
    if scale != 1.0:
        with np.errstate(over="ignore", invalid="ignore"):
            stepped |= {n: np.asarray(params[n] + scale * (stepped[n] - params[n])) for n in moved}
    mine = [spec for spec in specs if spec.name in moved]
    clipped = clip({spec.name: stepped[spec.name] for spec in mine}, mine)
    return Step(params={**params, **clipped}, state=state, moved=moved, flushed=flushed)
