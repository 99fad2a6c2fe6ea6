"""A learning rate and a weight decay that change over training, by unrolling it.

    chronos run schedule:Schedule --path examples --estimator unrolled --cold-start --versions 60 --inner-steps 60 \
        --local 2
    python -m examples.schedule [VERSIONS]

λ are the two curves' values at a few knots, evenly spread over training, linear in between on a log scale; one knot is
a constant. Neither curve occurs in the inner loss, so that there is no implicit hypergradient: the inner updates
themselves are differentiated. (Maclaurin, Duvenaud and Adams, "Gradient-based hyperparameter optimization through
reversible learning", ICML 2015.)
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from chronos_common.problem import Context, InnerState, ModuleProblem, OuterParameter, Tensors

STEPS, KNOTS = 60, 4


class Schedule(ModuleProblem):
    """Digits with a tenth of the labels wrong, in mini-batches, and ``knots`` values for each of the two curves."""

    def __init__(self, knots: int = KNOTS, steps: int = STEPS) -> None:
        digits = load_digits()
        generator = torch.Generator().manual_seed(0)
        order = torch.randperm(len(digits.target), generator=generator)
        x = torch.tensor(digits.data / 16, dtype=torch.float32)[order]
        y = torch.tensor(digits.target)[order]
        noisy = torch.where(torch.rand(600, generator=generator) < 0.1, (y[:600] + 1) % 10, y[:600])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
        super().__init__(
            network,
            (x[:600], noisy),
            (x[600:1200], y[600:1200]),
            outer={
                "rate": OuterParameter(torch.full((knots,), 0.1), bounds=(1e-4, 2.0), scale="log"),
                "decay": OuterParameter(torch.full((knots,), 1e-3), bounds=(1e-5, 0.5), scale="log"),
            },
            batch_size=16,
            momentum=0.9,
            test=(x[1200:], y[1200:]),
            shard_validation=False,
        )
        self.steps = steps

    def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
        """Heavy-ball SGD with decoupled weight decay, both by the schedule."""
        rate, decay = (at(outer[name], ctx.step / (self.steps - 1)) for name in ("rate", "decay"))
        velocity = {k: 0.9 * v + grads[k] for k, v in inner.opt_state.items()}
        params = {k: v - rate * (velocity[k] + decay * v) for k, v in inner.params.items()}
        return InnerState(params, inner.buffers, velocity)


def at(knots: Tensor, time: float) -> Tensor:
    """The curve through ``knots`` at ``time`` in [0, 1], linear on a log scale; constant after 1."""
    if len(knots) == 1:
        return knots[0]
    place = min(time, 1.0) * (len(knots) - 1)
    left = min(int(place), len(knots) - 2)
    share = place - left
    return knots[left] ** (1 - share) * knots[left + 1] ** share


def learn(knots: int, versions: int, seed: int = 0) -> Tensors:
    """The curves after so many outer steps; each sees other mini-batches."""
    from chronos_common.engine.local import optimize
    from chronos_common.outer import OuterConfig

    found = optimize(
        Schedule(knots),
        estimator="unrolled",
        outer=OuterConfig(name="adam", learning_rate=0.1),
        versions=versions,
        inner_steps=STEPS,
        seed=seed,
        evaluate_every=0,
        warm_start=False,  # each training run is a whole one
    )
    return found.outer


def trained(outer: Tensors, runs: int = 10, first_seed: int = 1000) -> dict[str, float]:
    """Figures at the end of training with other mini-batches than any that the curves were learnt on; means."""
    problem, total = Schedule(len(outer["rate"])), dict[str, float]()
    for run in range(runs):
        ctx = Context(seed=first_seed + run)
        inner, _ = problem.solve(outer, num_steps=STEPS, ctx=ctx)
        for name, value in problem.evaluate(inner, outer, ctx).items():
            total[name] = total.get(name, 0.0) + value / runs
    return total


def best_constant(runs: int = 3) -> Tensors:
    """The constants with the least validation loss on a grid: what one would do without hypergradients."""
    grid = [
        {"rate": torch.tensor([rate]), "decay": torch.tensor([decay])}
        for rate in (0.02, 0.05, 0.1, 0.2, 0.3)
        for decay in (1e-4, 1e-3)
    ]
    return min(grid, key=lambda outer: trained(outer, runs, first_seed=500)["validation_loss"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    versions = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    print("curves               validation loss  test loss  test accuracy")
    for name, outer in (
        ("constant, by a grid", best_constant()),
        ("constant, learnt", learn(1, versions)),
        ("schedule, learnt", learn(KNOTS, versions)),
    ):
        found = trained(outer)
        print(
            f"{name:20} {found['validation_loss']:15.4f}  {found['test_loss']:9.4f}  {found['test_accuracy']:13.3f}"
        )
    print("learning rate at the knots:", [round(value, 3) for value in outer["rate"].tolist()])
    print("weight decay at the knots: ", [round(value, 5) for value in outer["decay"].tolist()])
