"""The density guard: does the published value keep up with the master?

A sparse downlink feeds back late: workers differentiate at p, the optimiser steps x, and with Adam or momentum the
lag ‖x - p‖ can hold a run off its optimum, or drive it away. The guard compares the lag with the length of the last
step. When their ratio stays above its limit, it raises the density; when the density is at its maximum, it lowers
the outer rate. When the lag has all but vanished for long, it takes both steps back.

The ratio is made of ordered sums (``chronos_common.tensors.l2_norm``), and the guard is a pure function, so that
every machine decides alike. Even so its outcome, density and rate, belongs into the event that publishes the
version: replay then depends on no decision, and a later release may decide differently.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from chronos_common.compression.arithmetic import subtract
from chronos_common.errors import ConfigurationError, CorruptStateError
from chronos_common.runtime import require_kinds
from chronos_common.tensors import Arrays, l2_norm


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """When the guard acts, and how far it goes.

    Args:
        limit: of ‖x - p‖ / ‖step‖. Top-10 % settles at 2 to 4 while far from the optimum, whether it will
            converge or not; int8 alone below 0.01.
        patience_versions: versions in a row above the limit before it acts.
        max_density: the most that is sent before the rate is lowered, in (0, 1].
        min_rate_scale: the least that the outer rate is multiplied by, in (0, 1].
        calm_ratio: a version is calm below ``calm_ratio · limit``; below 1, and 0 for never stepping back.
        calm_versions: calm versions in a row before a step back.

    Raises:
        ConfigurationError: a number out of its range, or thresholds that cross.
    """

    limit: float = 1.5
    patience_versions: int = 8
    max_density: float = 1.0
    min_rate_scale: float = 1 / 8
    calm_ratio: float = 0.1
    calm_versions: int = 64

    def __post_init__(self) -> None:
        require_kinds(self)
        if not (math.isfinite(self.limit) and self.limit > 0):
            raise ConfigurationError(f"guard.limit is {self.limit}; it must be finite and above 0")
        for field in ("max_density", "min_rate_scale"):
            if not 0 < getattr(self, field) <= 1:
                raise ConfigurationError(f"guard.{field} is {getattr(self, field)}; it must lie in (0, 1]")
        for field in ("patience_versions", "calm_versions"):
            if getattr(self, field) < 1:
                raise ConfigurationError(f"guard.{field} is {getattr(self, field)}; it must be 1 or more")
        if not 0 <= self.calm_ratio < 1:
            raise ConfigurationError(
                f"guard.calm_ratio is {self.calm_ratio}; it must lie in [0, 1): at 1 the thresholds cross, and "
                "the guard would raise and lower the density in turn"
            )


@dataclass(frozen=True, kw_only=True)
class GuardState:
    """What the guard has decided, and how long it has been watching.

    Attributes:
        density: to publish the next version with.
        rate_scale: what the next outer step is multiplied by.
        above: versions in a row above the limit.
        calm: calm versions in a row.
        ratio: the last ‖x - p‖ / ‖step‖; infinity for a lag without a step.
    """

    density: float
    rate_scale: float = 1.0
    above: int = 0
    calm: int = 0
    ratio: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """JSON-able fields; an infinite ratio is ``None``."""
        return {**asdict(self), "ratio": self.ratio if math.isfinite(self.ratio) else None}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> GuardState:
        """Inverse of :meth:`to_json`.

        Raises:
            CorruptStateError: a field is missing, unknown or of the wrong kind.
        """
        try:
            ratio = math.inf if fields["ratio"] is None else float(fields["ratio"])
            return cls(**{**fields, "ratio": ratio})
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptStateError(f"a stored density guard is malformed: {error!r}") from error


def lag_ratio(master_before: Arrays, master: Arrays, published: Arrays) -> float:
    """‖x' - p'‖ / ‖x' - x‖ after a step and its publication; 0 without a lag, infinity without a step."""
    lag = l2_norm(subtract(master, published))
    step = l2_norm(subtract(master, master_before))
    if lag == 0:
        return 0.0
    return lag / step if step > 0 else math.inf


def watch(config: GuardConfig, state: GuardState, ratio: float, *, base_density: float) -> GuardState:
    """The state after one more version.

    Args:
        config: limits.
        state: so far.
        ratio: of :func:`lag_ratio`.
        base_density: the pipeline's own, below which the guard never goes.
    """
    above = state.above + 1 if ratio > config.limit else 0
    calm = state.calm + 1 if ratio < config.calm_ratio * config.limit else 0
    state = replace(state, above=above, calm=calm, ratio=ratio)
    if above >= config.patience_versions:
        return _tightened(config, replace(state, above=0), base_density)
    if calm >= config.calm_versions:
        return _relaxed(replace(state, calm=0), base_density)
    return state


def _tightened(config: GuardConfig, state: GuardState, base_density: float) -> GuardState:
    most = max(config.max_density, base_density)
    if state.density < most:
        return replace(state, density=min(2 * state.density, most))
    return replace(state, rate_scale=max(state.rate_scale / 2, config.min_rate_scale))


def _relaxed(state: GuardState, base_density: float) -> GuardState:
    if state.rate_scale < 1:
        return replace(state, rate_scale=min(2 * state.rate_scale, 1.0))
    return replace(state, density=max(state.density / 2, base_density))
