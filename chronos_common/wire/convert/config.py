"""A run's definition: ``RunConfig`` and its parts."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any, Final, Literal, cast

from chronos_common.engine.config import MAX_PARAMETERS, RunConfig, WorkSpec
from chronos_common.errors import ConfigurationError, InvalidRequestError
from chronos_common.outer import OuterSpec
from chronos_common.pb.chronos.v1 import run_pb2
from chronos_common.versions import LeaseConfig, RoundConfig
from chronos_common.wire.convert import scalars
from chronos_common.wire.convert.compression import compression_from_pb, compression_to_pb
from chronos_common.wire.convert.memory import memory_from_pb, memory_to_pb
from chronos_common.wire.convert.optimizer import optimizer_from_pb, optimizer_to_pb

_DTYPES: Final = MappingProxyType({"float32": run_pb2.DTYPE_FLOAT32, "float64": run_pb2.DTYPE_FLOAT64})
_DTYPE_NAMES: Final = MappingProxyType({int(value): name for name, value in _DTYPES.items()})

_SCALES: Final = MappingProxyType({"linear": run_pb2.SCALE_LINEAR, "log": run_pb2.SCALE_LOG})
_SCALE_NAMES: Final = MappingProxyType(
    {int(run_pb2.SCALE_UNSPECIFIED): "linear", **{int(value): name for name, value in _SCALES.items()}}
)

_BOUND_DIGITS: Final = 17
"""Decimal digits that tell any two doubles apart."""


def config_to_pb(config: RunConfig) -> run_pb2.RunConfig:
    """A definition as a message.

    Raises:
        ConfigurationError: it has a setting that the contract does not carry, or a number beyond its range.
    """
    try:
        return run_pb2.RunConfig(
            parameters=[_parameter_to_pb(spec) for spec in config.parameters],
            optimizer=optimizer_to_pb(config.outer),
            rounds=_rounds_to_pb(config.rounds, config.leases),
            work=_work_to_pb(config.work),
            compression=compression_to_pb(config.compression),
            max_versions=config.max_versions,
            memory=None if config.memory is None else memory_to_pb(config.memory),
        )
    except ValueError as error:
        raise ConfigurationError(f"the run's definition cannot be sent to a coordinator: {error}") from error


def config_from_pb(message: run_pb2.RunConfig) -> RunConfig:
    """The definition in a message; what is absent takes its default.

    Raises:
        InvalidRequestError: an unknown enum value or a malformed duration.
        ConfigurationError: values that cannot work.
    """
    if len(message.parameters) > MAX_PARAMETERS:
        raise ConfigurationError(
            f"{len(message.parameters)} outer parameters are more than {MAX_PARAMETERS}; stack them"
        )
    return RunConfig(
        parameters=tuple(_parameter_from_pb(parameter) for parameter in message.parameters),
        outer=optimizer_from_pb(message.optimizer),
        rounds=_rounds_from_pb(message.rounds),
        leases=_leases_from_pb(message.rounds),
        work=_work_from_pb(message.work),
        compression=compression_from_pb(message.compression),
        max_versions=scalars.count_from_pb(message.max_versions, "config.max_versions"),
        memory=memory_from_pb(message.memory) if message.HasField("memory") else None,
    )


def natural_bound(stored: float | None, scale: str) -> float | None:
    """The bound on λ that becomes ``stored`` in the run's coordinates.

    Several doubles have the same rounded logarithm; the one with the fewest digits is what a person wrote,
    so that 1e-6 comes back as 1e-6. Bounds beyond the range of doubles are no bounds.
    """
    if stored is None or scale == "linear":
        return stored
    try:
        natural = math.exp(stored)
    except OverflowError:
        return None
    if natural == 0.0:
        return None
    for digits in range(1, _BOUND_DIGITS + 1):
        candidate = float(f"{natural:.{digits}g}")
        if 0.0 < candidate < math.inf and math.log(candidate) == stored:
            return candidate
    neighbours = (math.nextafter(natural, 0.0), math.nextafter(natural, math.inf))
    return next((value for value in neighbours if value > 0.0 and math.log(value) == stored), natural)


def _parameter_to_pb(spec: OuterSpec) -> run_pb2.OuterParameter:
    return run_pb2.OuterParameter(
        name=spec.name,
        shape=spec.shape,
        dtype=_DTYPES[spec.dtype],
        scale=_SCALES[spec.scale],
        lower=natural_bound(spec.lower, spec.scale),
        upper=natural_bound(spec.upper, spec.scale),
        simplex=spec.simplex,
    )


def _parameter_from_pb(message: run_pb2.OuterParameter) -> OuterSpec:
    scale = scalars.enum_from_pb(_SCALE_NAMES, message.scale, "config.parameters.scale")
    lower = message.lower if message.HasField("lower") else None
    upper = message.upper if message.HasField("upper") else None
    return OuterSpec.from_natural(
        name=message.name,
        shape=tuple(message.shape),
        dtype=scalars.enum_from_pb(_DTYPE_NAMES, message.dtype, "config.parameters.dtype"),
        scale=cast("Literal['linear', 'log']", scale),
        lower=lower,
        upper=upper,
        simplex=message.simplex,
    )


_ROUND_NUMBERS: Final = (
    "max_staleness",
    "max_in_flight",
    "quorum",
    "decay",
    "max_local_work",
    "staleness_rate",
    "trim",
    "participation_window",
)
_ROUND_NAMES: Final = ("staleness_rule", "merge", "weighting", "pacing")


def _rounds_to_pb(rounds: RoundConfig, leases: LeaseConfig) -> run_pb2.RoundPolicy:
    if leases.window != LeaseConfig.window:
        raise ConfigurationError(
            f"a lease window of {leases.window} rounds cannot be sent to a coordinator; leave it at "
            f"{LeaseConfig.window}",
            field="leases.window",
        )
    return run_pb2.RoundPolicy(
        max_staleness=rounds.max_staleness,
        max_in_flight=rounds.max_in_flight,
        quorum=rounds.quorum,
        decay=rounds.decay,
        max_local_work=rounds.max_local_work,
        staleness_rule=rounds.staleness_rule,
        staleness_rate=rounds.staleness_rate,
        merge=rounds.merge,
        trim=rounds.trim,
        weighting=rounds.weighting,
        participation_window=rounds.participation_window,
        grace=scalars.duration_to_pb(rounds.grace_seconds),
        immediate_publish=rounds.immediate_publish,
        once_per_version=rounds.once_per_version,
        pacing=rounds.pacing,
        initial_lease=scalars.duration_to_pb(leases.initial_seconds),
        min_lease=scalars.duration_to_pb(leases.min_seconds),
        max_lease=scalars.duration_to_pb(leases.max_seconds),
    )


def _rounds_from_pb(message: run_pb2.RoundPolicy) -> RoundConfig:
    given: dict[str, Any] = {
        name: getattr(message, name) for name in _ROUND_NUMBERS if message.HasField(name)
    }
    given |= {name: getattr(message, name) for name in _ROUND_NAMES if getattr(message, name)}
    if message.HasField("grace"):
        given["grace_seconds"] = scalars.duration_from_pb(message.grace, "config.rounds.grace")
    return RoundConfig(
        immediate_publish=message.immediate_publish, once_per_version=message.once_per_version, **given
    )


def _leases_from_pb(message: run_pb2.RoundPolicy) -> LeaseConfig:
    seconds: dict[str, Any] = {}
    for name in ("initial", "min", "max"):
        if message.HasField(f"{name}_lease"):
            duration = getattr(message, f"{name}_lease")
            seconds[f"{name}_seconds"] = scalars.duration_from_pb(duration, f"config.rounds.{name}_lease")
    return LeaseConfig(**seconds)


def _work_to_pb(work: WorkSpec) -> run_pb2.WorkSpec:
    return run_pb2.WorkSpec(
        problem=work.problem,
        problem_config_json=work.problem_config,
        estimator=work.estimator,
        estimator_config_json=work.estimator_config,
        inner_steps=work.inner_steps,
        seed=work.seed,
        kind=scalars.kind_to_pb(work.kind),
        evaluate_every=work.evaluate_every,
        cold_start=work.cold_start,
    )


def _work_from_pb(message: run_pb2.WorkSpec) -> WorkSpec:
    if len(message.problem) > scalars.MAX_TEXT_BYTES:
        raise InvalidRequestError(
            "config.work.problem is too long for an import path", field="config.work.problem"
        )
    return WorkSpec(
        problem=message.problem,
        problem_config=message.problem_config_json or WorkSpec.problem_config,
        estimator=message.estimator or WorkSpec.estimator,
        estimator_config=message.estimator_config_json or WorkSpec.estimator_config,
        inner_steps=message.inner_steps or WorkSpec.inner_steps,
        seed=message.seed,
        kind=scalars.kind_from_pb(message.kind),
        evaluate_every=message.evaluate_every,
        cold_start=message.cold_start,
    )
