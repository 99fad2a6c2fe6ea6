"""First and second derivatives at one point, batch by batch."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from chronos_common.hypergradient.base import outer_value
from chronos_common.hypergradient.batch_means import shares
from chronos_common.hypergradient.vectors import Gradients, flatten_gradients, grad, unflatten
from chronos_common.problem import Context, InnerProblem, InnerState, Tensors, Trajectory
from chronos_common.problem.solving import counted_outer_objective, inner_objective


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class InnerSample:
    """Second derivatives of the inner loss on one batch, times v.

    Attributes:
        hv: (∂²L_in/∂θ² + damping · I) v, shape ``(D,)``.
        mixed: (∂²L_in/∂λ∂θ) v as one vector over all λ.
        samples: size of the batch.
    """

    hv: Tensor
    mixed: Tensor
    samples: int


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class OuterSample:
    """First derivatives of the outer loss on one batch: by θ, by λ, as vectors; its value and size."""

    slope: Tensor
    direct: Tensor
    value: float
    samples: int


class Oracle:
    """Derivatives at one (θ, λ) on any batch.

    Attributes:
        used: which λ the inner loss contains, by name, on the batches seen so far.
    """

    def __init__(self, trajectory: Trajectory, problem: InnerProblem, damping: float) -> None:
        self.theta = {k: v.detach().requires_grad_() for k, v in trajectory.final.params.items()}
        self.outer = {k: v.detach().requires_grad_() for k, v in trajectory.outer.items()}
        self._inner = InnerState(self.theta, trajectory.final.buffers, trajectory.final.opt_state)
        self._problem, self._damping = problem, damping
        self._leaves, self._lambdas = tuple(self.theta.values()), tuple(self.outer.values())
        self.used: set[str] = set()

    @property
    def zero(self) -> Tensor:
        """v = 0."""
        return flatten_gradients([None] * len(self._leaves), self._leaves)

    def inner(self, step: int, ctx: Context, v: Tensor) -> InnerSample:
        """On the inner batch of ``step``: one gradient and one product, in one backward pass for θ and λ."""
        inputs, size = (*self._leaves, *self._lambdas), len(self._leaves)
        with torch.enable_grad():
            loss, _, samples = inner_objective(self._problem, self._inner, self.outer, step, ctx)
            first = grad(loss, inputs, "inner_loss", create_graph=True)
        self.used |= {k for k, g in zip(self.outer, first[size:], strict=True) if g is not None}
        pairs = [(g, w) for g, w in zip(first, unflatten(v, self._leaves), strict=False) if g is not None]
        curved = [(g, w) for g, w in pairs if g.requires_grad]
        found: Gradients = [None] * len(inputs)
        if curved:
            slope, weights = zip(*curved, strict=True)
            found = torch.autograd.grad(slope, inputs, weights, allow_unused=True)
        return InnerSample(
            hv=torch.add(flatten_gradients(found[:size], self._leaves), v, alpha=self._damping),
            mixed=flatten_gradients(found[size:], self._lambdas),
            samples=samples,
        )

    def outer_at(self, step: int, ctx: Context) -> OuterSample:
        """On the outer batch of ``step``."""
        leaves, lambdas = self._leaves, self._lambdas
        with torch.enable_grad():
            loss, samples = counted_outer_objective(self._problem, self._inner, self.outer, step, ctx)
        found = grad(loss, (*leaves, *lambdas), "outer_loss")
        return OuterSample(
            slope=flatten_gradients(found[: len(leaves)], leaves),
            direct=flatten_gradients(found[len(leaves) :], lambdas),
            value=outer_value(loss),
            samples=samples,
        )

    def outer_mean(self, step: int, ctx: Context, count: int) -> OuterSample:
        """Averaged over the samples of ``count`` batches."""
        found = [self.outer_at(step + i, ctx) for i in range(count)]
        weights = shares([each.samples for each in found])
        return OuterSample(
            slope=weighted([each.slope for each in found], weights),
            direct=weighted([each.direct for each in found], weights),
            value=sum(w * each.value for w, each in zip(weights, found, strict=True)),
            samples=sum(each.samples for each in found),
        )

    def inner_mean(self, step: int, ctx: Context, v: Tensor, count: int) -> InnerSample:
        """Averaged over the samples of ``count`` batches."""
        found = [self.inner(step + i, ctx, v) for i in range(count)]
        weights = shares([each.samples for each in found])
        return InnerSample(
            hv=weighted([each.hv for each in found], weights),
            mixed=weighted([each.mixed for each in found], weights),
            samples=sum(each.samples for each in found),
        )

    def split(self, direction: Tensor) -> Tensors:
        """A vector over all λ as named tensors, for those that the inner loss contains."""
        parts = dict(zip(self.outer, unflatten(direction, self._lambdas), strict=True))
        return {name: part for name, part in parts.items() if name in self.used}


def weighted(parts: list[Tensor], weights: list[float]) -> Tensor:
    """Σ weight · part."""
    if len(parts) == 1:
        return parts[0]
    stacked = torch.stack(parts)
    return torch.mv(stacked.T, torch.tensor(weights, dtype=stacked.dtype, device=stacked.device))
