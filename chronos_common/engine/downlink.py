"""From a pseudo-gradient to the next version: the master steps, and what is published of it follows.

    x ← clip(x + s · (step(x) - x))         s, the guard's rate scale, is 1 unless a downlink lags
    p ← clip(p + decode(encode(x - p)))     or p ← x, where that is smaller

:func:`step_master` is the same in a live coordinator and in a replay. :func:`decide_version` is a decision: which
values travel, and what the guard makes of it; the journal records both, and a replay applies them with
``chronos_common.compression.apply_version``.
"""

from __future__ import annotations

from collections.abc import Sequence

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
from chronos_common.outer import OptimizerState, OuterOptimizer, OuterSpec, clip
from chronos_common.tensors import Array, Arrays


def first_guard(config: CompressionConfig) -> GuardState | None:
    """The guard before version 1; ``None`` where the downlink leaves nothing out."""
    return None if config.down.lossless else GuardState(density=config.down.density)


def step_master(
    optimizer: OuterOptimizer,
    specs: Sequence[OuterSpec],
    master: Arrays,
    gradient: Arrays,
    memory: OptimizerState,
    *,
    guard: GuardState | None,
    version: int,
) -> tuple[dict[str, Array], OptimizerState]:
    """The master and the optimiser's state of ``version``.

    Raises:
        DivergenceError: the step left the finite numbers.
    """
    stepped, memory = optimizer.step(master, gradient, memory)
    scale = 1.0 if guard is None else guard.rate_scale
    if scale != 1.0:
        with np.errstate(over="ignore", invalid="ignore"):
            stepped = {
                name: np.asarray(master[name] + scale * (value - master[name]))
                for name, value in stepped.items()
            }
    clipped = clip(stepped, specs)
    _require_finite_step({**clipped, **memory.arrays()}, version)
    return clipped, memory


def decide_version(
    config: CompressionConfig,
    specs: Sequence[OuterSpec],
    *,
    before: Arrays,
    master: Arrays,
    published: Arrays,
    guard: GuardState | None,
) -> tuple[NextVersion, GuardState | None]:
    """What is published of the master, and what the guard makes of it.

    Args:
        config: the run's compression.
        specs: the outer parameters, for their bounds.
        before: the master before its step.
        master: the master.
        published: the version before.
        guard: what it has decided so far.
    """
    pipeline = Pipeline(config.down, density=None if guard is None else guard.density)
    version = next_version(pipeline, master, published, lambda arrays: clip(arrays, specs))
    if guard is None:
        return version, None
    ratio = lag_ratio(before, master, version.published)
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
