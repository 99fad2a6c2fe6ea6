"""Tasks for populations: data, a small network whose parameters are stacked over the members, and its genes.

* ``lm``: a character model (8 characters to the next) of 15 thousand parameters on the texts of the standard library's
  ``pydoc_data.topics``; AdamW; a sample is a window of 8 predictions.
* ``digits``: scikit-learn's digits with 25 % wrong training labels, 9 thousand parameters; SGD with momentum; the rate
  of dropout is a specialised gene.
* ``spirals``: which of eight interleaved spirals a noisy point in 12 dimensions belongs to; AdamW. It was chosen, and
  its sizes fixed, without looking at how the algorithms do on it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import cross_entropy, embedding

from chronos_common.clan import Allele, FloatAllele, LogFloatAllele

CONTEXT, WINDOW = 8, 8

Parameters = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Samples: inputs and labels, first axis the sample."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True, kw_only=True)
class Task:
    """One problem for a population.

    Attributes:
        name: of the task.
        optimiser: ``adamw`` or ``sgd``.
        batch_size: samples of one member in one step.
        steps: of a run at equal samples.
        round_length: steps between two selections.
        fitness_samples: of the validation split that fitness is measured on.
        train: what is trained on.
        validation: what fitness and the choice of the best member are measured on.
        test: what is reported.
        initial: makes one member's parameters from a generator.
        forward: logits, (P, n, ..., classes), of stacked parameters on inputs (P, n, ...), the members' dropout rates
            (P,) and a generator; without a generator there is no dropout.
        genes: what members start with.
    """

    name: str
    optimiser: str
    batch_size: int
    steps: int
    round_length: int
    fitness_samples: int
    train: Split
    validation: Split
    test: Split
    initial: Callable[[torch.Generator], Parameters]
    forward: Callable[[Parameters, Tensor, Tensor | None, torch.Generator | None], Tensor]
    genes: Mapping[str, Allele]

    def losses(
        self,
        parameters: Parameters,
        x: Tensor,
        y: Tensor,
        dropout: Tensor | None,
        draw: torch.Generator | None,
    ) -> Tensor:
        """Mean cross-entropy of each member, (P,), in nats for one prediction."""
        logits = self.forward(parameters, x, dropout, draw)
        flat = cross_entropy(logits.flatten(0, -2), y.reshape(-1), reduction="none")
        return flat.view(len(logits), -1).mean(1)


def adamw_genes(rate: float) -> dict[str, Allele]:
    """Rate, weight decay and 1 − β₁."""
    return {
        "lr": LogFloatAllele(value=rate, domain=(1e-7, 3.0)),
        "weight_decay": LogFloatAllele(value=1e-2, domain=(1e-5, 1.0)),
        "one_minus_beta1": LogFloatAllele(value=0.1, domain=(0.01, 0.9)),
    }


@functools.cache
def _characters() -> Tensor:
    text = "".join(topics[name] for name in sorted(topics))
    alphabet = {character: place for place, character in enumerate(sorted(set(text)))}
    return torch.tensor([alphabet[character] for character in text])


def lm(seed: int, *, rate: float = 3e-3) -> Task:
    """The character model; the text is cut into 10 blocks, one each for validation and test by the seed."""
    codes = _characters()
    classes = int(codes.max()) + 1
    windows = codes.unfold(0, CONTEXT + WINDOW, WINDOW)
    blocks = torch.tensor_split(windows, 10)
    order = np.random.default_rng(seed).permutation(10)
    parts = [torch.cat([blocks[i] for i in chosen]) for chosen in (order[2:], order[:1], order[1:2])]
    train, validation, test = (Split(x=part[:, :-1], y=part[:, CONTEXT:]) for part in parts)

    def initial(draw: torch.Generator) -> Parameters:
        return {
            "embedding": torch.randn(classes, 16, generator=draw) * 0.5,
            **dense("hidden", CONTEXT * 16, 56, draw),
            **dense("out", 56, classes, draw),
        }

    def forward(p: Parameters, x: Tensor, dropout: Tensor | None, draw: torch.Generator | None) -> Tensor:
        contexts = x.unfold(2, CONTEXT, 1) + torch.arange(len(x))[:, None, None, None] * classes
        embedded = embedding(contexts, p["embedding"].flatten(0, 1)).flatten(3)
        found = torch.tanh(affine(p, "hidden", embedded.flatten(1, 2)))
        return affine(p, "out", found).view(*x.shape[:2], WINDOW, classes)

    return Task(
        name="lm",
        optimiser="adamw",
        batch_size=16,
        steps=800,
        round_length=80,
        fitness_samples=192,
        train=train,
        validation=limited(validation, 1000, seed),
        test=limited(test, 2000, seed),
        initial=initial,
        forward=forward,
        genes=adamw_genes(rate),
    )


def digits(seed: int, *, rate: float = 0.03) -> Task:
    """Digits with a quarter of the training labels drawn anew; clean validation and test."""
    inputs, labels = load_digits(return_X_y=True)
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(labels))
    wrong = draw.random(len(labels)) < 0.25
    noisy = np.where(wrong, (labels + draw.integers(1, 10, len(labels))) % 10, labels)
    x = torch.tensor(inputs / 16, dtype=torch.float32)
    y, y_noisy = torch.tensor(labels), torch.tensor(noisy)
    cut = [torch.tensor(part) for part in np.split(order, [800, 1200])]
    return Task(
        name="digits",
        optimiser="sgd",
        batch_size=16,
        steps=800,
        round_length=80,
        fitness_samples=400,
        train=Split(x=x[cut[0]], y=y_noisy[cut[0]]),
        validation=Split(x=x[cut[1]], y=y[cut[1]]),
        test=Split(x=x[cut[2]], y=y[cut[2]]),
        initial=functools.partial(_perceptron, sizes=(64, 120, 10)),
        forward=perceptron,
        genes={
            "lr": LogFloatAllele(value=rate, domain=(1e-6, 3.0)),
            "one_minus_momentum": LogFloatAllele(value=0.1, domain=(0.01, 1.0)),
            "weight_decay": LogFloatAllele(value=1e-4, domain=(1e-6, 0.1)),
            "dropout": FloatAllele(value=0.2, domain=(0.0, 0.8), specialised=True),
        },
    )


def spirals(seed: int, *, rate: float = 3e-3) -> Task:
    """Eight interleaved spirals, turned at random into 12 dimensions, with noise; the validation is of 1000 points."""
    draw = np.random.default_rng(seed)
    turn = np.linalg.qr(draw.normal(size=(12, 12)))[0]

    def split(size: int) -> Split:
        arm, radius = draw.integers(8, size=size), np.sqrt(draw.random(size))
        angle = 2.5 * radius + arm * (2.0 * math.pi / 8.0)
        points = draw.normal(size=(size, 12)) * 0.05
        points[:, 0] += radius * np.cos(angle)
        points[:, 1] += radius * np.sin(angle)
        x = torch.tensor(points @ turn * 3.0, dtype=torch.float32)
        return Split(x=x, y=torch.tensor(arm))

    return Task(
        name="spirals",
        optimiser="adamw",
        batch_size=16,
        steps=800,
        round_length=80,
        fitness_samples=192,
        train=split(20_000),
        validation=split(1000),
        test=split(2000),
        initial=functools.partial(_perceptron, sizes=(12, 128, 8)),
        forward=perceptron,
        genes=adamw_genes(rate),
    )


TASKS: Mapping[str, Callable[..., Task]] = {"lm": lm, "digits": digits, "spirals": spirals}


def dense(name: str, inputs: int, outputs: int, draw: torch.Generator) -> Parameters:
    """A layer's weights, uniform in ±1/√inputs, and biases of 0."""
    bound = 1.0 / math.sqrt(inputs)
    weight = (torch.rand(inputs, outputs, generator=draw) * 2.0 - 1.0) * bound
    return {f"{name}.weight": weight, f"{name}.bias": torch.zeros(1, outputs)}


