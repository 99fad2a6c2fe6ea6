"""Softmax regression from zero with given sample weights, for many versions of the weights at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class Training:
    """Heavy-ball gradient descent on ``mean(weight * cross entropy) + l2/2 * |matrix|²``."""

    learning_rate: float
    momentum: float
    l2: float
    classes: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """Matrices ``(versions, features, classes)`` and biases ``(versions, 1, classes)``."""

    matrix: Tensor
    bias: Tensor

    def losses(self, x: Tensor, y: Tensor) -> list[float]:
        """Mean cross entropy of each version on some data."""
        outputs = (x @ self.matrix + self.bias).transpose(1, 2)
        found = functional.cross_entropy(outputs, y.expand(len(self.matrix), -1), reduction="none")
        return [float(loss) for loss in found.mean(dim=1)]

    def accuracies(self, x: Tensor, y: Tensor) -> list[float]:
        """Share of right answers of each version on some data."""
        correct = (x @ self.matrix + self.bias).argmax(dim=-1) == y
        return [float(share) for share in correct.double().mean(dim=1)]


def retrain(x: Tensor, y: Tensor, weights: Tensor, training: Training, steps: int) -> Trained:
    """Trains every version at once, as slices of one tensor.

    Args:
        x, y: inputs ``(n, features)`` and labels ``(n,)``.
        weights: of the samples, ``(versions, n)``.
        training: how.
        steps: how long.
    """
    versions, features = len(weights), x.shape[1]
    matrix = torch.zeros(versions, features, training.classes, dtype=x.dtype)
    bias = torch.zeros(versions, 1, training.classes, dtype=x.dtype)
    velocities = torch.zeros_like(matrix), torch.zeros_like(bias)
    truth = functional.one_hot(y, training.classes).to(x.dtype)
    share = weights.unsqueeze(-1) / len(y)
    for _ in range(steps):
        # The slope of a cross entropy by the outputs is softmax − truth.
        slope = (torch.softmax(x @ matrix + bias, dim=-1) - truth) * share
        gradients = x.T @ slope + training.l2 * matrix, slope.sum(dim=1, keepdim=True)
        for value, gradient, velocity in zip((matrix, bias), gradients, velocities, strict=True):
            velocity.mul_(training.momentum).add_(gradient)
            value.sub_(training.learning_rate * velocity)
    return Trained(matrix=matrix, bias=bias)
