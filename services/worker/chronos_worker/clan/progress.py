"""Where a member stands inside of its round, and what its optimiser is set to for the next step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chronos_common.clan import ClanConfig, Genome, Phase, RoundPlan, averaging_decay, rate_factor
from chronos_common.errors import InvalidRequestError
from chronos_worker.clan.genes import Binding
from chronos_worker.clan.transport import Transport
from chronos_worker.clan.weights import Weights


class Progress:
    """The running round of one member.

    Args:
        config: of the clan.
        weights: of this member.
        binding: writes its genes into the optimiser.
        transport: to the others.
    """

    def __init__(self, config: ClanConfig, weights: Weights, binding: Binding, transport: Transport) -> None:
        self.config, self.weights, self.transport = config, weights, transport
        self._binding = binding
        self.plan: RoundPlan | None = None
        self.step = 0
        self.ended = False
        self.contexts = 0
        """Backward passes of the running step whose gradients are shared already."""
        self.skips = 0
        """How many of the next ones are not, because other members have done theirs."""
        self.void = False
        """Whether what the loop computes now leads nowhere: the member has moved on meanwhile."""
        self.land: Callable[[], None] = _stay
        """Goes on from where the member has moved to."""

    def begin(self, plan: RoundPlan, step: int = 0) -> None:
        """A round, from one of its steps."""
        self.plan, self.step = plan, step
        self.contexts = self.skips = 0
        self._express()

    def advance(self, number: int) -> None:
        """A step is made."""
        if self.void:
            self.void = False
            return
        plan = self.running
        if number != plan.round or self.done:
            raise InvalidRequestError(
                f"round {number} has no step left; after member.done call clan.step(loss) and then clan.round()"
            )
        if plan.averages_at(self.step, self.config.average_every):
            self.weights.take(self.weights.mean_of(self.transport, plan.living), self.weights.souped())
        self.step += 1
        self.contexts = self.skips = 0
        self.weights.advance(averaging_decay(self.config, plan.first_step + self.step - 1))
        self._express()

    @property
    def running(self) -> RoundPlan:
        """The plan.

        Raises:
            InvalidRequestError: no round has begun.
        """
        if self.plan is None:
            raise InvalidRequestError("no round has begun; call clan.round() first")
        return self.plan

    @property
    def done(self) -> bool:
        """Whether all steps are made."""
        return self.step >= self.running.steps

    @property
    def phase(self) -> Phase:
        """Of the next step."""
        return self.running.phase_at(self.step)

    @property
    def genome(self) -> Genome:
        """This member's.

        Raises:
            InvalidRequestError: it takes no part in the round.
        """
        genome = self.running.genomes[self.transport.rank]
        if genome is None:
            raise InvalidRequestError(
                f"member {self.transport.rank} takes no part in round {self.running.round}"
            )
        return genome

    def values(self) -> dict[str, Any]:
        """What the genes are set to now."""
        own = self.genome.values()
        return own if self.phase.expresses_all else {**own, **self.running.consensus}

    def _express(self) -> None:
        if self.done:
            self.weights.show_average()
            return
        plan = self.running
        factor = rate_factor(self.config, plan.first_step + self.step, plan.schedule_start)
        self._binding.write(self.values(), factor)


def _stay() -> None:
    """A member whose transport never moves it."""
