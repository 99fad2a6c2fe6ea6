"""Few-shot regression by implicit MAML: a starting point from which ten samples are enough to fit a sine.

    chronos run few_shot:Sines --path examples --versions 150 --inner-steps 16 --learning-rate 0.005 --cold-start \
        --estimator-set damping=0 --estimator-set cg_steps=5 --local 2
    python -m examples.few_shot [VERSIONS]

A task is a sine of its own amplitude and phase. λ is the whole network; each task's inner problem stays near it,

    L_in(θ) = mean squared error on the task's ten samples + PROXIMITY / 2 ‖θ − λ‖²,

so that λ occurs in the inner loss and the hypergradient needs no unrolling. Every version draws new tasks, which its
workers share. (Rajeswaran, Finn, Kakade and Levine, "Meta-learning with implicit gradients", NeurIPS 2019.)
"""

import logging
import math
import sys
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from chronos_common.problem import Context, InnerProblem, InnerState, OuterParameter, Task, Tensors

SHOTS, QUERIES, PROXIMITY, INNER_STEPS, HIDDEN = 10, 50, 1.0, 16, 40

Sine = tuple[Tensor, Tensor]
"""x and y of one task, shape ``(SHOTS + QUERIES, 1)``; the first ``SHOTS`` are for training."""


def draw(generator: torch.Generator) -> Sine:
    """Amplitude in [0.1, 5], phase in [0, π], x in [−5, 5]."""
    amplitude, phase = torch.rand(2, generator=generator).tolist()
    x = torch.rand(SHOTS + QUERIES, 1, generator=generator) * 10 - 5
    return x, (0.1 + 4.9 * amplitude) * torch.sin(x - math.pi * phase)


class Sines(InnerProblem):
    """Args: the ``seed`` of the first λ, the number of ``tasks_per_version``, and the ``proximity`` of θ to λ."""

    inner_learning_rate = 0.02

    def __init__(self, seed: int = 0, tasks_per_version: int = 4, proximity: float = PROXIMITY) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = nn.Sequential(
                nn.Linear(1, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1)
            )
        self.tasks_per_version, self.proximity = tasks_per_version, proximity

    def outer_parameters(self) -> dict[str, OuterParameter]:
        return {name: OuterParameter(value.detach()) for name, value in self.network.named_parameters()}

    def tasks(self, ctx: Context) -> Sequence[Task]:
        generator = ctx.generator
        return [Task(index=i, name=f"sine-{i}", data=draw(generator)) for i in range(self.tasks_per_version)]

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        return InnerState(dict(outer))

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        x, y = (part[:SHOTS].to(ctx.device) for part in ctx.task.data)
        distance = sum((inner.params[name] - value).square().sum() for name, value in outer.items())
        return self.error(inner, x, y) + self.proximity / 2 * distance

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        x, y = (part[SHOTS:].to(ctx.device) for part in ctx.task.data)
        return self.error(inner, x, y)

    def error(self, inner: InnerState, x: Tensor, y: Tensor) -> Tensor:
        """Mean squared error of the network with the weights θ."""
        predicted: Tensor = functional_call(self.network, inner.params, (x,))
        return nn.functional.mse_loss(predicted, y)


def adapted_error(problem: Sines, outer: Tensors, *, steps: int = INNER_STEPS, tasks: int = 10) -> float:
    """Mean squared error on the queries of new tasks after ``steps`` inner steps from λ; 0 is before any."""
    errors = []
    for index in range(tasks):
        sine = draw(torch.Generator().manual_seed(10_000 + index))
        ctx = Context(task=Task(data=sine))
        inner, _ = problem.solve(outer, num_steps=steps, ctx=ctx)
        with torch.no_grad():
            errors.append(problem.outer_loss(inner, outer, None, ctx).item())
    return sum(errors) / len(errors)


def learn(versions: int, seed: int = 0) -> tuple[Tensors, float]:
    """λ after so many outer steps; and the share of linear solves that met curvature ≤ 0, where θ is no minimum yet."""
    from chronos_common.engine.local import optimize
    from chronos_common.hypergradient import make_estimator
    from chronos_common.outer import OuterConfig

    found = optimize(
        Sines(seed),
        estimator=make_estimator("implicit", cg_steps=5, damping=0.0),
        outer=OuterConfig(name="adam", learning_rate=0.005),
        versions=versions,
        inner_steps=INNER_STEPS,
        seed=seed,
        evaluate_every=0,
        warm_start=False,  # the last θ belongs to another version's sine
    )
    shares = [entry.diagnostics["cg_nonpositive_curvature"] for entry in found.history]
    return found.outer, sum(shares) / len(shares)


if __name__ == "__main__":
    torch.set_num_threads(1)
    # conjugate gradient warns at each solve that meets curvature ≤ 0; here their share is printed instead
    logging.getLogger("chronos_common.hypergradient").setLevel(logging.ERROR)
    learnt, nonpositive = learn(int(sys.argv[1]) if len(sys.argv) > 1 else 150)
    scratch = {name: declared.tensor() for name, declared in Sines(0).outer_parameters().items()}
    free, long = Sines(0, proximity=0.0), 5 * INNER_STEPS
    print(f"linear solves that met curvature <= 0: {100 * nonpositive:.0f} %")
    print(f"mean squared error on new sines of {SHOTS} samples each")
    for name, problem, start, steps in (
        (f"learnt start, {INNER_STEPS} steps", Sines(0), learnt, INNER_STEPS),
        ("learnt start, before any step", Sines(0), learnt, 0),
        (f"random start, {INNER_STEPS} steps", Sines(0), scratch, INNER_STEPS),
        (f"random start, no proximity, {long} steps", free, scratch, long),
    ):
        print(f"{name:40} {adapted_error(problem, start, steps=steps):.3f}")
