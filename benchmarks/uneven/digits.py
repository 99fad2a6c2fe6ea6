"""Data hyper-cleaning on digits as in the demo, in float32, at a fixed pace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.uneven.pace import Paced, Pacer
from benchmarks.uneven.retraining import Training, retrain
from chronos_common.cli.demo.arms import retrain as retrain_arm
from chronos_common.cli.demo.arms import training_data
from chronos_common.cli.demo.hypercleaning import (
    BOUND,
    CLASSES,
    L2,
    LEARNING_RATE,
    LOGITS,
    MOMENTUM,
    TRAIN,
    load_split,
    penalty,
    softmax_regression,
)
from chronos_common.problem import ModuleProblem, OuterParameter
from chronos_common.tensors import Array

LOSS_STEPS = 60
BATCH = 200


class Digits(Paced, ModuleProblem):
    """Which labels are wrong? λ: a logit per training sample, 800 in all.

    Args:
        noise: probability that a training label is flipped.
        seed: of the split and the flips.
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
        split = load_split(float(noise), int(seed))
        super().__init__(
            softmax_regression().float(),
            _single(split.train),
            _single(split.validation),
            outer={LOGITS: OuterParameter(torch.zeros(TRAIN), bounds=(-BOUND, BOUND))},
            sample_weights=lambda outer, positions: torch.sigmoid(outer[LOGITS][positions]),
            regulariser=penalty,
            learning_rate=LEARNING_RATE,
            momentum=MOMENTUM,
            shard_validation=False,
            batch_size=BATCH,
        )


def accuracy(noise: float, seed: int, stored: dict[str, Array]) -> float:
    """Test accuracy (a fraction) of the demo's final training with the learnt weights."""
    logits = torch.tensor(stored[LOGITS], dtype=torch.float64)
    split = load_split(noise, seed)
    return retrain_arm(split, training_data(split, {"chronos": logits})["chronos"])


def losses(noise: float, seed: int, versions: Sequence[Mapping[str, Array]]) -> list[float]:
    """Validation loss of every version after ``LOSS_STEPS`` steps of training from zero with its weights."""
    split = load_split(noise, seed)
    weights = torch.sigmoid(torch.from_numpy(np.stack([version[LOGITS] for version in versions])))
    training = Training(learning_rate=LEARNING_RATE, momentum=MOMENTUM, l2=L2, classes=CLASSES)
    trained = retrain(*_single(split.train), weights, training, LOSS_STEPS)
    return trained.losses(*_single(split.validation))


def _single(data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return data[0].float(), data[1]
