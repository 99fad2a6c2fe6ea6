"""A run that begins where another one ended: whether it can, and what it takes over.

Two runs have the same *signature* if their outer parameters have the same names, shapes, dtypes, scales and bounds.
Then the published value of one is a legal version 0 of the other. The optimiser's state goes along where both step
with the same optimiser and the same slots; its constants may differ. Nothing of this says that the value is any good
for the new problem: that is for whoever can evaluate it (``chronos_common.engine.trial``, on the command line's side).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

from chronos_common.codec import decode, encode
from chronos_common.engine.config import RunConfig
from chronos_common.engine.events import FINISHED, WarmStarted
from chronos_common.errors import ConfigurationError, CorruptStateError, PayloadError
from chronos_common.outer import OptimizerState, OuterConfig, OuterSpec, clip
from chronos_common.tensors import Array, Arrays, TensorSpec, require_finite, specs_of

if TYPE_CHECKING:
    from chronos_common.engine.state import RunState

AUTO: Final = "auto"
"""In the place of a run: the most similar finished one."""

OUTER_LOSS: Final = "outer_loss"
_VALUES, _SLOT = "values/", "slot/"


@dataclass(frozen=True, kw_only=True)
class WarmStartCandidate:
    """A run that a new one could begin from, or why it could not.

    Args:
        run_id: identity.
        version: its newest.
        outer_loss: there; ``None`` where none was measured.
        similarity: from 0 to 1; 0 where it cannot be used.
        optimizer_state: whether that would go along.
        problem: why it cannot be used; empty where it can.
    """

    run_id: str
    version: int
    outer_loss: float | None
    similarity: float
    optimizer_state: bool
    problem: str = ""


def incompatibility(config: RunConfig, source: RunConfig) -> str:
    """Why a run of ``config`` cannot begin from one of ``source``, naming the first difference; empty if it can."""
    wanted, found = ({spec.name: spec for spec in c.parameters} for c in (config, source))
    missing, more = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or more:
        parts = [f"it lacks {', '.join(missing)}"] * bool(missing) + [f"it has {', '.join(more)}"] * bool(
            more
        )
        return f"its outer parameters are others: {'; '.join(parts)}"
    for name in sorted(wanted):
        for field in fields(OuterSpec):
            ours, theirs = getattr(wanted[name], field.name), getattr(found[name], field.name)
            if ours != theirs:
                return f"outer parameter {name!r} has {field.name} {theirs}, here it is {ours}"
    return ""


def similarity(config: RunConfig, source: RunConfig) -> float:
    """How alike two runs of the same signature are, from 0 to 1: problem first, then its arguments, then the work."""
    ours, theirs = config.work, source.work
    score = 0.25
    if ours.problem == theirs.problem:
        score += 0.5
        score += 0.15 * (ours.problem_config == theirs.problem_config)
    return (
        score + 0.05 * (ours.estimator == theirs.estimator) + 0.05 * (ours.inner_steps == theirs.inner_steps)
    )


def candidate(
    config: RunConfig, run_id: str, state: RunState, metrics: Mapping[str, float]
) -> WarmStartCandidate:
    """What a run offers to a new one of ``config``."""
    problem = incompatibility(config, state.config)
    if not problem and not state.version:
        problem = "it has published no version"
    return WarmStartCandidate(
        run_id=run_id,
        version=state.version,
        outer_loss=metrics.get(OUTER_LOSS),
        similarity=0.0 if problem else similarity(config, state.config),
        optimizer_state=not problem and _same_optimizer(config, state.config),
        problem=problem,
    )


def best_first(candidates: Iterable[tuple[float, WarmStartCandidate]]) -> list[WarmStartCandidate]:
    """Those that can be used: the most similar first, of equals that of the lower loss, then the later one.

    Args:
        candidates: each with the time of its creation.
    """
    usable = [(time, found) for time, found in candidates if not found.problem]
    worst = float("inf")
    usable.sort(key=lambda item: -item[0])
    usable.sort(
        key=lambda item: (-item[1].similarity, worst if item[1].outer_loss is None else item[1].outer_loss)
    )
    return [found for _, found in usable]


def to_warm_started(config: RunConfig, run_id: str, source: RunState, *, keep_optimizer: bool) -> WarmStarted:
    """The journal's record of a beginning at the newest version of ``source``.

    Raises:
        ConfigurationError: that run cannot be used; the message says why.
    """
    problem = incompatibility(config, source.config)
    if problem:
        raise ConfigurationError(
            f"run {run_id!r} cannot warm-start this one: {problem}; name another run, or start cold",
            field="warm_start",
        )
    arrays = {f"{_VALUES}{name}": value for name, value in source.published.items()}
    memory = OptimizerState()
    if keep_optimizer and _same_optimizer(config, source.config):
        memory = source.optimizer_state
    for slot, values in memory.slots.items():
        arrays |= {f"{_SLOT}{slot}/{name}": value for name, value in values.items()}
    return WarmStarted(
        run_id=run_id,
        version=source.version,
        steps=memory.steps,
        scalars=dict(memory.scalars),
        payload=encode("identity", arrays),
    )


def taken_over(state: RunState, event: WarmStarted) -> tuple[dict[str, Array], OptimizerState]:
    """Version 0 and the optimiser's state of a run that begins with this record.

    Raises:
        CorruptStateError: it is not the run's beginning, or does not fit it.
    """
    if state.version or state.rounds.chains or state.rounds.buffer or state.warm_from:
        raise CorruptStateError("a run is warm-started after it has begun")
    blank = state.optimizer_state
    specs = state.config.specs
    try:
        arrays = decode(event.payload, specs=_specs(specs, blank.slots if event.steps else {}))
        require_finite(arrays, "the values of the warm start")
        values = {spec.name: arrays[_VALUES + spec.name] for spec in specs}
        if not _within(values, state.config.parameters):
            raise CorruptStateError("the values of a warm start lie outside their bounds")
        if not event.steps:
            return values, blank
        if event.scalars.keys() != blank.scalars.keys():
            raise CorruptStateError("the optimiser's state of a warm start is that of another optimiser")
        found = {
            slot: {name: arrays[f"{_SLOT}{slot}/{name}"] for name in members}
            for slot, members in blank.slots.items()
        }
        return values, OptimizerState(slots=found, scalars=event.scalars, steps=event.steps)
    except PayloadError as error:
        raise CorruptStateError(f"a warm start is damaged: {error}") from error


def _within(values: Mapping[str, Array], parameters: tuple[OuterSpec, ...]) -> bool:
    clipped = clip(values, parameters)
    return all((clipped[name] == value).all() for name, value in values.items())


def _specs(specs: tuple[TensorSpec, ...], slots: Mapping[str, Arrays]) -> tuple[TensorSpec, ...]:
    """Of what a warm start holds: the values, and of every slot the parameters that it has."""
    return (
        *(replace(spec, name=_VALUES + spec.name) for spec in specs),
        *(
            replace(spec, name=f"{_SLOT}{slot}/{spec.name}")
            for slot, members in sorted(slots.items())
            for spec in specs_of(members)
        ),
    )


def _same_optimizer(config: RunConfig, source: RunConfig) -> bool:
    """Whether the state of one goes on in the other: constants may differ, but for those of levels."""

    def kind(outer: OuterConfig) -> tuple[Any, ...]:
        return outer.name, outer.momentum > 0.0, outer.nesterov, outer.levels

    return kind(config.outer) == kind(source.outer)


def is_source(status: str) -> bool:
    """Whether ``auto`` looks at a run of this status: one that was stopped may have been stopped for a reason."""
    return status == FINISHED
