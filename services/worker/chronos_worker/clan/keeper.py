"""Who folds the rounds: every rank the same, or one coordinator for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from chronos_common.clan import (
    ClanState,
    FitnessReported,
    RoundClosed,
    RoundPlan,
    RoundStarted,
    fold,
    plan,
    state_from_json,
)
from chronos_common.errors import ConfigurationError
from chronos_worker.clan.transport import Transport


class RoundKeeper(Protocol):
    """Begins and closes rounds for one member."""

    @property
    def finished(self) -> bool:
        """Whether the last round has closed."""
        ...

    def begin(self) -> RoundPlan:
        """The plan of the next round, or of the one that runs."""
        ...

    def close(self, fitness: float) -> RoundClosed:
        """Reports this member's validation loss, and returns the decision once all have reported."""
        ...

    def to_json(self) -> dict[str, Any]:
        """What a checkpoint needs, plain."""
        ...

    def restore(self, parts: Mapping[str, Any]) -> None:
        """Back to what :meth:`to_json` said.

        Raises:
            CorruptStateError: malformed.
        """
        ...


class Replicated:
    """Every rank folds the same events: no coordinator.

    Args:
        state: before the first round, equal on all ranks.
        transport: gathers the fitness of all.

    Raises:
        ConfigurationError: the ranks and the population differ in number.
    """

    def __init__(self, state: ClanState, transport: Transport) -> None:
        if state.config.population_size != transport.size:
            raise ConfigurationError(
                f"population_size is {state.config.population_size}, but {transport.size} members take part; "
                "start as many, or leave population_size out"
            )
        self.state = state
        self._transport = transport

    @property
    def finished(self) -> bool:
        return self.state.finished

    def begin(self) -> RoundPlan:
        self.state = fold(self.state, RoundStarted(round=self.state.round)).state
        return plan(self.state)

    def close(self, fitness: float) -> RoundClosed:
        running = self.state.round
        reports = self._transport.gather(fitness)
        decisions: tuple[Any, ...] = ()
        for member, loss in enumerate(reports):
            folded = fold(self.state, FitnessReported(round=running, member=member, fitness=loss))
            self.state, decisions = folded.state, folded.decisions
        closed: RoundClosed = decisions[0]
        return closed

    def to_json(self) -> dict[str, Any]:
        return self.state.to_json()

    def restore(self, parts: Mapping[str, Any]) -> None:
        self.state = state_from_json(parts)
