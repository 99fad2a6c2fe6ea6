"""An accepted commit of the journal: its update, its place in the open round, and what it has to continue."""

from __future__ import annotations

from collections.abc import Sequence

from chronos_common.codec import decode
from chronos_common.engine.events import CommitRecord
from chronos_common.engine.levels import Flushes
from chronos_common.errors import CorruptStateError, PayloadError
from chronos_common.tensors import Arrays, TensorSpec, require_finite
from chronos_common.versions import Accepted, Commit, RoundState


def accepted_of(event: CommitRecord, update: Arrays | None) -> Accepted[Arrays]:
    """An accepted commit as the open round holds it."""
    commit: Commit[Arrays] = Commit(
        worker_id=event.worker_id,
        incarnation=event.incarnation,
        seq=event.seq,
        prev_applied=event.prev_applied,
        base=event.base,
        work=event.work,
        update=update,
    )
    return Accepted(
        commit=commit,
        staleness=event.staleness,
        weight=event.weight,
        level_weights=event.level_weights,
    )


def update_of(event: CommitRecord, specs: Sequence[TensorSpec]) -> Arrays | None:
    """The arrays of a commit's payload; ``None`` of a skip.

    Raises:
        CorruptStateError: the payload is not one of ``specs``, or not finite.
    """
    if event.payload is None:
        return None
    try:
        update = decode(event.payload, specs=specs)
        require_finite(update, f"the update {event.seq} of worker {event.worker_id!r}")
    except PayloadError as error:
        raise CorruptStateError(
            f"commit {event.seq} of {event.worker_id!r}: {error}", seq=event.seq
        ) from error
    return update


def require_continuation(rounds: RoundState[Arrays], flushes: Flushes, event: CommitRecord) -> None:
    """Raises ``CorruptStateError`` for a commit that does not continue its worker's chain, or contradicts itself."""
    chain = rounds.chains.get(event.worker_id)
    if chain is None:
        raise CorruptStateError(f"a commit of {event.worker_id!r}, which never joined", seq=event.seq)
    follows = event.prev_applied == chain.last_applied < event.seq and event.incarnation >= chain.incarnation
    within = 0 <= event.base <= rounds.version and event.staleness == rounds.version - event.base
    weights = (event.weight, *event.level_weights.values())
    weighted = 0.0 < event.work <= 1.0 and all(0.0 <= weight <= 1.0 for weight in weights)
    weighted = weighted and event.level_weights.keys() == flushes.keys()
    if not (follows and within and weighted):
        raise CorruptStateError(
            f"commit {event.seq} of {event.worker_id!r} contradicts the journal before it", seq=event.seq
        )
