"""A problem of one's own in 20 lines: how much weight decay does each layer need?

chronos run weight_decay:WeightDecay --path examples --versions 30 --local 2
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

from chronos_common.problem import ModuleProblem, OuterParameter


class WeightDecay(ModuleProblem):
    """Digits, a small network, and one weight decay for each of its four tensors."""

    def __init__(self) -> None:
        inputs, labels = load_digits(return_X_y=True)
        x, y = torch.tensor(inputs / 16, dtype=torch.float32), torch.tensor(labels)
        torch.manual_seed(0)
        super().__init__(
            nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10)),
            train=(x[:300], y[:300]),
            validation=(x[300:900], y[300:900]),
            test=(x[900:], y[900:]),
            outer={"decay": OuterParameter(torch.full((4,), 1e-3), bounds=(1e-6, 1.0), scale="log")},
            regulariser=lambda params, outer: sum(
                d * p.square().sum() for d, p in zip(outer["decay"], params.values(), strict=True)
            ),
            learning_rate=0.5,
        )


if __name__ == "__main__":
    from chronos_common.engine.local import optimize

    result = optimize(WeightDecay(), versions=30, inner_steps=100)
    print("weight decay of each tensor:", result.outer["decay"].tolist())
    print("test accuracy:", result.metrics["test_accuracy"])
