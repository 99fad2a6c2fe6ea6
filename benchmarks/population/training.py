"""A population in one process: parameters, gradients and optimiser states stacked over the members, (P, ...)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.population.tasks import Parameters, Split, Task, hyper

BACKWARD = 3.0
"""A training step's FLOPs in units of its forward pass."""


class Population:
    """P members of a task that start from the same weights.

    Attributes:
        forwards: samples passed forward so far, all members together; a training sample counts :data:`BACKWARD` times.
    """

    def __init__(self, task: Task, members: int, seed: int, *, averaging: float = 0.0) -> None:
        self.task, self.members, self.averaging = task, members, averaging
        self.draw = torch.Generator().manual_seed(seed)
        one = task.initial(self.draw)
        self.parameters = {name: value.expand(members, *value.shape).clone() for name, value in one.items()}
        if averaging:
            self.average = {name: value.clone() for name, value in self.parameters.items()}
        else:
            self.average = self.parameters
        slots = ("first", "second") if task.optimiser == "adamw" else ("first",)
        self.slots = {slot: {n: torch.zeros_like(v) for n, v in self.parameters.items()} for slot in slots}
        self.count = torch.zeros(members)
        self.forwards = 0.0
        self._order = torch.zeros(0, dtype=torch.long)
        self._epoch_draw = torch.Generator().manual_seed(seed + 1)

    def reseed(self, *seeds: int) -> None:
        """Other data from here on, the same for the same numbers; weights and optimiser state stay."""
        first, second = np.random.SeedSequence(seeds).generate_state(2).tolist()
        self.draw.manual_seed(first)
        self._epoch_draw.manual_seed(second)
        self._order = self._order[:0]

    def batch(self, samples: int, *, common: bool) -> tuple[Tensor, Tensor]:
        """The next samples without repetition in an epoch: one share for each member, or the same for all."""
        wanted = samples if common else samples * self.members
        while len(self._order) < wanted:
            more = torch.randperm(len(self.task.train.x), generator=self._epoch_draw)
            self._order = torch.cat([self._order, more])
        taken, self._order = self._order[:wanted], self._order[wanted:]
        taken = taken.expand(self.members, samples) if common else taken.view(self.members, samples)
        return self.task.train.x[taken], self.task.train.y[taken]

    def step(
        self,
        values: Sequence[Mapping[str, Any]],
        factor: float,
        *,
        shared: bool,
        common: bool,
        samples: int = 0,
        decay: float = 0.0,
        averaged: bool = False,
    ) -> Tensor:
        """One step of all members, after which all may take their mean; returns their training losses, (P,)."""
        samples = samples or self.task.batch_size
        x, y = self.batch(samples, common=common)
        leaves = {name: value.detach().requires_grad_() for name, value in self.parameters.items()}
        dropout = hyper(list(values), "dropout", 0.0)
        losses = self.task.losses(leaves, x, y, dropout, self.draw)
        gradients = torch.autograd.grad(losses.sum(), list(leaves.values()))
        if shared:
            gradients = tuple(gradient.mean(0, keepdim=True) for gradient in gradients)
        self.forwards += BACKWARD * samples * self.members
        self.apply(dict(zip(leaves, gradients, strict=True)), values, factor)
        if averaged:
            for value in self.parameters.values():
                value.copy_(value.mean(0, keepdim=True).expand_as(value))
        if self.averaging:
            for name, value in self.parameters.items():
                self.average[name].lerp_(value, 1.0 - decay)
        return losses.detach()

    @torch.no_grad()
    def apply(self, gradients: Parameters, values: Sequence[Mapping[str, Any]], factor: float) -> None:
        """The optimiser's step with each member's own settings."""
        found = list(values)
        rate = hyper(found, "lr", 0.0) * factor
        decay = hyper(found, "weight_decay", 0.0)
        self.count += 1.0
        if self.task.optimiser == "adamw":
            self._adamw(gradients, rate, decay, 1.0 - hyper(found, "one_minus_beta1", 0.1))
        else:
            momentum = 1.0 - hyper(found, "one_minus_momentum", 0.1)
            for name, gradient in gradients.items():
                value, slot = self.parameters[name], self.slots["first"][name]
                slot.mul_(_like(momentum, value)).add_(gradient + _like(decay, value) * value)
                value.sub_(_like(rate, value) * slot)

    def _adamw(self, gradients: Parameters, rate: Tensor, decay: Tensor, beta1: Tensor) -> None:
        beta2 = 0.99
        first_correction = 1.0 - beta1**self.count
        second_correction = 1.0 - beta2**self.count
        for name, gradient in gradients.items():
            value = self.parameters[name]
            first, second = self.slots["first"][name], self.slots["second"][name]
            b1 = _like(beta1, value)
            first.mul_(b1).add_((1.0 - b1) * gradient)
            second.mul_(beta2).add_((1.0 - beta2) * gradient.square())
            root = (second / _like(second_correction, value)).sqrt_().add_(1e-8)
            value.mul_(1.0 - _like(rate * decay, value))
            value.sub_(_like(rate / first_correction, value) * first / root)

    @torch.no_grad()
    def evaluate(self, split: Split, samples: int = 0, *, counted: bool = True) -> list[float]:
        """Each member's loss on the first samples of a split, by its averaged weights where there are any."""
        x, y = (part[:samples] if samples else part for part in (split.x, split.y))
        total = torch.zeros(self.members, dtype=torch.float64)
        for start in range(0, len(x), 256):
            chunk = slice(start, start + 256)
            xs, ys = (part[chunk].expand(self.members, *part[chunk].shape) for part in (x, y))
            total += self.task.losses(self.average, xs, ys, None, None).double() * xs.shape[1]
        if counted:
            self.forwards += len(x) * self.members
        return [float(value) for value in total / len(x)]

    def snapshot(self) -> list[Parameters]:
        """Copies of everything that :meth:`restore` puts back."""
        return [{name: value.clone() for name, value in tensors.items()} for tensors in self._tensors()] + [
            {"count": self.count.clone()}
        ]

    def restore(self, kept: list[Parameters]) -> None:
        """Back to a snapshot."""
        for mine, tensors in zip(self._tensors(), kept, strict=False):
            for name, value in tensors.items():
                mine[name].copy_(value)
        self.count.copy_(kept[-1]["count"])

    def keep(self, members: Sequence[int]) -> None:
        """Goes on with some of the members only."""
        chosen = torch.tensor(list(members))
        for tensors in self._tensors():
            for name in tensors:
                tensors[name] = tensors[name][chosen]
        self.count, self.members = self.count[chosen], len(chosen)

    def move(self, sources: Sequence[int]) -> None:
        """Every member takes weights and optimiser state of its source (itself, mostly)."""
        if list(sources) == list(range(self.members)):
            return
        taken = torch.tensor(list(sources))
        for tensors in self._tensors():
            for value in tensors.values():
                value.copy_(value[taken])
        self.count = self.count[taken]

    def _tensors(self) -> list[Parameters]:
        averages = [self.average] if self.averaging else []
        return [self.parameters, *averages, *self.slots.values()]


def _like(values: Tensor, tensor: Tensor) -> Tensor:
    return values.view(-1, *[1] * (tensor.dim() - 1))
