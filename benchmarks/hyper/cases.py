"""Problems with plain losses, so that every arm computes the same thing, and with known hypergradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from chronos_common.problem import Context, InnerProblem, InnerState, OuterParameter, Tensors, Trajectory

DOUBLE = torch.float64
Loss = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
"""(θ, λ) -> loss."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One bilevel problem at one point.

    Attributes:
        name: for the table.
        inner_loss, outer_loss: plain functions of lists of tensors.
        theta: solved inner parameters.
        lambdas: outer parameters.
        truth: dL_out/dλ there, by the implicit function theorem, one vector.
    """

    name: str
    inner_loss: Loss
    outer_loss: Loss
    theta: tuple[Tensor, ...]
    lambdas: tuple[Tensor, ...]
    truth: Tensor

    @property
    def size(self) -> int:
        """Number of inner parameters."""
        return sum(t.numel() for t in self.theta)

    def error(self, gradient: Sequence[Tensor]) -> float:
        """‖estimate − truth‖ / ‖truth‖."""
        found = torch.cat([g.reshape(-1) for g in gradient])
        return float((found - self.truth).norm() / self.truth.norm())

    def trajectory(self) -> tuple[InnerProblem, Trajectory]:
        """The same as Chronos sees it: a finished inner loop of no steps."""
        problem = CaseProblem(self)
        return problem, problem.solve(init=problem.solved, num_steps=0)[1]

    def loop(self, rate: float) -> InnerProblem:
        """The same with gradient descent at ``rate`` as its inner loop."""
        problem = CaseProblem(self)
        problem.inner_learning_rate = rate  # type: ignore[misc]
        return problem


class CaseProblem(InnerProblem):
    """A :class:`Case` as an ``InnerProblem``; its inner loop is gradient descent."""

    inner_learning_rate = 0.01

    def __init__(self, case: Case) -> None:
        self._case = case
        self.solved = InnerState({f"theta{i}": t for i, t in enumerate(case.theta)})
        self._outer = {f"lambda{i}": OuterParameter(v) for i, v in enumerate(case.lambdas)}

    def outer_parameters(self) -> Mapping[str, OuterParameter]:
        return self._outer

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        return self.solved.map(torch.zeros_like)

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        return self._case.inner_loss(list(inner.params.values()), list(outer.values()))

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        return self._case.outer_loss(list(inner.params.values()), list(outer.values()))


def normal(*shape: int, seed: int) -> Tensor:
    """Seeded standard normal float64 numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def ridge(features: int, samples: int | None = None) -> Case:
    """Least squares with a log weight decay per feature, at its exact solution; the truth is a closed form."""
    samples = samples or 2 * features
    unsolved = wide(features, samples)
    x, y, x_val, y_val, log_decay = _ridge_data(features, samples)
    hessian = x.T @ x / samples + torch.diag(log_decay.exp())
    w = torch.linalg.solve(hessian, x.T @ y / samples)
    slope = x_val.T @ (x_val @ w - y_val) / samples
    truth = -log_decay.exp() * w * torch.linalg.solve(hessian, slope)
    return dataclasses.replace(unsolved, theta=(w,), truth=truth)


def wide(features: int, samples: int) -> Case:
    """The same, unsolved and without a truth: for sizes at which a closed form costs too much."""
    x, y, x_val, y_val, log_decay = _ridge_data(features, samples)

    def inner_loss(theta: Sequence[Tensor], lambdas: Sequence[Tensor]) -> Tensor:
        (w,), (log,) = theta, lambdas
        return ((x @ w - y).square().mean() + (log.exp() * w.square()).sum()) / 2

    def outer_loss(theta: Sequence[Tensor], lambdas: Sequence[Tensor]) -> Tensor:
        return (x_val @ theta[0] - y_val).square().mean() / 2

    return Case(
        name=f"ridge {features}",
        inner_loss=inner_loss,
        outer_loss=outer_loss,
        theta=(torch.zeros(features, dtype=DOUBLE),),
        lambdas=(log_decay,),
        truth=torch.empty(0),
    )


def _ridge_data(features: int, samples: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    truth = normal(features, seed=0)
    x, x_val = normal(samples, features, seed=1), normal(samples, features, seed=2)
    y = x @ truth + 0.5 * normal(samples, seed=3)
    return x, y, x_val, x_val @ truth, 0.5 * normal(features, seed=4) - 4.0


def network(sizes: Sequence[int] = (64, 300, 256, 10), samples: int = 64, steps: int = 300) -> Case:
    """A tanh network with a log weight decay per tensor, trained until its Hessian is positive definite.

    The truth is conjugate gradient until it stagnates, at the same point.
    """
    x, x_val = normal(samples, sizes[0], seed=1), normal(samples, sizes[0], seed=2)
    teacher = normal(sizes[0], sizes[-1], seed=3)
    y, y_val = (x @ teacher).argmax(1), (x_val @ teacher).argmax(1)
    theta: list[Tensor] = []
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        theta += [normal(inputs, outputs, seed=10 + i) / inputs**0.5, torch.zeros(outputs, dtype=DOUBLE)]
    log_decay = torch.full((len(theta),), -2.0, dtype=DOUBLE)

    def outputs_of(theta: Sequence[Tensor], inputs: Tensor) -> Tensor:
        for weight, bias in zip(theta[:-2:2], theta[1:-1:2], strict=True):
            inputs = torch.tanh(torch.addmm(bias, inputs, weight))
        return torch.addmm(theta[-1], inputs, theta[-2])

    def inner_loss(theta: Sequence[Tensor], lambdas: Sequence[Tensor]) -> Tensor:
        loss = torch.nn.functional.cross_entropy(outputs_of(theta, x), y)
        return loss + torch.stack([t.square().sum() for t in theta]) @ lambdas[0].exp() / 2

    def outer_loss(theta: Sequence[Tensor], lambdas: Sequence[Tensor]) -> Tensor:
        return torch.nn.functional.cross_entropy(outputs_of(theta, x_val), y_val)

    for _ in range(steps):
        leaves = [t.requires_grad_() for t in theta]
        grads = torch.autograd.grad(inner_loss(leaves, [log_decay]), leaves)
        theta = [(t - 0.5 * g).detach() for t, g in zip(leaves, grads, strict=True)]
    case = Case(
        name=f"network {sum(t.numel() for t in theta) // 1000}k",
        inner_loss=inner_loss,
        outer_loss=outer_loss,
        theta=tuple(t.detach() for t in theta),
        lambdas=(log_decay,),
        truth=torch.empty(0),
    )
    from benchmarks.hyper.reference import hypergradient

    return dataclasses.replace(case, truth=torch.cat(hypergradient(case, steps=400, tolerance=1e-12)))
