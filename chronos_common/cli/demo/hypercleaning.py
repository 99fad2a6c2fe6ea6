"""Data hyper-cleaning: which training labels are wrong? One outer parameter per sample decides its weight.

The 1,797 digits of scikit-learn, split anew by the seed into 800 training samples, of which a share has a
flipped label, 400 clean validation samples and 597 test samples. The inner problem is a softmax regression
whose training sample i has the weight σ(λᵢ); the outer loss is the validation loss, so that the weights of
samples with wrong labels fall. (Franceschi et al., "Forward and reverse gradient-based hyperparameter
optimization", ICML 2017, section 5.1, where it was done on MNIST.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from chronos_common.errors import ConfigurationError
from chronos_common.problem import Context, InnerState, ModuleProblem, OuterParameter, Tensors

TRAIN, VALIDATION, TEST = 800, 400, 597
PIXELS, CLASSES = 64, 10
LOGITS = "logits"
START_LOGIT = 0.0
BOUND = 8.0
LEARNING_RATE, MOMENTUM = 0.5, 0.9
L2 = 3e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """The data of one seed and one noise.

    Attributes:
        train, validation, test: inputs, shape ``(n, 64)`` float64 in [0, 1], and labels, int64. Labels of
            ``train`` are the noisy ones.
        clean: which training labels are right, shape ``(800,)``, bool.
    """

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    clean: Tensor


@lru_cache(maxsize=4)
def load_split(noise: float, seed: int) -> Split:
    """Split the digits and flip training labels.

    Each training label is flipped with probability ``noise``, independently, to one of the nine other
    classes with equal probability.

    Raises:
        ConfigurationError: ``noise`` is not in [0, 1], or ``seed`` is negative.
    """
    from sklearn.datasets import load_digits

    if not 0.0 <= noise <= 1.0 or seed < 0:
        raise ConfigurationError(f"noise = {noise} must lie in [0, 1] and seed = {seed} must be 0 or more")
    inputs, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    x = torch.from_numpy(inputs[order] / 16.0)
    y = torch.from_numpy(labels[order].astype(np.int64))
    flipped = torch.from_numpy(rng.random(TRAIN) < noise)
    shift = torch.from_numpy(rng.integers(1, CLASSES, TRAIN))
    noisy = torch.where(flipped, (y[:TRAIN] + shift) % CLASSES, y[:TRAIN])
    middle = TRAIN + VALIDATION
    return Split(
        train=(x[:TRAIN], noisy),
        validation=(x[TRAIN:middle], y[TRAIN:middle]),
        test=(x[middle:], y[middle:]),
        clean=~flipped,
    )


def softmax_regression() -> nn.Module:
    """The model: 64 pixels to 10 classes, float64, zeros at the start."""
    model = nn.Linear(PIXELS, CLASSES, dtype=torch.float64)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.zero_()
    return model


def penalty(params: Tensors, outer: Tensors) -> Tensor:
    """L2 on the weight matrix, not on the bias."""
    return 0.5 * L2 * params["weight"].square().sum()


class HyperCleaning(ModuleProblem):
    """The problem of the demo.

    Args:
        noise: probability that a training label is flipped.
        seed: of the split and of the flips.
    """

    def __init__(self, noise: float = 0.5, seed: int = 0) -> None:
        split = load_split(float(noise), int(seed))
        self.clean = split.clean
        start = torch.full((TRAIN,), START_LOGIT, dtype=torch.float64)
        super().__init__(
            softmax_regression(),
            split.train,
            split.validation,
            outer={LOGITS: OuterParameter(start, bounds=(-BOUND, BOUND))},
            sample_weights=lambda outer, positions: torch.sigmoid(outer[LOGITS][positions]),
            regulariser=penalty,
            learning_rate=LEARNING_RATE,
            momentum=MOMENTUM,
            test=split.test,
            # A third of the validation data each would make the updates too noisy to be averaged by two.
            shard_validation=False,
        )

    def evaluate(self, inner: InnerState | None, outer: Tensors, ctx: Context) -> dict[str, float]:
        """Losses and accuracies on validation and test data, and ``f1`` of the cleaning."""
        return super().evaluate(inner, outer, ctx) | {"f1": f1_of(outer[LOGITS], self.clean)}


def f1_of(logits: Tensor, clean: Tensor) -> float:
    """F1 of "σ(λ) > ½ means the label is right"; positive = clean. 0 when nothing is predicted clean."""
    predicted = torch.sigmoid(logits) > 0.5
    hits = int((predicted & clean).sum())
    total = int(predicted.sum()) + int(clean.sum())
    return 2.0 * hits / total if total else 0.0
