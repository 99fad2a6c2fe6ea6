"""The outer optimiser of a run's definition, and its timescales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any, Final

from chronos_common.errors import ConfigurationError
from chronos_common.outer import OuterConfig, TimescaleConfig
from chronos_common.pb.chronos.v1 import run_pb2

_OPTIONS: Final[Mapping[str, type]] = MappingProxyType(
    {field.name: type(field.default) for field in fields(OuterConfig) if field.name not in ("name", "levels")}
)
"""Names and types of the optimiser's options; on the wire each is a number, a switch is 0 or 1."""

_ALWAYS: Final = frozenset(
    {"learning_rate", "momentum", "nesterov", "beta1", "beta2", "epsilon", "weight_decay"}
)
"""Options that are sent at their defaults too: every release knows them."""

MAX_LEVELS: Final = 64
_FIELD: Final = "config.optimizer"


def optimizer_to_pb(config: OuterConfig) -> run_pb2.OuterOptimizer:
    """An optimiser as a message. Raises ``ValueError`` for a number beyond its range."""
    given = {name: getattr(config, name) for name in _OPTIONS}
    return run_pb2.OuterOptimizer(
        name=config.name,
        options={
            name: float(value)
            for name, value in given.items()
            if name in _ALWAYS or value != getattr(OuterConfig, name)
        },
        levels=[_level_to_pb(level) for level in config.levels],
    )


def optimizer_from_pb(message: run_pb2.OuterOptimizer) -> OuterConfig:
    """The optimiser in a message; what is absent takes its default.

    Raises:
        ConfigurationError: an unknown option, or values that cannot work.
    """
    if len(message.levels) > MAX_LEVELS:
        raise ConfigurationError(
            f"the outer optimiser has {len(message.levels)} levels; at most {MAX_LEVELS} are allowed",
            field=f"{_FIELD}.levels",
        )
    options = {name: _option(name, value) for name, value in message.options.items()}
    return OuterConfig(
        name=message.name or OuterConfig.name,
        levels=tuple(_level_from_pb(level) for level in message.levels),
        **options,
    )


def _option(name: str, value: float) -> Any:
    if name not in _OPTIONS:
        raise ConfigurationError(
            f"the outer optimiser has no option {name[:40]!r}; its options are {', '.join(_OPTIONS)}",
            field=f"{_FIELD}.options",
        )
    kind = _OPTIONS[name]
    if kind is bool and value not in (0.0, 1.0):
        raise ConfigurationError(
            f"optimiser option {name!r} is {value}; it is a switch, 0 or 1", field=f"{_FIELD}.options"
        )
    if kind is int and not value.is_integer():
        raise ConfigurationError(
            f"optimiser option {name!r} is {value}; it is a whole number", field=f"{_FIELD}.options"
        )
    return kind(value)


def _level_to_pb(level: TimescaleConfig) -> run_pb2.Timescale:
    return run_pb2.Timescale(
        name=level.name,
        parameters=level.parameters,
        period=level.period,
        optimizer=None if level.optimizer is None else optimizer_to_pb(level.optimizer),
        reduction=level.reduction,
        target_change=level.target_change,
        min_period=level.min_period,
        max_period=level.max_period,
    )


def _level_from_pb(message: run_pb2.Timescale) -> TimescaleConfig:
    if message.HasField("optimizer") and message.optimizer.levels:  # no deeper than that, whoever sent it
        raise ConfigurationError(
            f"the optimiser of level {message.name[:40]!r} has levels of its own; leave them out",
            field=f"{_FIELD}.levels",
        )
    return TimescaleConfig(
        name=message.name,
        parameters=tuple(message.parameters),
        period=message.period,
        optimizer=optimizer_from_pb(message.optimizer) if message.HasField("optimizer") else None,
        reduction=message.reduction or TimescaleConfig.reduction,
        target_change=message.target_change,
        min_period=message.min_period or TimescaleConfig.min_period,
        max_period=message.max_period or TimescaleConfig.max_period,
    )
