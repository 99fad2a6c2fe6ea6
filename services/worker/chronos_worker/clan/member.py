"""This rank's member for one round: the training loop's handle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from chronos_common.clan import Genome, Phase, RoundPlan
from chronos_common.errors import InvalidRequestError
from chronos_worker.clan.progress import Progress
from chronos_worker.clan.transport import MovedError
from chronos_worker.clan.transport.gradients import share_gradients


class Member:
    """A model with the genome that it is trained with in one round.

    Attributes:
        plan: of the round.
    """

    def __init__(self, progress: Progress, plan: RoundPlan) -> None:
        self._progress, self.plan = progress, plan

    @property
    def model(self) -> nn.Module:
        """The model; once the round is :attr:`done`, with the weights that its fitness is to be measured on."""
        return self._progress.weights.model

    @property
    def optimizer(self) -> Optimizer:
        """The optimiser, with this member's settings."""
        return self._progress.weights.optimizer

    @property
    def genome(self) -> Genome:
        """Its genes, parents and fitness."""
        return self._progress.genome

    @property
    def phase(self) -> Phase:
        """Of the next step."""
        return self._progress.phase

    @property
    def made(self) -> int:
        """Steps of the round that are made."""
        return self._progress.step

    @property
    def done(self) -> bool:
        """Whether all steps of the round are made: evaluate now, and call :meth:`Clan.step`."""
        return self._progress.done

    def get_gene(self, name: str) -> Any:
        """What a gene is set to now: a specialised one to the consensus while gradients are shared.

        Raises:
            InvalidRequestError: there is no such gene.
        """
        values = self._progress.values()
        if name not in values:
            raise InvalidRequestError(f"there is no gene {name!r}; the genes are {', '.join(values)}")
        return values[name]

    @contextmanager
    def sync_context(self) -> Iterator[None]:
        """Around the backward pass: on leaving, gradients are those of all members, if they are shared now.

        Where a member's parameter has no gradient, it counts as zero. A member with a NaN or an infinity among its
        gradients is left out of the mean, unless all have one. Several backward passes before one optimiser step may
        each stand in a context of their own.
        """
        yield
        progress = self._progress
        shares = progress.phase.shares_gradients and progress.config.average_every == 1
        if not shares or self.done or progress.void:
            return
        if progress.skips:
            progress.skips, progress.contexts = progress.skips - 1, progress.contexts + 1
            self._forget_gradients()
            return
        wanted = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        for parameter in wanted:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        try:
            share_gradients(
                [parameter.grad for parameter in wanted if parameter.grad is not None], progress.transport
            )
        except MovedError:
            progress.land()
            progress.void, self.plan = True, progress.running
            self._forget_gradients()
        else:
            progress.contexts += 1

    def step(self) -> None:
        """A step of the round is made; to be called once for each batch.

        Raises:
            InvalidRequestError: the round has no step left, or is over.
        """
        self._progress.advance(self.plan.round)

    def _forget_gradients(self) -> None:
        """The optimiser leaves parameters without a gradient as they are."""
        for parameter in self.model.parameters():
            parameter.grad = None
