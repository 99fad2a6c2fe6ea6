"""A whole population in one process, in one training loop: its members take turns.

Each pass of the loop is the turn of one member: a batch of its own, a backward pass on its own weights. When all have
had their turn, the step is made by all of them at once, with the mean gradient where the phase shares it. At the end of
a round each is evaluated in its turn; from the second on that takes a pass whose batch, the last one again, changes
nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from chronos_common.clan import ClanConfig, RoundClosed
from chronos_common.errors import ConfigurationError, InvalidRequestError
from chronos_worker.clan.clan import Clan
from chronos_worker.clan.folded_member import DeferredOptimizer, FoldedMember
from chronos_worker.clan.keeper import RoundKeeper
from chronos_worker.clan.launched import wanted_members
from chronos_worker.clan.loader import ClanLoader
from chronos_worker.clan.member import Member
from chronos_worker.clan.pending import attach_waiting
from chronos_worker.clan.transport import Lockstep, run_members
from chronos_worker.clan.transport.base import T
from chronos_worker.clan.transport.gradients import finite, share_of

Result = TypeVar("Result")


class FoldedClan(Clan):
    """What :class:`Clan` is with more than one member in a process that torchrun did not start.

    The given model and optimiser are those of member 0, the others' are copies: it takes the memory and the time of
    all. Use ``member.model`` and ``member.optimizer``, which change with the turn, and take one optimiser step in each
    pass. Between ``backward()`` and ``step()`` gradients are the member's own, not yet the mean.

    Args:
        model: as for :class:`Clan`, like everything that is not named here.
        optimizer: over its parameters.
        population_size: members.
        algorithm: a preset's name, or a configuration.
        autobind: as for :class:`Clan`, but for ``"gradient_accumulation"``: the loop counts passes of all members.
        settings: the other arguments of :class:`Clan`.

    Raises:
        ConfigurationError: settings that cannot work.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        population_size: int | None = None,
        algorithm: str | ClanConfig = "clan_plus",
        autobind: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        if "gradient_accumulation" in autobind:
            raise ConfigurationError(
                "members that take turns in one process cannot accumulate gradients each in its own measure; start one "
                "process for each with torchrun, or leave 'gradient_accumulation' out of autobind"
            )
        for name in ("transport", "coordinator"):  # None, or this class would not have been chosen
            settings.pop(name, None)
        size = wanted_members(population_size, algorithm)
        copies = [copy.deepcopy((model, optimizer)) for _ in range(size - 1)]
        each = [(model, optimizer), *copies]
        self._relays = [_Relay(rank, size) for rank in range(size)]
        self._clans: list[Clan] = self._together(
            lambda rank: Clan(
                *each[rank],
                population_size=population_size,
                algorithm=algorithm,
                autobind=autobind,
                transport=self._relays[rank],
                **settings,
            )
        )
        self.config = self._clans[0].config
        self.deferred = [DeferredOptimizer(own) for _, own in each]
        self.turn, self.arrived, self._losses = 0, False, list[float]()
        self._spare = copy.deepcopy(model)
        self._running: list[Member] = []
        self._open = False
        attach_waiting(self)

    @property
    def finished(self) -> bool:
        return self._clans[0].finished

    @property
    def keeper(self) -> RoundKeeper:
        return self._clans[0].keeper

    @property
    def last_decision(self) -> RoundClosed | None:
        return self._clans[0].last_decision

    @property
    def living(self) -> int:
        return len(self._clans)

    @property
    def evaluating(self) -> bool:
        """Whether the members are being evaluated in turn."""
        return self._open and self._running[0].done

    def loader(self, dataset: Dataset[Any], batch_size: int, **options: Any) -> FoldedLoader:  # type: ignore[override]  # a loader of all
        """Batches of the member whose turn it is."""
        return FoldedLoader(self, [clan.loader(dataset, batch_size, **options) for clan in self._clans])

    def round(self) -> Member:
        """Begins the next round, or takes up the one that runs, with the member whose turn it is."""
        if not self._open:
            self._running = [clan.round() for clan in self._clans]
            self._open = not self.finished
            self.arrived = self._running[0].done
        return FoldedMember(self)

    def running(self) -> Member:
        """The member whose turn it is."""
        return self._running[self.turn]

    def shown(self) -> nn.Module:
        """The model of the member whose turn it is; a copy of it for a pass that must not change it."""
        own = self.running().model
        if not self.evaluating or self.arrived:
            return own
        return self._spare

    def pass_made(self) -> None:
        """The member's turn is over; the step is made when it was the last one's."""
        if self.evaluating:
            self.arrived = True
            return
        self.turn += 1
        if self.turn == len(self._clans):
            self.turn = 0
            self._step_all()
            self.arrived = self._running[0].done

    def step(self, validation_loss: float | Tensor) -> RoundClosed | None:  # type: ignore[override]  # not until the last
        """Takes down the fitness of the member whose turn it is; the last one's closes the round.

        Raises:
            InvalidRequestError: the round has steps left, or there is none.
        """
        if not self.evaluating:
            raise InvalidRequestError(
                "the round is not done; call member.step() for each batch until member.done"
            )
        self._losses.append(float(validation_loss))
        self.turn += 1
        self.arrived = False
        if self.turn < len(self._clans):
            self._spare.load_state_dict(self.running().model.state_dict())
            return None
        losses, self._losses, self.turn, self._open = self._losses, [], 0, False
        decisions = self._together(lambda rank: self._clans[rank].step(losses[rank]))
        return decisions[0]

    def close(self) -> None:
        """There is nothing to leave."""

    def finish(self) -> None:
        self._together(lambda rank: self._clans[rank].finish())

    def save(self, folder: str | Path) -> None:
        """Writes the checkpoints of all members, after the last one's turn.

        Raises:
            InvalidRequestError: in the middle of a step, or of the evaluation.
        """
        if self.turn or self._losses:
            raise InvalidRequestError(
                f"{self.turn} of {len(self._clans)} members have had their turn; save when clan.turn is 0"
            )
        self._together(lambda rank: self._clans[rank].save(folder))

    def resume(self, folder: str | Path) -> bool:
        return all(self._together(lambda rank: self._clans[rank].resume(folder)))

    @torch.no_grad()
    def _step_all(self) -> None:
        averages = self.config.average_every > 1
        if self._running[0].phase.shares_gradients and not averages:
            _share([[*member.model.parameters()] for member in self._running])
        for optimizer in self.deferred:
            optimizer.carry_out()
        if averages:
            self._together(lambda rank: self._running[rank].step())
            return
        for member in self._running:
            member.step()

    def _together(self, body: Callable[[int], Result]) -> list[Result]:
        def run(transport: Lockstep) -> Result:
            self._relays[transport.rank].inner = transport
            return body(transport.rank)

        return run_members(len(self._relays), run)


