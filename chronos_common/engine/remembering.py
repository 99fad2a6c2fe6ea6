"""What a run's memory takes from its journal: what was measured at each version, and where it failed.

An entry is (p, hypergradient, mean outer loss) of those commits of a round that were computed at the same version. For
those that are behind, λ of the newest versions is kept, as many as a commit may be stale. A skip of a worker whose
inner problem diverged says so by the metric ``diverged``, and makes the λ that it worked at a place that failed.
What users know from elsewhere comes as :class:`~chronos_common.engine.events.Remembered`. All of it is journalled
already, so that a replay remembers the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from chronos_common.codec import decode, encode
from chronos_common.engine.events import DIVERGED, CommitRecord, Remembered
from chronos_common.engine.merge import merge
from chronos_common.errors import CorruptStateError, InvalidRequestError, MemoryOffError, PayloadError
from chronos_common.outer import OuterSpec, Step, clip
from chronos_common.outer.memory import ContinuumMemory
from chronos_common.tensors import Arrays, TensorSpec
from chronos_common.versions import RoundConfig, RoundState

OUTER_LOSS: Final = "outer_loss"

STORED: Final = "stored"
FORBIDDEN: Final = "forbidden"
"""What a :class:`Remembered` may be."""

_VALUES, _GRADIENT = "values/", "gradient/"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The outer loss that a commit of the open round brought, and the version it was computed at."""

    base: int
    loss: float


def observe_commit(
    memory: ContinuumMemory,
    losses: tuple[Measured, ...],
    published: Arrays,
    event: CommitRecord,
    version: int,
) -> tuple[ContinuumMemory, tuple[Measured, ...]]:
    """The memory and the losses of the open round after an accepted commit, with ``version`` the newest."""
    if event.payload is not None:
        if OUTER_LOSS not in event.metrics:
            return memory, losses
        return memory, (*losses, Measured(base=event.base, loss=event.metrics[OUTER_LOSS]))
    at = published if event.base == version else memory.values_of(event.base)
    if at is None or not event.metrics.get(DIVERGED, 0.0) > 0.0:
        return memory, losses
    reason = f"the inner problem of {event.worker_id!r} diverged"
    return memory.forbid(at, version=event.base, reason=reason), losses


def observe_round(
    memory: ContinuumMemory,
    losses: tuple[Measured, ...],
    published: Arrays,
    rounds: RoundState[Arrays],
    kind: str,
    rules: RoundConfig,
    levels: Mapping[str, str],
) -> ContinuumMemory:
    """The memory after a round that makes a version out of ``published``: an entry for each base that it measured."""
    memory = memory.passed(rounds.version, published, keep=rules.max_staleness + 1)
    for base in sorted({measured.base for measured in losses}):
        at = memory.values_of(base)
        # Decay says how much a late measurement shall count for a step, and a skip has measured nothing.
        own = tuple(
            replace(a, weight=1.0, level_weights={})
            for a in rounds.buffer
            if a.commit.base == base and a.commit.update is not None
        )
        gradient = merge(replace(rounds, buffer=own), kind, rules, levels)
        if at is None or gradient is None or not _finite(gradient):
            continue
        found = [measured.loss for measured in losses if measured.base == base]
        total = 0.0
        for loss in found:
            total += loss / len(found)
        memory = memory.store(at, gradient, total, version=base)
    return memory


def steered(
    memory: ContinuumMemory, specs: Sequence[OuterSpec], master: Arrays, step: Step
) -> tuple[Step, ContinuumMemory]:
    """The step as far as the memory lets it go; what did not step stays as it is, to the bit."""
    if not step.moved:
        return step, memory
    allowed, memory = memory.steer(master, step.params)
    mine = [spec for spec in specs if spec.name in step.moved]
    clipped = clip({spec.name: allowed[spec.name] for spec in mine}, mine)
    return replace(step, params={**step.params, **clipped}), memory


def to_remember(
    kind: str,
    values: Arrays,
    gradient: Arrays | None,
    *,
    loss: float,
    radius: float,
    source: str,
    version: int,
) -> Remembered:
    """The journal's record of what a user knows; see :func:`observe_remembered`."""
    arrays = {f"{_VALUES}{name}": value for name, value in values.items()}
    arrays |= {f"{_GRADIENT}{name}": value for name, value in (gradient or {}).items()}
    return Remembered(
        what=kind,
        loss=loss,
        radius=radius,
        source=source,
        version=version,
        payload=encode("identity", arrays),
    )


def require_memory(run_id: str, memory: ContinuumMemory | None) -> ContinuumMemory:
    """The run's memory; raises ``MemoryOffError`` where it has none."""
    if memory is None:
        raise MemoryOffError(
            f"run {run_id!r} has no memory; create runs with one (RunConfig.memory, `chronos run --memory`)",
            run_id=run_id,
        )
    return memory


def observe_remembered(memory: ContinuumMemory | None, event: Remembered) -> ContinuumMemory:
    """The memory with what a user knows.

    Raises:
        CorruptStateError: the run has no memory, or it cannot have taken this.
    """
    if memory is None:
        raise CorruptStateError("the journal remembers something for a run without a memory")
    try:
        arrays = decode(event.payload, specs=_specs(memory.layout, with_gradient=event.what == STORED))
        values = _named(arrays, _VALUES)
        if event.what == STORED:
            return memory.store(
                values, _named(arrays, _GRADIENT), event.loss, version=event.version, source=event.source
            )
        if event.what == FORBIDDEN:
            return memory.forbid(
                values, radius=event.radius or None, version=event.version, reason=event.source
            )
    except (PayloadError, InvalidRequestError) as error:
        raise CorruptStateError(f"what the journal remembers is damaged: {error}") from error
    raise CorruptStateError(f"the journal remembers {event.what!r}, which this release does not know")


def _finite(arrays: Arrays) -> bool:
    return all(bool(np.isfinite(value).all()) for value in arrays.values())


def _specs(layout: tuple[TensorSpec, ...], *, with_gradient: bool) -> tuple[TensorSpec, ...]:
    prefixes = (_VALUES, _GRADIENT) if with_gradient else (_VALUES,)
    return tuple(replace(spec, name=f"{prefix}{spec.name}") for prefix in prefixes for spec in layout)


def _named(arrays: Arrays, prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
