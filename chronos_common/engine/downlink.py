"""From a pseudo-gradient to the next version: the master steps, and what is published of it follows.

    x ← clip(x + s · (step(x) - x))         s, the guard's rate scale, is 1 unless a downlink lags
    p ← clip(p + decode(encode(x - p)))     or p ← x, where that is smaller

:func:`step_master` is the same in a live coordinator and in a replay. :func:`decide_version` is a decision: which
values travel, and what the guard makes of it; the journal records both, and a replay applies them with
``chronos_common.compression.apply_version``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from chronos_common.compression import (
    GuardState,
    NextVersion,
    Pipeline,
    lag_ratio,
    next_version,
    watch,
)
from chronos_common.engine.compression import CompressionConfig
from chronos_common.errors import CorruptStateError, DivergenceError
from chronos_common.outer import (
    MultiTimescaleOptimizer,
    OptimizerState,
    OuterOptimizer,
    OuterSpec,
    Step,
    clip,
    step_within,
)
from chronos_common.tensors import Arrays


def first_guard(config: CompressionConfig) -> GuardState | None:
    """The guard before version 1; ``None`` where the downlink leaves nothing out."""
    return None if config.down.lossless else GuardState(density=config.down.density)


def step_master(
    optimizer: OuterOptimizer,
    specs: Sequence[OuterSpec],
    master: Arrays,
    gradient: Arrays | None,
    memory: OptimizerState,
    *,
    guard: GuardState | None,
    version: int,
) -> Step:
    """The master and the optimiser's state of ``version``.

    Args:
        optimizer: steps it.
        specs: the outer parameters, for their bounds.
        master: x.
        gradient: the merged update; ``None`` after a round of skips.
        memory: of the optimiser.
        guard: of the version before, for its rate scale.
        version: that is made, for errors.

    Raises:
        DivergenceError: the update or the step left the finite numbers.
    """
    if gradient is not None:
        _require_finite_step(gradient, version)
    scale = 1.0 if guard is None else guard.rate_scale
    step = step_within(optimizer, specs, master, gradient, memory, scale=scale)
    _require_finite_step({**step.params, **step.state.arrays()}, version)
    return step


def shares_of(optimizer: OuterOptimizer, memory: OptimizerState, step: Step) -> dict[str, float] | None:
    """What each parameter may send of its delta, as a multiple of the pipeline's density; ``None`` is 1 for all.

    A level of period C sends at its flushes alone, and C times as much then: as many bytes in a period as a
    parameter of period 1.

    Args:
        optimizer: the run's.
        memory: its state before the step.
        step: of this version.
    """
    if not isinstance(optimizer, MultiTimescaleOptimizer):
        return None
    shares = dict.fromkeys(step.params, 0.0)
    groups = optimizer.groups(step.params)
    for level in step.flushed:
        shares |= dict.fromkeys(groups[level], float(optimizer.period_of(level, memory)))
    return shares


def decide_version(
    config: CompressionConfig,
    specs: Sequence[OuterSpec],
    *,
    before: Arrays,
    master: Arrays,
    published: Arrays,
    guard: GuardState | None,
    shares: Mapping[str, float] | None = None,
) -> tuple[NextVersion, GuardState | None]:
    """What is published of the master, and what the guard makes of it.

    Args:
        config: the run's compression.
        specs: the outer parameters, for their bounds.
        before: the master before its step.
        master: the master.
        published: the version before.
        guard: what it has decided so far.
        shares: as :func:`shares_of` says.
    """
    pipeline = Pipeline(config.down, density=None if guard is None else guard.density)
    version = next_version(pipeline, master, published, lambda arrays: clip(arrays, specs), shares)
    if guard is None:
        return version, None
    # What does not step cannot follow: it would look like a lag without end.
    moved = [name for name in master if shares is None or shares[name] > 0]
    ratio = lag_ratio(
        *({name: arrays[name] for name in moved} for arrays in (before, master, version.published))
    )
    return version, watch(config.guard, guard, ratio, base_density=config.down.density)


def require_guard(config: CompressionConfig, guard: GuardState | None) -> None:
    """Holds a recorded guard against the run that it belongs to.

    Raises:
        CorruptStateError: the run has none, or lacks one, or it holds what no guard decides.
    """
    if (guard is None) != config.down.lossless:
        raise CorruptStateError("a recorded density guard does not belong to a run with this downlink")
    if guard is not None:
        fractions = 0.0 < guard.density <= 1.0 and 0.0 < guard.rate_scale <= 1.0
        if not (fractions and guard.above >= 0 and guard.calm >= 0 and guard.ratio >= 0.0):
            raise CorruptStateError("a recorded density guard holds numbers out of their range")


def _require_finite_step(values: Arrays, version: int) -> None:
    broken = [name for name, value in values.items() if not np.isfinite(value).all()]
    if broken:
        raise DivergenceError(
            f"the outer step to version {version} made {', '.join(broken)} not finite; lower the outer learning "
            "rate or set bounds",
            version=version,
        )
