"""The handle of the training loop for members that take turns in one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from torch import nn
from torch.optim import Optimizer

from chronos_common.clan import Genome, Phase
from chronos_worker.clan.member import Member


class DeferredOptimizer(Optimizer):
    """An optimiser that steps once all members have had their turn.

    Args:
        own: the member's.
    """

    def __init__(self, own: Optimizer) -> None:
        self.own = own
        self.param_groups, self.defaults, self.state = own.param_groups, own.defaults, own.state
        self._steps = self._clears = False

    def step(self, closure: Any = None) -> Any:
        """To be made with the others'."""
        self._steps = True
        return None if closure is None else closure()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Once the step is made."""
        self._clears = True

    def carry_out(self) -> None:
        """What was asked for in the member's turn."""
        if self._steps:
            self.own.step()
        if self._clears:
            self.own.zero_grad()
        self._steps = self._clears = False


class Turns(Protocol):
    """What of the clan a member needs."""

    deferred: list[DeferredOptimizer]
    turn: int

    def running(self) -> Member:
        """The member whose turn it is."""
        ...

    def shown(self) -> nn.Module:
        """Its model, or a copy."""
        ...

    def pass_made(self) -> None:
        """Its turn is over."""
        ...


class FoldedMember(Member):
    """Whichever member's turn it is."""

    def __init__(self, clan: Turns) -> None:
        self._clan = clan
        self.plan = clan.running().plan

    @property
    def model(self) -> nn.Module:
        return self._clan.shown()

    @property
    def optimizer(self) -> Optimizer:
        return self._clan.deferred[self._clan.turn]

    @property
    def genome(self) -> Genome:
        return self._clan.running().genome

    @property
    def phase(self) -> Phase:
        return self._clan.running().phase

    @property
    def made(self) -> int:
        return self._clan.running().made

    @property
    def done(self) -> bool:
        return self._clan.running().done

    def get_gene(self, name: str) -> Any:
        return self._clan.running().get_gene(name)

    @contextmanager
    def sync_context(self) -> Iterator[None]:
        """Around the backward pass; gradients are shared when all members have had their turn."""
        yield

    def step(self) -> None:
        """The member's turn is over."""
        self._clan.pass_made()
