"""Data hyper-cleaning on digits as in the demo, in float32, at a fixed pace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.uneven.pace import Paced, Pacer
from chronos_common.cli.demo.arms import accuracies
from chronos_common.cli.demo.hypercleaning import (
    BOUND,
    CLASSES,
    L2,
    LEARNING_RATE,
    LOGITS,
    MOMENTUM,
    PIXELS,
    TRAIN,
    load_split,
    penalty,
    softmax_regression,
)
from chronos_common.problem import ModuleProblem, OuterParameter
from chronos_common.tensors import Array

LOSS_STEPS = 100


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
        shard_validation: bool = False,
        batch_size: int = 200,
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
            shard_validation=shard_validation,
            batch_size=batch_size,
        )


def accuracy(noise: float, seed: int, stored: dict[str, Array]) -> float:
    """Test accuracy (a fraction) of the demo's final training with the learnt weights."""
    logits = torch.from_numpy(stored[LOGITS]).double()
    return accuracies(load_split(noise, seed), {"chronos": logits})["chronos"]


def losses(noise: float, seed: int, versions: Sequence[Mapping[str, Array]]) -> list[float]:
    """Validation loss of every version after ``LOSS_STEPS`` steps of training with its weights, from zero.

    All are trained at once, as slices of one tensor: the loss is their sum, and no slice sees another.
    """
    split = load_split(noise, seed)
    (x, y), (vx, vy) = _single(split.train), _single(split.validation)
    count = len(versions)
    weights = torch.sigmoid(torch.from_numpy(np.stack([version[LOGITS] for version in versions])))
    matrix, bias = torch.zeros(count, PIXELS, CLASSES), torch.zeros(count, 1, CLASSES)
    memory = [torch.zeros_like(matrix), torch.zeros_like(bias)]
    truth = functional.one_hot(y, CLASSES).float()
    for _ in range(LOSS_STEPS):
        # ∂ cross entropy / ∂ logits = softmax − truth
        slope = (torch.softmax(x @ matrix + bias, dim=-1) - truth) * (weights.unsqueeze(-1) / len(y))
        gradients = [x.T @ slope + L2 * matrix, slope.sum(dim=1, keepdim=True)]
        for value, gradient, velocity in zip((matrix, bias), gradients, memory, strict=True):
            velocity.mul_(MOMENTUM).add_(gradient)
            value.sub_(LEARNING_RATE * velocity)
    found = functional.cross_entropy(
        (vx @ matrix + bias).transpose(1, 2), vy.expand(count, -1), reduction="none"
    )
    return [float(loss) for loss in found.mean(dim=1)]


def _single(data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return data[0].float(), data[1]