class FoldedLoader:
    """Batches for whoever's turn it is.

    Args:
        clan: knows whose.
        loaders: of the members.
    """

    def __init__(self, clan: FoldedClan, loaders: Sequence[ClanLoader]) -> None:
        self._clan, self._loaders = clan, loaders

    def __iter__(self) -> Iterator[Any]:
        own = [iter(loader) for loader in self._loaders]
        last: Any = None
        while True:
            if self._clan.evaluating and last is not None:
                yield last
                continue
            try:
                last = next(own[self._clan.turn])
            except StopIteration:
                for other in own:
                    next(other, None)  # so that their epochs end too
                return
            yield last


class _Relay:
    """A transport whose threads change from one exchange to the next."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size, self.share = rank, size, rank
        self.inner: Lockstep | None = None

    def together(self, prepare: Callable[[], T], commit: Callable[[T], object], point: str) -> None:
        self._carrier.together(prepare, commit, point)

    def mean(self, flat: Tensor) -> None:
        self._carrier.mean(flat)

    def broadcast(self, flat: Tensor, source: int) -> None:
        self._carrier.broadcast(flat, source)

    def gather(self, value: float) -> list[float]:
        return self._carrier.gather(value)

    @property
    def _carrier(self) -> Lockstep:
        if self.inner is None:
            raise InvalidRequestError(f"member {self.rank} has no turn")
        return self.inner


def _share(members: Sequence[Sequence[nn.Parameter]]) -> None:
    """Every gradient of all members by its mean, over those that have finite ones if that is not finite."""
    every = [same for same in zip(*members, strict=True) if same[0].requires_grad]
    means = [_mean(same) for same in every]
    if not finite(means):
        sound = [finite([one.grad for one in own if one.grad is not None]) for own in members]
        if 0 < sum(sound) < len(sound):
            share = share_of(sum(sound), len(sound))
            means = [_mean(list(compress(same, sound)), len(sound)).mul_(share) for same in every]
    for same, mean in zip(every, means, strict=True):
        for parameter in same:
            parameter.grad = mean.clone()


def _mean(same: Sequence[nn.Parameter], size: int | None = None) -> Tensor:
    """The mean gradient of one parameter over so many members, of which others have none."""
    mean = torch.zeros_like(same[0])
    for parameter in same:
        if parameter.grad is not None:
            mean += parameter.grad
    return mean.div_(size or len(same))
