"""Learning where to begin: the initial weights of a network that learns new few-shot tasks in a few steps (MAML).

A task asks to tell five of the ten digits apart, under labels of its own, from ``SHOTS`` examples of each. λ is where
gradient descent begins, all 105,005 weights of a two-layer network; the outer loss is that of fresh examples after
the inner steps. Training tasks draw from the first 1,200 digits, validation tasks from the same, test tasks from the
rest. (Finn et al., "Model-agnostic meta-learning", ICML 2017.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.uneven.pace import WORKERS, Paced, Pacer
from chronos_common.problem import Context, InnerProblem, InnerState, OuterParameter, Tensors
from chronos_common.tensors import Array

TRAIN, PIXELS, HIDDEN, WAYS, SHOTS, QUERIES = 1200, 64, 1500, 5, 2, 15
INNER_STEPS, INNER_RATE = 3, 0.2
TASKS = 2
VALIDATION_TASKS, TEST_TASKS = 16, 100

Examples = tuple[Tensor, Tensor]
"""Inputs and labels of several tasks."""


@lru_cache(maxsize=1)
def digits(seed: int) -> tuple[Tensor, Tensor]:
    """All digits in an order that the seed gives: inputs ``(1797, 64)`` in [0, 1], labels ``(1797,)``."""
    from sklearn.datasets import load_digits

    inputs, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    return torch.from_numpy(inputs[order] / 16.0).float(), torch.from_numpy(labels[order].astype(np.int64))


class FewShot(InnerProblem):
    """Examples of one task after the other; the loss of a two-layer network.

    Args:
        seed: of the split, the tasks and the first initial weights.
    """

    inner_learning_rate = INNER_RATE

    def __init__(self, seed: int) -> None:
        self._seed = seed
        inputs, labels = digits(seed)
        self._parts = {"train": (inputs[:TRAIN], labels[:TRAIN]), "test": (inputs[TRAIN:], labels[TRAIN:])}

    def outer_parameters(self) -> dict[str, OuterParameter]:
        """Weights and biases, drawn as PyTorch draws those of linear layers."""
        draw = torch.Generator().manual_seed(self._seed)

        def uniform(*shape: int, fan_in: int) -> OuterParameter:
            return OuterParameter((torch.rand(*shape, generator=draw) * 2 - 1) / fan_in**0.5)

        return {
            "hidden.weight": uniform(HIDDEN, PIXELS, fan_in=PIXELS),
            "hidden.bias": uniform(HIDDEN, fan_in=PIXELS),
            "output.weight": uniform(WAYS, HIDDEN, fan_in=HIDDEN),
            "output.bias": uniform(WAYS, fan_in=HIDDEN),
        }

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        """λ, once for each task of an update: shapes ``(TASKS, ...)``."""
        return InnerState({name: value.expand(TASKS, *value.shape) for name, value in outer.items()})

    def inner_batch(self, step: int, ctx: Context) -> Examples:
        """The tasks' few examples, the same at every step."""
        return self._tasks(ctx)[0]

    def outer_batch(self, step: int, ctx: Context) -> Examples:
        """Other examples of the same tasks."""
        return self._tasks(ctx)[1]

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: Examples, ctx: Context) -> Tensor:
        """Sum of the tasks' cross entropies, so that each learns as if it were alone."""
        return _losses(inner.params, batch).sum()

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: Examples, ctx: Context) -> Tensor:
        """Mean of the tasks' cross entropies."""
        return _losses(inner.params, batch).mean()

    def _tasks(self, ctx: Context) -> tuple[Examples, Examples]:
        """Support and query sets: new tasks for every version and every worker."""
        first = TASKS * (ctx.base_version * WORKERS + ctx.shard.index)
        return self.examples("train", range(first, first + TASKS))

    def examples(self, part: str, numbers: Sequence[int]) -> tuple[Examples, Examples]:
        """Support and query sets of tasks by number: inputs ``(tasks, n, 64)`` and labels ``(tasks, n)``."""
        inputs, labels = self._parts[part]
        support, query = [], []
        for number in numbers:
            rng = np.random.default_rng([self._seed, number, len(part)])
            chosen = np.stack(
                [
                    rng.choice(np.flatnonzero(labels.numpy() == digit), SHOTS + QUERIES, replace=False)
                    for digit in rng.permutation(10)[:WAYS]
                ]
            )
            support.append(chosen[:, :SHOTS].ravel())
            query.append(chosen[:, SHOTS:].ravel())
        return _set(inputs, support, SHOTS), _set(inputs, query, QUERIES)


class PacedFewShot(Paced, FewShot):
    """The problem as workers see it, at a fixed pace; arguments as of ``FewShot`` and ``Pacer``."""

    def __init__(self, seed: int, step_seconds: float = 0.0, hypergradient_seconds: float = 0.0) -> None:
        self.pacer = Pacer(step_seconds=step_seconds, hypergradient_seconds=hypergradient_seconds)
        super().__init__(seed)


def score(problem: FewShot, stored: Mapping[str, Array], part: str, tasks: int) -> tuple[float, float]:
    """Mean query loss and accuracy (a fraction) after the inner steps, over tasks that no version trained on."""
    support, query = problem.examples(part, range(10_000_000, 10_000_000 + tasks))
    weights = {k: torch.tensor(v).expand(tasks, *v.shape) for k, v in stored.items()}
    for _ in range(INNER_STEPS):
        leaves = {k: v.detach().requires_grad_() for k, v in weights.items()}
        grads = torch.autograd.grad(_losses(leaves, support).sum(), tuple(leaves.values()))
        weights = {k: v.detach() - INNER_RATE * g for (k, v), g in zip(leaves.items(), grads, strict=True)}
    with torch.no_grad():
        correct = _outputs(weights, query[0]).argmax(-1) == query[1]
        return float(_losses(weights, query).mean()), float(correct.double().mean())


def _set(inputs: Tensor, chosen: list[Array], each: int) -> Examples:
    labels = torch.arange(WAYS).repeat_interleave(each)
    return inputs[torch.from_numpy(np.stack(chosen))], labels.expand(len(chosen), -1)


def _outputs(weights: Tensors, inputs: Tensor) -> Tensor:
    bias, matrix = weights["hidden.bias"].unsqueeze(1), weights["hidden.weight"]
    hidden = torch.relu(torch.baddbmm(bias, inputs, matrix.transpose(1, 2)))
    return torch.baddbmm(
        weights["output.bias"].unsqueeze(1), hidden, weights["output.weight"].transpose(1, 2)
    )


def _losses(weights: Tensors, examples: Examples) -> Tensor:
    """Cross entropy of each task."""
    outputs = _outputs(weights, examples[0])
    return functional.cross_entropy(outputs.transpose(1, 2), examples[1], reduction="none").mean(dim=1)
