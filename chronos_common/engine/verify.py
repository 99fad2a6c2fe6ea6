"""Replays a journal and compares every digest: the proof that state is a fold over decisions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from chronos_common.engine.events import Created, Event, Published
from chronos_common.engine.state import RunState, fold, start
from chronos_common.errors import ChronosError, CorruptStateError


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What a replay found. ``problem`` is the first disagreement, empty when ``clean``."""

    clean: bool
    versions: int
    entries: int
    problem: str = ""
    from_version: int = 0


def replay(events: Iterable[Event], *, observe: Callable[[RunState], None] = lambda _: None) -> RunState:
    """Folds a whole journal.

    Args:
        events: from *created* on, in order.
        observe: called with every state on the way.

    Raises:
        CorruptStateError: the journal is empty, out of order, or disagrees with its digests.
    """
    state: RunState | None = None
    for event in events:
        if state is None:
            if not isinstance(event, Created):
                raise CorruptStateError("the journal does not begin with the run's creation")
            state = start(event)
        else:
            state = fold(state, event)
        observe(state)
    if state is None:
        raise CorruptStateError("the journal is empty")
    return state


def verify(events: Iterable[Event]) -> VerifyReport:
    """Replays and reports; damaged entries are findings, not exceptions."""
    entries = versions = 0

    def counted() -> Iterable[Event]:
        nonlocal entries, versions
        for event in events:
            yield event
            entries += 1
            versions += isinstance(event, Published)

    try:
        replay(counted())
    except ChronosError as error:
        return VerifyReport(clean=False, versions=versions, entries=entries, problem=str(error))
    return VerifyReport(clean=True, versions=versions, entries=entries)
