"""Replays a journal and compares every digest: the proof that state is a fold over decisions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from chronos_common.engine.events import Created, Event, Published
from chronos_common.engine.state import RunState, fold, start
from chronos_common.errors import ChronosError, CorruptStateError


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What a replay found.

    Attributes:
        clean: whether everything agreed.
        versions: replayed.
        entries: replayed.
        problem: the first disagreement; empty when ``clean``.
        from_version: version that the replay began at.
        from_entry: the snapshot that it began at; 0 when everything was proved from the journal's first entry.
        snapshots: kept snapshots that hold exactly what the replay had at their entry.
    """

    clean: bool
    versions: int
    entries: int
    problem: str = ""
    from_version: int = 0
    from_entry: int = 0
    snapshots: int = 0


def replay(
    events: Iterable[Event],
    *,
    state: RunState | None = None,
    observe: Callable[[RunState], None] = lambda _: None,
) -> RunState:
    """Folds a journal.

    Args:
        events: in order, from *created* on, or from the first one after ``state``.
        state: to go on from.
        observe: called with every state on the way.

    Raises:
        CorruptStateError: the journal is empty, out of order, or disagrees with its digests.
    """
    for event in events:
        if state is not None:
            state = fold(state, event)
        elif isinstance(event, Created):
            state = start(event)
        else:
            raise CorruptStateError("the journal does not begin with the run's creation")
        observe(state)
    if state is None:
        raise CorruptStateError("the journal is empty")
    return state


def verify(
    events: Iterable[Event],
    *,
    state: RunState | None = None,
    observe: Callable[[RunState], None] = lambda _: None,
) -> VerifyReport:
    """Replays, as :func:`replay`, and reports; damaged entries are findings, not exceptions."""
    entries = versions = 0
    from_version = 0 if state is None else state.version

    def counted() -> Iterable[Event]:
        nonlocal entries, versions
        for event in events:
            yield event
            entries += 1
            versions += isinstance(event, Published)

    problem = ""
    try:
        replay(counted(), state=state, observe=observe)
    except ChronosError as error:
        problem = str(error)
    return VerifyReport(
        clean=not problem, versions=versions, entries=entries, problem=problem, from_version=from_version
    )
