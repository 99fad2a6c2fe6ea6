"""Hyper-cleaning of a larger set: 100,000 points of five Gaussian classes, 45 % of whose labels are the next class.

One logit per point, as for the digits; a worker sees a tenth of the points in each inner step, and its hypergradient
is that of such a tenth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.uneven.pace import Paced, Pacer
from benchmarks.uneven.retraining import Training, retrain
from chronos_common.problem import ModuleProblem, OuterParameter, Tensors
from chronos_common.tensors import Array

TRAIN, VALIDATION, TEST = 100_000, 2_000, 10_000
DIMENSIONS, CLASSES = 16, 5
SPREAD = 1.2
BATCH = 10_000
BOUND = 8.0
LEARNING_RATE, MOMENTUM, L2 = 0.5, 0.9, 3e-4
LOSS_SAMPLES, LOSS_STEPS, FINAL_STEPS = 4_000, 40, 40
LOGITS = "logits"


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixture:
    """Inputs ``(n, 16)`` float32 and labels ``(n,)`` int64; those of ``train`` are the noisy ones."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


@lru_cache(maxsize=2)
def draw(noise: float, seed: int) -> Mixture:
    """The points of a seed. A training label becomes the next class with probability ``noise``."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((CLASSES, DIMENSIONS))

    def part(size: int) -> tuple[Tensor, Tensor]:
        labels = rng.integers(0, CLASSES, size)
        points = centres[labels] + SPREAD * rng.standard_normal((size, DIMENSIONS))
        return torch.from_numpy(points.astype(np.float32)), torch.from_numpy(labels)

    (x, y), validation, test = part(TRAIN), part(VALIDATION), part(TEST)
    flipped = torch.from_numpy(rng.random(TRAIN) < noise)
    noisy = torch.where(flipped, (y + 1) % CLASSES, y)
    return Mixture(train=(x, noisy), validation=validation, test=test)


class Points(Paced, ModuleProblem):
    """Which labels are wrong? λ: a logit per training point.

    Args:
        noise: probability that a training label is flipped.
        seed: of the points and the flips.
        step_seconds, hypergradient_seconds: see ``Pacer``.
    """

    def __init__(
        self,
        noise: float = 0.5,
        seed: int = 0,
        step_seconds: float = 0.0,
        hypergradient_seconds: float = 0.0,
    ) -> None:
        self.pacer = Pacer(step_seconds=step_seconds, hypergradient_seconds=hypergradient_seconds)
        points = draw(float(noise), int(seed))
        model = nn.Linear(DIMENSIONS, CLASSES)
        nn.init.zeros_(model.weight)
        nn.init.zeros_(model.bias)
        super().__init__(
            model,
            points.train,
            points.validation,
            outer={LOGITS: OuterParameter(torch.zeros(TRAIN), bounds=(-BOUND, BOUND))},
            sample_weights=lambda outer, positions: torch.sigmoid(outer[LOGITS][positions]),
            regulariser=_penalty,
            learning_rate=LEARNING_RATE,
            momentum=MOMENTUM,
            batch_size=BATCH,
            shard_validation=False,
        )


def losses(noise: float, seed: int, versions: Sequence[Mapping[str, Array]]) -> list[float]:
    """Validation loss of every version after a training from zero on ``LOSS_SAMPLES`` points with its weights."""
    points = draw(noise, seed)
    x, y = (part[:LOSS_SAMPLES] for part in points.train)
    weights = torch.sigmoid(torch.from_numpy(np.stack([v[LOGITS][:LOSS_SAMPLES] for v in versions])))
    return retrain(x, y, weights, TRAINING, LOSS_STEPS).losses(*points.validation)


def accuracy(noise: float, seed: int, stored: Mapping[str, Array]) -> float:
    """Test accuracy (a fraction) after a training from zero on all points with the learnt weights."""
    points = draw(noise, seed)
    weights = torch.sigmoid(torch.tensor(stored[LOGITS])).unsqueeze(0)
    return retrain(*points.train, weights, TRAINING, FINAL_STEPS).accuracies(*points.test)[0]


TRAINING = Training(learning_rate=LEARNING_RATE, momentum=MOMENTUM, l2=L2, classes=CLASSES)


def _penalty(params: Tensors, outer: Tensors) -> Tensor:
    return 0.5 * L2 * params["weight"].square().sum()
