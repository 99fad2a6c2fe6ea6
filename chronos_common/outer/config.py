"""What a user chooses about the outer optimiser, and about the timescales of its levels."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from chronos_common.errors import ConfigurationError
from chronos_common.runtime import require_kinds

MIN_EPSILON: Final = 1e-30
"""Anything much smaller is zero in float32, and 0/0 would follow."""

BASE_LEVEL: Final = "base"
"""The level of every parameter that no timescale names: it steps at every version."""

PERIODS: Final[Mapping[str, int]] = {"fast": 1, "medium": 10, "slow": 100}
"""Periods of levels that are given by one of these names alone, in versions."""

MAX_PERIOD: Final = 1_000_000
MAX_LEVELS: Final = 64
_LEVEL_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_FIRST_RELEASE: Final = frozenset(
    {"name", "learning_rate", "momentum", "nesterov", "beta1", "beta2", "epsilon", "weight_decay"}
)
"""Fields that are written even at their defaults: journals and their hashes stay what they were."""


@dataclass(frozen=True, kw_only=True)
class OuterConfig:
    """An outer optimiser by name, and its constants; those that it does not use are ignored.

    Args:
        name: a key of ``OPTIMIZERS``.
        learning_rate: step size in stored coordinates, at least 0 (0 leaves every parameter as it is).
        momentum: decay of the velocity of ``sgd`` and ``delta_momentum``, in [0, 1).
        nesterov: look ahead along the velocity of ``sgd``; needs ``momentum > 0``.
        beta1: decay of the mean of gradients (Adam, AdamW, M3's fast momentum), in [0, 1).
        beta2: decay of the mean of squared gradients (Adam, AdamW, M3), in [0, 1).
        epsilon: added to the denominator of Adam, AdamW and M3, at least 1e-30.
        weight_decay: ``weight_decay * parameter`` is added to the gradient before anything else, at least 0;
            in stored coordinates, so that a logarithmic parameter is pulled towards 1. ``adamw`` and ``m3`` take
            ``learning_rate * weight_decay * parameter`` off the parameter instead; ``exponentiated_gradient`` has
            no use for it.
        beta3: decay of M3's slow momentum, in [0, 1).
        slow_period: steps between two updates of M3's slow momentum, at least 1.
        slow_share: weight of M3's slow momentum beside the fast one, at least 0.
        newton_schulz_steps: iterations that make M3's momenta orthogonal, at least 0.
        delta_rate: share of ``delta_momentum``'s velocity along the new gradient that is forgotten, in [0, 1].
        levels: timescales of some of the parameters; the others step at every version with the optimiser above.

    Raises:
        ConfigurationError: a value out of its range.
    """

    name: str = "adam"
    learning_rate: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    beta3: float = 0.9
    slow_period: int = 10
    slow_share: float = 0.5
    newton_schulz_steps: int = 5
    delta_rate: float = 0.5
    levels: tuple[TimescaleConfig, ...] = ()

    def __post_init__(self) -> None:
        require_kinds(self)
        for field in ("learning_rate", "weight_decay", "slow_share", "newton_schulz_steps"):
            self._require(field, "at least 0", getattr(self, field) >= 0)
        self._require("epsilon", f"at least {MIN_EPSILON}", self.epsilon >= MIN_EPSILON)
        for field in ("momentum", "beta1", "beta2", "beta3"):
            self._require(field, "in [0, 1)", 0 <= getattr(self, field) < 1)
        self._require("delta_rate", "in [0, 1]", 0 <= self.delta_rate <= 1)
        self._require("slow_period", f"1 to {MAX_PERIOD}", 1 <= self.slow_period <= MAX_PERIOD)
        self._require("newton_schulz_steps", "at most 100", self.newton_schulz_steps <= 100)
        if self.nesterov and self.momentum == 0:
            raise ConfigurationError("outer.nesterov needs outer.momentum > 0; set it, for example to 0.9")
        self._require_levels()

    def _require(self, field: str, wanted: str, holds: bool) -> None:
        value = getattr(self, field)
        if not (holds and math.isfinite(value)):
            raise ConfigurationError(f"outer.{field} is {value}; it must be finite and {wanted}")

    def _require_levels(self) -> None:
        levels: Any = self.levels
        if not isinstance(levels, tuple) or not all(isinstance(level, TimescaleConfig) for level in levels):
            raise ConfigurationError("outer.levels must be a tuple of TimescaleConfig")
        if len(self.levels) > MAX_LEVELS:
            raise ConfigurationError(f"outer.levels has {len(self.levels)} levels; at most {MAX_LEVELS}")
        names = [level.name for level in self.levels]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigurationError(f"outer.levels names a level twice: {', '.join(twice)}")

    def to_json(self) -> dict[str, Any]:
        """JSON-able fields; what the first release did not have is left out at its default."""
        plain = asdict(self)
        defaults = asdict(_DEFAULT)
        written = {n: v for n, v in plain.items() if n in _FIRST_RELEASE or v != defaults[n]}
        if self.levels:
            written["levels"] = [level.to_json() for level in self.levels]
        return written

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> OuterConfig:
        """Inverse of :meth:`to_json`; also what a user writes into a file.

        Raises:
            ConfigurationError: an unknown field, or a value out of its range.
        """
        if not isinstance(values, Mapping):
            raise ConfigurationError("outer must be a table of settings")
        given = dict(values)
        _require_known(given, cls, "outer")
        levels = given.pop("levels", ())
        if not isinstance(levels, list | tuple):
            raise ConfigurationError("outer.levels must be a list of tables")
        return cls(**given, levels=tuple(TimescaleConfig.from_json(level) for level in levels))


@dataclass(frozen=True, kw_only=True)
class TimescaleConfig:
    """One level: parameters that gather their gradients over a period, and step when it is over.

    Args:
        name: of the level, 1 to 32 letters, digits, ``_`` and ``-``; ``"base"`` is taken.
        parameters: shell patterns of parameter names, such as ``"blocks.0.*"``. A parameter belongs to the first
            level that matches it.
        period: C, the versions between two flushes; the first release of what was gathered is at version C. By
            default 1, 10 or 100 where the name is ``"fast"``, ``"medium"`` or ``"slow"``, otherwise 10.
        optimizer: steps the level at its flushes; default the run's own, with the level's own memory.
        reduction: what the optimiser is given of the period's gradients, their ``"sum"`` (as in the paper) or
            their ``"mean"``.
        target_change: 0 keeps the period. Above 0 the period follows the change that a flush makes,
            ‖Δu‖ / max(‖u‖, 0.001·√n): more than twice the target halves the period, less than half doubles it.
        min_period: of an adaptive level.
        max_period: of an adaptive level.

    Raises:
        ConfigurationError: a value out of its range.
    """

    name: str
    parameters: tuple[str, ...]
    period: int = 0
    optimizer: OuterConfig | None = None
    reduction: str = "sum"
    target_change: float = 0.0
    min_period: int = 1
    max_period: int = 1000

    def __post_init__(self) -> None:
        require_kinds(self)
        if not _LEVEL_NAME.fullmatch(self.name) or self.name == BASE_LEVEL:
            raise ConfigurationError(
                f"a level is named {self.name[:40]!r}; use 1 to 32 letters, digits, _ and -, and not "
                f"{BASE_LEVEL!r}, which is the level of parameters without one"
            )
        self._require_parameters()
        if self.period == 0:
            object.__setattr__(self, "period", PERIODS.get(self.name, 10))
        for field in ("period", "min_period", "max_period"):
            if not 1 <= getattr(self, field) <= MAX_PERIOD:
                raise self._error(field, f"1 to {MAX_PERIOD} versions")
        if self.reduction not in ("sum", "mean"):
            raise self._error("reduction", "'sum' or 'mean'")
        if not (math.isfinite(self.target_change) and self.target_change >= 0):
            raise self._error("target_change", "finite and at least 0")
        if self.adaptive and not self.min_period <= self.period <= self.max_period:
            raise self._error("period", "between min_period and max_period")
        if not isinstance(self.optimizer, OuterConfig | None):
            raise self._error("optimizer", "an OuterConfig, or left out")
        if self.optimizer is not None and self.optimizer.levels:
            raise self._error("optimizer", "without levels of its own")

    def _require_parameters(self) -> None:
        patterns: Any = self.parameters
        sound = isinstance(patterns, tuple) and patterns and all(isinstance(p, str) and p for p in patterns)
        if not sound:
            raise ConfigurationError(
                f"level {self.name!r} needs patterns of parameter names, such as ('body.*',)"
            )

    @property
    def adaptive(self) -> bool:
        """Whether the period follows the measured change."""
        return self.target_change > 0

    def _error(self, field: str, wanted: str) -> ConfigurationError:
        return ConfigurationError(
            f"level {self.name!r}: {field} is {getattr(self, field)!r}; it must be {wanted}"
        )

    def to_json(self) -> dict[str, Any]:
        """JSON-able fields."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        optimizer = None if self.optimizer is None else self.optimizer.to_json()
        return plain | {"parameters": list(self.parameters), "optimizer": optimizer}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TimescaleConfig:
        """Inverse of :meth:`to_json`; also what a user writes into a file.

        Raises:
            ConfigurationError: an unknown or missing field, or a value out of its range.
        """
        if not isinstance(values, Mapping):
            raise ConfigurationError("a level of outer.levels must be a table of settings")
        given = dict(values)
        _require_known(given, cls, "a level")
        for name in ("name", "parameters"):
            if name not in given:
                raise ConfigurationError(f"a level of outer.levels has no {name}")
        patterns = given.pop("parameters")
        optimizer = given.pop("optimizer", None)
        return cls(
            **given,
            parameters=tuple([patterns] if isinstance(patterns, str) else patterns)
            if isinstance(patterns, str | list | tuple)
            else patterns,
            optimizer=OuterConfig.from_json(optimizer) if isinstance(optimizer, Mapping) else optimizer,
        )


def _require_known(given: Mapping[str, Any], kind: type[Any], what: str) -> None:
    known = [field.name for field in fields(kind)]
    unknown = sorted(given.keys() - set(known))
    if unknown:
        raise ConfigurationError(f"{what} has no setting {unknown[0]!r}; its settings are {', '.join(known)}")


_DEFAULT: Final = OuterConfig()
