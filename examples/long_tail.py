"""A long-tailed training set, reweighted: one weight for each sample, learnt on a few balanced validation samples.

    chronos run long_tail:LongTail --path examples --set seed=3 --versions 100 --inner-steps 20 --local 2
    python -m examples.long_tail [SEED] [VERSIONS]

Of the most frequent digit there are 100 training samples, of the rarest a single one, in between a geometric series;
which digit is where decides the seed. Validation and test data are balanced, and so is the accuracy: the mean of the
ten classes' own. (Ren, Zeng, Yang and Urtasun, "Learning to reweight examples for robust deep learning", ICML 2018.)
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from chronos_common.problem import Context, InnerState, ModuleProblem, OuterParameter, Tensors

CLASSES, MOST, IMBALANCE, VALIDATION = 10, 100, 100, 10
"""Classes; samples of the most frequent one; its ratio to the rarest; validation samples of each."""

L2, VERSIONS, INNER_STEPS, FINAL_STEPS = 1e-3, 100, 20, 500

Data = tuple[Tensor, Tensor]


def long_tailed(seed: int) -> dict[str, Data]:
    """Inputs ``(n, 64)`` in [0, 1] and labels ``(n,)`` of "train", "validation" and "test", float64."""
    inputs, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(inputs / 16), torch.tensor(labels)
    generator = torch.Generator().manual_seed(seed)
    parts: dict[str, list[Tensor]] = {"train": [], "validation": [], "test": []}
    for rank, digit in enumerate(torch.randperm(CLASSES, generator=generator).tolist()):
        mine = torch.nonzero(y == digit).squeeze(1)
        mine = mine[torch.randperm(len(mine), generator=generator)]
        count = round(MOST * IMBALANCE ** (-rank / (CLASSES - 1)))
        parts["validation"].append(mine[:VALIDATION])
        parts["train"].append(mine[VALIDATION : VALIDATION + count])
        parts["test"].append(mine[VALIDATION + MOST :])  # the same test samples whatever the rank
    chosen = {name: torch.cat(indices) for name, indices in parts.items()}
    return {name: (x[index], y[index]) for name, index in chosen.items()}


def softmax_regression() -> nn.Module:
    """64 pixels to 10 classes, float64, zeros at the start."""
    model = nn.Linear(64, CLASSES, dtype=torch.float64)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    return model


class LongTail(ModuleProblem):
    """Softmax regression on weighted samples.

    Args:
        seed: of the split, and of which digit is rare.
        train: trained on instead of the long-tailed samples.
        weights: where the samples' weights start, shape ``(n,)``; ones.
    """

    def __init__(self, seed: int = 0, train: Data | None = None, weights: Tensor | None = None) -> None:
        data = long_tailed(seed)
        self.test = data["test"]
        train = train or data["train"]
        weights = torch.ones(len(train[1]), dtype=torch.float64) if weights is None else weights
        super().__init__(
            softmax_regression(),
            train,
            data["validation"],
            outer={"weights": OuterParameter(weights, bounds=(1e-4, 1e4), scale="log")},
            # only their ratios count: the inner learning rate fits whatever they grow to
            sample_weights=lambda outer, positions: outer["weights"][positions] / outer["weights"].mean(),
            regulariser=lambda params, outer: 0.5 * L2 * params["weight"].square().sum(),
            learning_rate=0.2,
            momentum=0.9,
            shard_validation=False,
        )

    def evaluate(self, inner: InnerState | None, outer: Tensors, ctx: Context) -> dict[str, float]:
        """The validation loss and accuracy, and ``balanced_accuracy`` on the test data."""
        figures = super().evaluate(inner, outer, ctx)
        assert inner is not None
        with torch.no_grad():
            logits, _ = self.forward(inner, self.test[0], ctx.at(training=False))
        right = (logits.argmax(1) == self.test[1]).double()
        classes = [right[self.test[1] == digit].mean() for digit in range(CLASSES)]
        return figures | {"balanced_accuracy": torch.stack(classes).mean().item()}


def retrain(seed: int, train: Data, weights: Tensor) -> float:
    """Balanced test accuracy of a fresh model trained to the end on samples with these weights."""
    problem = LongTail(seed, train, weights)
    inner, run = problem.solve(num_steps=FINAL_STEPS)
    return problem.evaluate(inner, run.outer, Context())["balanced_accuracy"]


def inverse_frequency(labels: Tensor) -> Tensor:
    """One over the number of samples of each sample's class, shape ``(n,)``."""
    return 1.0 / torch.bincount(labels, minlength=CLASSES).double()[labels]


def arms(seed: int, versions: int = VERSIONS) -> dict[str, float]:
    """Balanced test accuracy by where the weights come from; every arm has the same final training."""
    from chronos_common.engine.local import optimize
    from chronos_common.hypergradient import make_estimator
    from chronos_common.outer import OuterConfig

    data = long_tailed(seed)
    train, validation = data["train"], data["validation"]
    both = (torch.cat([train[0], validation[0]]), torch.cat([train[1], validation[1]]))
    ones = torch.ones(len(train[1])).double()
    found = optimize(
        LongTail(seed),
        estimator=make_estimator("implicit", cg_steps=10, damping=1e-3),
        outer=OuterConfig(name="adam", learning_rate=0.1),
        versions=versions,
        inner_steps=INNER_STEPS,
        seed=seed,
        evaluate_every=0,
    )
    learnt = found.outer["weights"]
    with_validation = torch.cat([learnt / learnt.mean(), torch.ones(len(validation[1])).double()])
    return {
        "plain": retrain(seed, train, ones),
        "inverse_frequency": retrain(seed, train, inverse_frequency(train[1])),
        "validation_only": retrain(seed, validation, torch.ones(len(validation[1])).double()),
        "reweighted": retrain(seed, train, learnt),
        "plain_plus_validation": retrain(seed, both, torch.ones(len(both[1])).double()),
        "inverse_plus_validation": retrain(seed, both, inverse_frequency(both[1])),
        "reweighted_plus_validation": retrain(seed, both, with_validation),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    print("balanced test accuracy, trained on")
    for arm, accuracy in arms(seed, int(sys.argv[2]) if len(sys.argv) > 2 else VERSIONS).items():
        print(f"{arm:28} {accuracy:.3f}")
