"""How a member goes from round to round."""

from __future__ import annotations

from torch import Tensor

from chronos_common.clan import RoundClosed, RoundPlan
from chronos_common.clan.survivors import among
from chronos_worker.clan.held import Held
from chronos_worker.clan.keeper import RoundKeeper
from chronos_worker.clan.progress import Progress
from chronos_worker.clan.transport import Transport

Taken = tuple[RoundClosed, list[Tensor] | None, list[Tensor] | None]
"""A decision among those present, the mean weights, and whose tensors this member becomes."""


class Course:
    """The rounds of one member.

    Args:
        held: its state.
        progress: where it stands in the round.
        keeper: who folds the rounds.
        transport: to the others.
    """

    def __init__(self, held: Held, progress: Progress, keeper: RoundKeeper, transport: Transport) -> None:
        self._held, self._progress = held, progress
        self._keeper, self._transport = keeper, transport

    def join(self) -> None:
        """Makes sure that this member takes part; it does from the beginning."""

    def begin(self) -> RoundPlan:
        """Begins the next round, or takes up the one that runs; the last one when there is none any more."""
        plan = self._keeper.begin()
        if not self._keeper.finished and (
            self._progress.plan is None or plan.round != self._progress.plan.round
        ):
            if plan.phases[0].kind == "fan_out":
                self._held.kept = {name: tensor.clone() for name, tensor in self._held.weights.named()}
            self._progress.begin(plan)
        return plan

    def close(self, fitness: float) -> None:
        """Ends the round with this member's fitness."""
        self._held.fitness, self._held.ranked = fitness, True
        self.become(self._keeper.close(fitness))

    def become(self, decision: RoundClosed) -> None:
        """Carries a decision out; all members do, or none."""
        self._held.decision = decision
        self._transport.together(lambda: self._gathered(decision), self._take, "select")

    def finish(self) -> None:
        """Ends a training without an end: all take the averaged weights of the best that lives."""
        decision = self._held.decision
        ranking = () if decision is None else decision.ranking
        self._transport.together(lambda: self._best_of(ranking), self._end_with, "finish")

    # --- parts -------------------------------------------------------------------------------------

    def _gathered(self, decision: RoundClosed) -> Taken:
        weights, rank = self._held.weights, self._transport.rank
        ranked = self._transport.gather(float(rank if self._held.ranked else -1))
        decision = among(decision, {int(member) for member in ranked})
        if decision.finished:
            best = decision.ranking[:1]
            return decision, None, weights.received(self._transport, best[0]) if best else None
        weights.hide_average()
        soup = weights.mean_of(self._transport, decision.soup) if decision.soup else None
        mine, moved = None, {move.target: move.source for move in decision.moves}
        for source in sorted(set(moved.values())):
            copies = weights.received(self._transport, source)
            if self._held.ranked and moved.get(rank) == source:
                mine = copies
        return decision, soup, mine

    def _take(self, taken: Taken) -> None:
        decision, soup, mine = taken
        weights = self._held.weights
        if mine is not None:
            weights.take(mine, weights.tensors())
        if decision.restart:
            weights.load(self._held.kept)
        if soup is not None:
            weights.take(soup, weights.souped())
        if decision.finished:
            weights.forget_aside()
            self._progress.ended = True

    def _best_of(self, ranking: tuple[int, ...]) -> list[Tensor]:
        present = {int(member) for member in self._transport.gather(float(self._transport.rank))}
        best = next((member for member in ranking if member in present), min(present))
        self._held.weights.show_average()
        return self._held.weights.received(self._transport, best)

    def _end_with(self, copies: list[Tensor]) -> None:
        weights = self._held.weights
        weights.take(copies, weights.tensors())
        weights.forget_aside()
        self._progress.ended = True
