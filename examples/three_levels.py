"""Three levels: how strongly, and to what, should learnt weight decays be tied together?

    chronos run examples.three_levels:TiedDecay --versions 15 --inner-steps 10 --learning-rate 0.2 --local 2
    python -m examples.three_levels [VERSIONS]

1. The lower level is ridge regression with a weight decay e^μⱼ for each feature: w*(μ).
2. The middle level learns μ on validation data, drawn to a common value: L(μ) + e^s/2 ‖μ − c‖².
3. The upper level learns the common value c and the strength s on a third data set. They are the run's λ.

``solution`` solves the lower level with a graph, so that the middle level is a problem like any other and every
estimator works on it. Figures of the upper level's derivative against finite differences are in the tests.
"""

import sys

import torch
from torch import Tensor

from chronos_common.problem import Batch, Context, InnerProblem, InnerState, OuterParameter, Tensors, solution
from examples.ridge import Ridge, normal


class Lower(Ridge):
    """Level 1: many more samples than features, so that a few steps solve it."""

    inner_learning_rate = 0.7

    def __init__(self, features: int, seed: int) -> None:
        super().__init__(features, seed)
        truth = normal(features, seed=seed)
        truth[features // 2 :] = 0.0
        samples = 24 * features
        self.x, self.x_validation, self.x_upper = (
            normal(samples, features, seed=2000 + 10 * seed + i) for i in range(3)
        )
        self.y, self.y_validation, self.y_upper = (
            x @ truth + 2.0 * normal(samples, seed=3000 + 10 * seed + i)
            for i, x in enumerate((self.x, self.x_validation, self.x_upper))
        )


class TiedDecay(InnerProblem):
    """Levels 2 and 3. Args: ``features``, the ``seed`` of the data, and the ``lower_steps`` for each w*(μ)."""

    inner_learning_rate = 1.0

    def __init__(self, features: int = 6, seed: int = 0, lower_steps: int = 20) -> None:
        self.lower, self.lower_steps = Lower(features, seed), lower_steps

    def outer_parameters(self) -> dict[str, OuterParameter]:
        zero = torch.zeros((), dtype=torch.float64)
        return {
            "centre": OuterParameter(zero - 2.0, bounds=(-6.0, 3.0)),
            "log_strength": OuterParameter(zero - 1.0, bounds=(-3.0, 0.5)),
        }

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        return InnerState({"log_decay": torch.full_like(self.lower.start, -2.0)})

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: Batch, ctx: Context) -> Tensor:
        tie = (inner.params["log_decay"] - outer["centre"]).square().sum()
        w = self.lower_solution(inner.params["log_decay"], ctx)
        error = (self.lower.x_validation @ w - self.lower.y_validation).square().mean() / 2
        return error + torch.exp(outer["log_strength"]) / 2 * tie

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: Batch, ctx: Context) -> Tensor:
        w = self.lower_solution(inner.params["log_decay"], ctx)
        return (self.lower.x_upper @ w - self.lower.y_upper).square().mean() / 2

    def lower_solution(self, log_decay: Tensor, ctx: Context) -> Tensor:
        """w*(μ), shape (features,), with its graph to μ."""
        outer = {"decay": torch.exp(log_decay)}
        return solution(self.lower, outer, num_steps=self.lower_steps, ctx=ctx).params["w"]


if __name__ == "__main__":
    from chronos_common.engine.local import optimize
    from chronos_common.outer import OuterConfig

    torch.set_num_threads(1)
    result = optimize(
        TiedDecay(),
        outer=OuterConfig(name="adam", learning_rate=0.2),
        versions=int(sys.argv[1]) if len(sys.argv) > 1 else 15,
        inner_steps=10,
    )
    first, last = result.history[0].metrics["outer_loss"], result.history[-1].metrics["outer_loss"]
    print(f"upper loss {first:.5f} -> {last:.5f}")
    print(f"centre of log decay {result.outer['centre'].item():.3f}")
    print(f"strength {result.outer['log_strength'].exp().item():.3f}")
    print("log decay:", [round(value, 2) for value in result.inner["main"].params["log_decay"].tolist()])
