"""Levels of parameters, each with its own period and optimiser, as one outer optimiser.

Of a level with period C, at version i, with the gradient g_i at version i - 1 merged:

    G ← G + g_i
    if i ≡ 0 (mod C):   x ← step(x, G),  G ← 0        otherwise x stays as it is, to the bit

so that G is the sum over the half-open interval (i - C, i]. With gradient descent that is the update rule of a
continuum memory system,

    θ_{i+1} = θ_i - Σ_{t in (i-C, i]} η·∇L(θ_t; x_t)   if i ≡ 0 (mod C),   else θ_i

Parameters that no level names are the level ``"base"``: they step at every version. A version made of skips ticks the
clocks and adds nothing; a level that gathered nothing in its whole period does not step.

Source: Behrouz, Razaviyayn, Zhong and Mirrokni, "Nested Learning: the illusion of deep learning architectures",
NeurIPS 2025, the equation of the continuum memory system. Adaptive periods are Chronos' own (``clock.adapted``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final

import numpy as np

from chronos_common.errors import ConfigurationError, CorruptStateError
from chronos_common.outer.base import OptimizerState, OuterOptimizer, require_like_parameters, zeros_like
from chronos_common.outer.clock import LevelClock, adapted
from chronos_common.outer.config import BASE_LEVEL, OuterConfig, TimescaleConfig
from chronos_common.outer.table import single_optimizer
from chronos_common.tensors import Array, Arrays, l2_norm

_SEPARATOR: Final = "."
_GATHERED: Final = "gathered"
_CLOCK: Final = ("period", "ticks", "gathered_ticks", "flushes")
_FLOOR_RMS: Final = 1e-3
"""Parameters smaller than this count as so large when a change is measured."""


@dataclass(frozen=True, kw_only=True)
class Advance:
    """What one version did.

    Attributes:
        params: after it; arrays of levels that did not step are those of before.
        state: after it.
        flushed: levels that stepped, in their order.
        moved: names of their parameters.
    """

    params: dict[str, Array]
    state: OptimizerState
    flushed: tuple[str, ...]
    moved: frozenset[str]


class MultiTimescaleOptimizer:
    """An :class:`~chronos_common.outer.OuterOptimizer` over named parameters.

    Args:
        levels: the timescales, in order: a parameter belongs to the first whose patterns match its name.
        base: steps the parameters that belong to none, at every version, and gives the levels without an optimiser
            of their own theirs; default Adam at rate 0.1.

    Raises:
        ConfigurationError: an unknown optimiser, or levels that cannot work together.
    """

    def __init__(self, levels: Sequence[TimescaleConfig], *, base: OuterConfig | None = None) -> None:
        whole = replace(OuterConfig() if base is None else base, levels=tuple(levels))
        self._config = whole
        plain = replace(whole, levels=())
        everything = TimescaleConfig(name="everything", parameters=("*",), period=1)
        self._levels: dict[str, TimescaleConfig] = {level.name: level for level in whole.levels}
        self._levels[BASE_LEVEL] = everything
        self._optimizers: dict[str, OuterOptimizer] = {
            name: single_optimizer(level.optimizer or plain) for name, level in self._levels.items()
        }
        self._groups: tuple[frozenset[str], dict[str, tuple[str, ...]]] | None = None

    def groups(self, names: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """The parameters of every level that has some, each in ascending order.

        Raises:
            ConfigurationError: a level whose patterns match no parameter.
        """
        wanted = frozenset(names)
        if self._groups is None or self._groups[0] != wanted:
            self._groups = wanted, self._grouped(wanted)
        return self._groups[1]

    def level_of(self, names: Iterable[str]) -> dict[str, str]:
        """The level of every parameter."""
        return {name: level for level, members in self.groups(names).items() for name in members}

    def optimizer_of(self, level: str) -> OuterOptimizer:
        """What steps a level."""
        return self._optimizers[level]

    def period_of(self, level: str, state: OptimizerState) -> int:
        """The period of the interval in which a level stands, in versions."""
        return self._clock(level, state).period

    def init(self, params: Arrays) -> OptimizerState:
        """The state at version 0.

        Raises:
            ConfigurationError: as :meth:`groups`.
        """
        slots: dict[str, Arrays] = {}
        scalars: dict[str, float] = {}
        for level, names in self.groups(params).items():
            mine = {name: params[name] for name in names}
            _store(level, self._optimizers[level].init(mine), slots, scalars)
            if self._gathers(level):
                slots[_key(level, _GATHERED)] = zeros_like(mine)
            _store_clock(level, LevelClock(period=self._levels[level].period), scalars)
        return OptimizerState(slots=slots, scalars=scalars)

    def step(
        self, params: Arrays, gradient: Arrays, state: OptimizerState
    ) -> tuple[dict[str, Array], OptimizerState]:
        """See :class:`~chronos_common.outer.OuterOptimizer`; ``state.steps`` counts versions."""
        advance = self.advance(params, gradient, state)
        return advance.params, advance.state

    def advance(self, params: Arrays, gradient: Arrays | None, state: OptimizerState) -> Advance:
        """One version.

        Args:
            params: x.
            gradient: of all parameters; ``None`` when the version brought none.
            state: after the version before.

        Raises:
            PayloadError: the arguments do not match each other, or the gradient is not finite.
            CorruptStateError: the state is that of other levels.
        """
        if gradient is not None:
            require_like_parameters(params, gradient)
        after: dict[str, Array] = dict(params)
        slots: dict[str, Arrays] = {}
        scalars: dict[str, float] = {}
        flushed: list[str] = []
        moved: set[str] = set()
        for level, names in self.groups(params).items():
            part = None if gradient is None else {name: gradient[name] for name in names}
            stepped = self._level(level, {name: params[name] for name in names}, part, state, slots, scalars)
            if stepped is not None:
                after |= stepped
                flushed.append(level)
                moved |= set(names)
        next_state = OptimizerState(slots=slots, scalars=scalars, steps=state.steps + 1)
        return Advance(params=after, state=next_state, flushed=tuple(flushed), moved=frozenset(moved))

    # --- one level -------------------------------------------------------------------------------------

    def _level(
        self,
        level: str,
        params: Arrays,
        gradient: Arrays | None,
        state: OptimizerState,
        slots: dict[str, Arrays],
        scalars: dict[str, float],
    ) -> dict[str, Array] | None:
        """Steps the level if it is due, and writes its next state into ``slots`` and ``scalars``."""
        config = self._levels[level]
        clock = self._clock(level, state).tick(gradient=gradient is not None)
        memory = _nested(level, state, clock.flushes)
        gathers = self._gathers(level)
        total = self._gathered(level, gradient, state) if gathers else gradient
        stepped: dict[str, Array] | None = None
        if clock.due:
            period = clock.period
            if clock.gathered and total is not None:
                stepped, memory = self._optimizers[level].step(params, _reduced(config, total, clock), memory)
                period = _next_period(config, clock.period, params, stepped)
            clock = clock.next_interval(period)
            total = zeros_like(params)
        _store(level, memory, slots, scalars)
        if gathers and total is not None:
            slots[_key(level, _GATHERED)] = total
        _store_clock(level, clock, scalars)
        return stepped

    def _gathers(self, level: str) -> bool:
        """Whether the level has to keep gradients from one version to the next."""
        return self._levels[level].period > 1 or self._levels[level].adaptive

    def _gathered(self, level: str, gradient: Arrays | None, state: OptimizerState) -> Arrays:
        """What the level holds of its interval, with the newest gradient."""
        try:
            held = state.slots[_key(level, _GATHERED)]
        except KeyError as error:
            raise CorruptStateError(
                f"the optimiser's state holds no gathered gradients of {level!r}"
            ) from error
        if gradient is None:
            return held
        with np.errstate(over="ignore", invalid="ignore"):
            return {name: np.asarray(held[name] + gradient[name]) for name in sorted(gradient)}

    def _clock(self, level: str, state: OptimizerState) -> LevelClock:
        try:
            period, ticks, gathered, flushes = (int(state.scalars[_key(level, name)]) for name in _CLOCK)
        except KeyError as error:
            raise CorruptStateError(f"the optimiser's state holds no clock of level {level!r}") from error
        return LevelClock(period=period, ticks=ticks, gathered=gathered, flushes=flushes)

    def _grouped(self, names: frozenset[str]) -> dict[str, tuple[str, ...]]:
        left = sorted(names)
        groups: dict[str, tuple[str, ...]] = {}
        for level, config in self._levels.items():
            mine = tuple(n for n in left if any(fnmatchcase(n, pattern) for pattern in config.parameters))
            if not mine and level != BASE_LEVEL:
                raise ConfigurationError(
                    f"level {level!r} has no parameter: none that an earlier level left matches "
                    f"{', '.join(config.parameters)}; the parameters are {', '.join(sorted(names)[:20])}"
                )
            if mine:
                groups[level] = mine
            left = [name for name in left if name not in set(mine)]
        return groups


def _reduced(config: TimescaleConfig, total: Arrays, clock: LevelClock) -> Arrays:
    if config.reduction == "sum":
        return total
    return {name: np.asarray(array / clock.gathered) for name, array in total.items()}


def _next_period(config: TimescaleConfig, period: int, before: Arrays, after: Arrays) -> int:
    if not config.adaptive:
        return period
    with np.errstate(over="ignore", invalid="ignore"):
        step = l2_norm({name: np.asarray(after[name] - before[name]) for name in before})
    floor = _FLOOR_RMS * math.sqrt(sum(array.size for array in before.values()))
    change = step / max(l2_norm(before), floor) if step else 0.0
    return adapted(period, change, config.target_change, lowest=config.min_period, highest=config.max_period)


# --- the state of a level inside of the state of all ------------------------------------------------------


def _key(level: str, name: str) -> str:
    return f"{level}{_SEPARATOR}{name}"


def _store(level: str, memory: OptimizerState, slots: dict[str, Arrays], scalars: dict[str, float]) -> None:
    slots |= {_key(level, slot): arrays for slot, arrays in memory.slots.items()}
    scalars |= {_key(level, name): value for name, value in memory.scalars.items()}


def _store_clock(level: str, clock: LevelClock, scalars: dict[str, float]) -> None:
    shown = (clock.period, clock.ticks, clock.gathered, clock.flushes)
    scalars |= {_key(level, name): float(value) for name, value in zip(_CLOCK, shown, strict=True)}


def _nested(level: str, state: OptimizerState, flushes: int) -> OptimizerState:
    prefix = _key(level, "")
    slots = {k.removeprefix(prefix): v for k, v in state.slots.items() if k.startswith(prefix)}
    scalars = {k.removeprefix(prefix): v for k, v in state.scalars.items() if k.startswith(prefix)}
    slots.pop(_GATHERED, None)
    for name in _CLOCK:
        scalars.pop(name, None)
    return OptimizerState(slots=slots, scalars=scalars, steps=flushes)