def affine(p: Parameters, name: str, x: Tensor) -> Tensor:
    """x W + b, by member."""
    return torch.baddbmm(p[f"{name}.bias"], x, p[f"{name}.weight"])


def limited(split: Split, size: int, seed: int) -> Split:
    """A random part of a split."""
    chosen = torch.tensor(np.random.default_rng(seed + 1).permutation(len(split.x))[:size])
    return Split(x=split.x[chosen], y=split.y[chosen])


def perceptron(p: Parameters, x: Tensor, dropout: Tensor | None, draw: torch.Generator | None) -> Tensor:
    """Two layers with ReLU; dropout before the second."""
    hidden = torch.relu(affine(p, "hidden", x))
    if draw is not None and dropout is not None:
        keep = (1.0 - dropout)[:, None, None]
        hidden = hidden * (torch.rand(hidden.shape, generator=draw) < keep) / keep
    return affine(p, "out", hidden)


def _perceptron(draw: torch.Generator, *, sizes: tuple[int, int, int]) -> Parameters:
    return {**dense("hidden", sizes[0], sizes[1], draw), **dense("out", sizes[1], sizes[2], draw)}


def hyper(values: list[Mapping[str, Any]], name: str, default: float) -> Tensor:
    """One gene of all members as a tensor, (P,)."""
    return torch.tensor([float(value.get(name, default)) for value in values])
