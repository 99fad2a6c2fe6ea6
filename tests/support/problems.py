"""Small bilevel problems with known answers, for every test that needs one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from chronos_common.problem import (
    Aux,
    Context,
    InnerProblem,
    InnerState,
    ModuleProblem,
    OuterParameter,
    OuterValue,
    Task,
    Tensors,
)

DOUBLE = torch.float64


def normal(*shape: int, seed: int, dtype: torch.dtype = DOUBLE) -> Tensor:
    """Seeded standard normal numbers: pytest-randomly does not seed torch."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


class Shifts(InnerProblem):
    """Inner: ‖θ − λ‖²/2, so that θ* = λ after one step. Outer: ‖θ − target‖²/2; the hypergradient is λ − target."""

    inner_learning_rate = 1.0

    def __init__(self, size: int = 1000, seed: int = 0) -> None:
        self.size = size
        self.target = normal(size, seed=seed)

    def outer_parameters(self) -> Mapping[str, OuterParameter]:
        return {"shift": OuterParameter(torch.zeros(self.size, dtype=DOUBLE), bounds=(-9.0, 9.0))}

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        return InnerState({"theta": torch.zeros(self.size, dtype=DOUBLE)})

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        return (inner.params["theta"] - outer["shift"]).square().sum() / 2

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        return (inner.params["theta"] - self.target).square().sum() / 2


class Ridge(InnerProblem):
    """Least squares with one weight decay per feature, on a log scale; everything has a closed form."""

    def __init__(self, features: int = 8, dtype: torch.dtype = DOUBLE, seed: int = 0) -> None:
        truth = normal(features, seed=seed, dtype=dtype)
        self.x, self.x_val = (normal(4 * features, features, seed=seed + i, dtype=dtype) for i in (1, 2))
        self.y = self.x @ truth + 0.5 * normal(4 * features, seed=seed + 3, dtype=dtype)
        self.y_val = self.x_val @ truth
        self.start = (0.2 + normal(features, seed=seed + 4, dtype=dtype).abs()) / 2

    def move(self, device: str) -> None:
        """To another device, with all data."""
        for name in ("x", "x_val", "y", "y_val", "start"):
            setattr(self, name, getattr(self, name).to(device))

    def outer_parameters(self) -> Mapping[str, OuterParameter]:
        return {"decay": OuterParameter(self.start, scale="log", bounds=(1e-6, 1e6))}

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        return InnerState({"w": torch.zeros_like(self.start)})

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        w = inner.params["w"]
        return ((self.x @ w - self.y).square().mean() + (outer["decay"] * w.square()).sum()) / 2

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        return (self.x_val @ inner.params["w"] - self.y_val).square().mean() / 2

    def evaluate(self, inner: InnerState | None, outer: Tensors, ctx: Context) -> dict[str, float]:
        assert inner is not None
        return {"norm": float(inner.params["w"].norm())}

    def hessian(self, decay: Tensor) -> Tensor:
        return self.x.T @ self.x / len(self.x) + torch.diag(decay)

    def solution(self, decay: Tensor) -> InnerState:
        right = self.x.T @ self.y / len(self.x)
        return InnerState({"w": torch.linalg.solve(self.hessian(decay), right)})

    def hypergradient(self, decay: Tensor) -> Tensor:
        """dL_outer/d decay at the exact solution: -w · H⁻¹ ∂L_outer/∂w, elementwise."""
        w = self.solution(decay).params["w"]
        slope = self.x_val.T @ (self.x_val @ w - self.y_val) / len(self.x_val)
        adjoint: Tensor = torch.linalg.solve(self.hessian(decay), slope)
        return -w * adjoint


class Quadratic(Ridge):
    """Ridge whose learning rate and momentum are outer parameters too (0-d), by a rule of its own."""

    def outer_parameters(self) -> Mapping[str, OuterParameter]:
        rate = OuterParameter(torch.tensor(0.2, dtype=DOUBLE), scale="log")
        momentum = OuterParameter(torch.tensor(0.3, dtype=DOUBLE), bounds=(0.0, 0.99))
        return {**super().outer_parameters(), "rate": rate, "momentum": momentum}

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        zero = torch.zeros_like(self.start)
        return InnerState({"w": zero}, opt_state={"v": zero})

    def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
        v = outer["momentum"] * inner.opt_state["v"] + grads["w"]
        return InnerState({"w": inner.params["w"] - outer["rate"] * v}, opt_state={"v": v})


