"""Losses averaged over several batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError
from chronos_common.problem import Context, InnerProblem, InnerState, Tensors
from chronos_common.problem.solving import counted_outer_objective, inner_objective


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batches:
    """How many batches a loss is averaged over, from the one that would come next on.

    The average is that of all their samples together: batches count by their size (equally, where a problem
    holds its data itself), so that batches that cover a data set give its full-batch loss.

    Raises:
        ConfigurationError: a number below 1.
    """

    inner: int = 1
    outer: int = 1

    def __post_init__(self) -> None:
        if self.inner < 1 or self.outer < 1:
            raise ConfigurationError("inner_batches and outer_batches must be at least 1")


def mean_inner_loss(
    problem: InnerProblem, inner: InnerState, outer: Tensors, step: int, ctx: Context, count: int
) -> Tensor:
    """The inner loss on the batches of ``count`` steps from ``step`` on."""

    def at(step: int) -> tuple[Tensor, int]:
        loss, _, samples = inner_objective(problem, inner, outer, step, ctx)
        return loss, samples

    return _mean(at, step, count)


def mean_outer_loss(
    problem: InnerProblem, inner: InnerState, outer: Tensors, step: int, ctx: Context, count: int
) -> Tensor:
    """The outer loss on the batches of ``count`` steps from ``step`` on."""
    return _mean(lambda at: counted_outer_objective(problem, inner, outer, at, ctx), step, count)


def shares(samples: list[int]) -> list[float]:
    """The weight of each batch in an average: by size, or equal where a size is not known; they add up to 1."""
    total = sum(samples)
    return [n / total for n in samples] if all(samples) else [1 / len(samples)] * len(samples)


def _mean(loss: Callable[[int], tuple[Tensor, int]], step: int, count: int) -> Tensor:
    if count == 1:
        return loss(step)[0]
    losses, samples = zip(*(loss(step + i) for i in range(count)), strict=True)
    stacked = torch.stack(losses)
    return stacked @ torch.tensor(shares(list(samples)), dtype=stacked.dtype, device=stacked.device)
