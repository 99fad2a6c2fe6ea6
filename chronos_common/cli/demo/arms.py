"""The arms of the demo: seven ways to weight the same data, then one and the same final training.

Every arm trains the softmax regression from its initial state for :data:`RETRAIN_STEPS` steps on its own
samples and weights, with the same learning rate, momentum and penalty, and is measured on the same test data.
They differ in nothing but where the weights come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from chronos_common.cli.demo.hypercleaning import (
    LEARNING_RATE,
    MOMENTUM,
    START_LOGIT,
    TRAIN,
    VALIDATION,
    Split,
    penalty,
    softmax_regression,
)
from chronos_common.problem import Context, ModuleProblem

ARMS: Final[Mapping[str, str]] = {
    "uniform": "all samples, weight σ(λ₀)",
    "control": "Chronos, outer learning rate 0",
    "oracle": "only samples with right labels",
    "validation_only": "only the clean validation set",
    "single_node": "weights learnt in one process",
    "chronos": "weights learnt by Chronos",
    "chronos_plus_validation": "those and the validation set",
}
"""Every arm and what it trains on, in the order of the report."""

RETRAIN_STEPS: Final = 500

Weighted = tuple[Tensor, Tensor, Tensor]
"""Inputs ``(n, 64)``, labels ``(n,)`` and weights ``(n,)``."""


def accuracies(split: Split, logits: Mapping[str, Tensor]) -> dict[str, float]:
    """Test accuracy of every arm, as a fraction.

    Args:
        split: the data.
        logits: learnt λ, shape ``(800,)``, of ``"control"``, ``"single_node"`` and ``"chronos"``; arms whose λ
            is missing are left out.
    """
    return {arm: retrain(split, data) for arm, data in training_data(split, logits).items()}


def training_data(split: Split, logits: Mapping[str, Tensor]) -> dict[str, Weighted]:
    """What each arm trains on, in the order of :data:`ARMS`."""
    (inputs, labels), (more_inputs, more_labels) = split.train, split.validation
    start = torch.full((TRAIN,), START_LOGIT, dtype=inputs.dtype)
    ones = torch.ones(VALIDATION, dtype=inputs.dtype)
    clean = split.clean
    data: dict[str, Weighted] = {
        "uniform": (inputs, labels, torch.sigmoid(start)),
        "oracle": (inputs[clean], labels[clean], torch.ones(int(clean.sum()), dtype=inputs.dtype)),
        "validation_only": (more_inputs, more_labels, ones),
    }
    for arm, values in logits.items():
        data[arm] = (inputs, labels, torch.sigmoid(values))
    if "chronos" in logits:
        data["chronos_plus_validation"] = (
            torch.cat([inputs, more_inputs]),
            torch.cat([labels, more_labels]),
            torch.cat([torch.sigmoid(logits["chronos"]), ones]),
        )
    return {arm: data[arm] for arm in ARMS if arm in data}


def retrain(split: Split, data: Weighted) -> float:
    """Test accuracy after the final training on weighted data."""
    inputs, labels, weights = data
    problem = ModuleProblem(
        softmax_regression(),
        (inputs, labels),
        split.validation,
        outer={"weights": weights},
        sample_weights=lambda outer, positions: outer["weights"][positions],
        regulariser=penalty,
        learning_rate=LEARNING_RATE,
        momentum=MOMENTUM,
        test=split.test,
    )
    inner, trajectory = problem.solve(num_steps=RETRAIN_STEPS)
    return problem.evaluate(inner, trajectory.outer, Context())["test_accuracy"]