class Around(InnerProblem):
    """Another problem with a part changed by a subclass."""

    def __init__(self, problem: InnerProblem) -> None:
        self.problem = problem

    def outer_parameters(self) -> Mapping[str, OuterParameter | OuterValue]:
        return self.problem.outer_parameters()

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        return self.problem.init_inner(outer, ctx)

    def inner_loss(
        self, inner: InnerState, outer: Tensors, batch: object, ctx: Context
    ) -> Tensor | tuple[Tensor, Aux]:
        return self.problem.inner_loss(inner, outer, batch, ctx)

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        return self.problem.outer_loss(inner, outer, batch, ctx)

    def inner_batch(self, step: int, ctx: Context) -> object:
        return self.problem.inner_batch(step, ctx)

    def outer_batch(self, step: int, ctx: Context) -> object:
        return self.problem.outer_batch(step, ctx)

    def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
        return self.problem.inner_update(inner, grads, outer, ctx)

    def tasks(self, ctx: Context) -> Sequence[Task]:
        return self.problem.tasks(ctx)


class WithMomentum(Around):
    """A problem of plain gradient descent with a momentum of 0.5: the same solution by another way."""

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        return with_velocity(super().init_inner(outer, ctx))

    def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
        velocity = {k: 0.5 * v + grads[k] for k, v in inner.opt_state.items()}
        moved = super().inner_update(InnerState(inner.params, inner.buffers), velocity, outer, ctx)
        return InnerState(moved.params, moved.buffers, velocity)


def with_velocity(state: InnerState) -> InnerState:
    """``state`` at rest."""
    return InnerState(state.params, state.buffers, {k: torch.zeros_like(v) for k, v in state.params.items()})


class Started(Around):
    """λ is where θ starts, and the outer loss is the inner one at the problem's declared λ; rate 0.01."""

    inner_learning_rate = 0.01

    def __init__(self, problem: InnerProblem) -> None:
        super().__init__(problem)
        self.inside = problem.solve(num_steps=0)[1].outer

    def outer_parameters(self) -> Mapping[str, OuterParameter]:
        start = self.problem.init_inner(self.inside, Context())
        return {k: OuterParameter(v) for k, v in start.params.items()}

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        return InnerState(dict(outer))

    def inner_loss(
        self, inner: InnerState, outer: Tensors, batch: object, ctx: Context
    ) -> Tensor | tuple[Tensor, Aux]:
        loss = super().inner_loss(inner, self.inside, batch, ctx)
        return loss[0] if isinstance(loss, tuple) else loss

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        batch = self.inner_batch(0, ctx)
        loss = self.inner_loss(inner, outer, batch, ctx)
        assert isinstance(loss, Tensor)
        return loss

    def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
        return InnerState({k: v - self.inner_learning_rate * grads[k] for k, v in inner.params.items()})

    @staticmethod
    def flat(gradient: Tensors) -> Tensor:
        """All numbers in one vector."""
        return torch.cat([v.reshape(-1) for v in gradient.values()])


def small_mlp(**options: object) -> ModuleProblem:
    """A smooth two-layer network in float64 with one weight decay per tensor."""
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.copy_(0.5 * normal(*parameter.shape, seed=50 + i))
    arguments: dict[str, object] = {
        "outer": {"decay": OuterParameter(torch.full((4,), 0.2, dtype=DOUBLE), scale="log")},
        "regulariser": lambda params, outer: sum(
            (d * p.square().sum() for d, p in zip(outer["decay"], params.values(), strict=True))
        ),
        "learning_rate": 0.3,
    }
    return ModuleProblem(module, classes(30, seed=1), classes(20, seed=2), **{**arguments, **options})  # type: ignore[arg-type]


def classes(size: int, *, seed: int, dtype: torch.dtype = DOUBLE) -> tuple[Tensor, Tensor]:
    """Three overlapping classes of points in three dimensions."""
    x = normal(size, 3, seed=seed, dtype=dtype)
    return x, (x + 0.3 * normal(size, 3, seed=seed + 100, dtype=dtype)).argmax(dim=1)


def central_differences(function: Callable[[Tensors], float], at: Tensors, step: float = 1e-5) -> Tensors:
    """The gradient of ``function`` by second-order finite differences."""
    gradient: Tensors = {}
    for name, value in at.items():
        flat = torch.zeros(value.numel(), dtype=value.dtype)
        for i in range(value.numel()):
            sides = []
            for sign in (1.0, -1.0):
                moved = value.clone()
                moved.view(-1)[i] += sign * step
                sides.append(function({**at, name: moved}))
            flat[i] = (sides[0] - sides[1]) / (2 * step)
        gradient[name] = flat.view_as(value)
    return gradient


def solved_loss(
    problem: InnerProblem, num_steps: int, init: InnerState | None = None
) -> Callable[[Tensors], float]:
    """λ -> outer loss after ``num_steps`` inner steps."""

    def loss(outer: Tensors) -> float:
        inner, run = problem.solve(outer, init, num_steps)
        ctx = run.ctx.at(step=run.end_step, stream="outer_batch", training=False)
        batch = problem.outer_batch(run.end_step, ctx)
        with torch.no_grad():
            return float(problem.outer_loss(inner, outer, batch, ctx.at(stream="outer_loss")))

    return loss
