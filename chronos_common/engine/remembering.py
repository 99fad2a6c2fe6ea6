"""What a run's memory takes from its journal: what was measured at each version, and where it failed.

An entry is (p, merged hypergradient, mean outer loss) of the commits that were computed *at* the newest version; one
that is behind was measured at another λ, which is not at hand any more. A skip of a worker whose inner problem
diverged says so by the metric ``diverged``, and makes its λ a place that failed. What users know from elsewhere comes
as :class:`~chronos_common.engine.events.Remembered`. All of it is journalled already, so that a replay remembers the
same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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


def observe_commit(
    memory: ContinuumMemory, losses: tuple[float, ...], published: Arrays, event: CommitRecord, version: int
) -> tuple[ContinuumMemory, tuple[float, ...]]:
    """The memory and the losses of the open round after an accepted commit."""
    if event.staleness:
        return memory, losses
    if event.payload is None and event.metrics.get(DIVERGED, 0.0) > 0.0:
        reason = f"the inner problem of {event.worker_id!r} diverged"
        return memory.forbid(published, version=version, reason=reason), losses
    if event.payload is not None and OUTER_LOSS in event.metrics:
        return memory, (*losses, event.metrics[OUTER_LOSS])
    return memory, losses


def observe_round(
    memory: ContinuumMemory,
    losses: tuple[float, ...],
    published: Arrays,
    rounds: RoundState[Arrays],
    kind: str,
    rules: RoundConfig,
    levels: Mapping[str, str],
) -> ContinuumMemory:
    """The memory after a round that makes a version out of ``published``."""
    fresh = tuple(accepted for accepted in rounds.buffer if not accepted.staleness)
    gradient = merge(replace(rounds, buffer=fresh), kind, rules, levels) if losses else None
    if gradient is None or not all(np.isfinite(value).all() for value in gradient.values()):
        return memory
    total = 0.0
    for loss in losses:
        total += loss / len(losses)
    return memory.store(published, gradient, total, version=rounds.version)


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


def _specs(layout: tuple[TensorSpec, ...], *, with_gradient: bool) -> tuple[TensorSpec, ...]:
    prefixes = (_VALUES, _GRADIENT) if with_gradient else (_VALUES,)
    return tuple(replace(spec, name=f"{prefix}{spec.name}") for prefix in prefixes for spec in layout)


def _named(arrays: Arrays, prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
