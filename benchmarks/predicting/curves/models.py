"""The models: linear, perceptrons, convolutions, attention; all small enough for seconds on a CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor, nn

from benchmarks.predicting.curves.data import LENGTH, SIDE, Data

WIDTH: Final = 32

Maker = Callable[[Data], nn.Module]


class Layer(nn.Module):
    """Self-attention with two heads and a perceptron, each after a normalisation.

    Args:
        causal: whether each place sees only those before.
    """

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.project, self.mix = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.wide, self.narrow = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, hidden: Tensor) -> Tensor:
        """``(batch, places, width)`` to the same."""
        parts = self.project(self.first(hidden)).unflatten(-1, (3, 2, WIDTH // 2)).permute(2, 0, 3, 1, 4)
        asked, keys, values = parts
        scores = asked @ keys.transpose(-1, -2) / math.sqrt(WIDTH // 2)
        if self.causal:
            places = hidden.shape[1]
            scores = scores + torch.full((places, places), -1e9, device=scores.device).triu(1)
        hidden = hidden + self.mix((scores.softmax(dim=-1) @ values).transpose(1, 2).flatten(-2))
        wide: Tensor = self.wide(self.second(hidden))
        found: Tensor = hidden + self.narrow(wide.relu())
        return found


class Attending(nn.Module):
    """Two layers of attention over rows of pixels, or over characters that see only those before.

    Args:
        data: to read.
    """

    def __init__(self, data: Data) -> None:
        super().__init__()
        self.text = data.kind == "text"
        self.embed = nn.Embedding(data.classes, WIDTH) if self.text else nn.Linear(SIDE, WIDTH)
        self.place = nn.Parameter(0.1 * torch.randn(LENGTH if self.text else SIDE, WIDTH))
        self.layers = nn.Sequential(*(Layer(self.text) for _ in range(2)))
        self.head = nn.Linear(WIDTH, data.classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores, ``(batch, classes)`` or ``(batch, length, characters)``."""
        hidden = self.layers(self.embed(inputs if self.text else inputs.squeeze(1)) + self.place)
        scores: Tensor = self.head(hidden if self.text else hidden.mean(dim=1))
        return scores


class Causal(nn.Module):
    """Convolutions over the five characters before.

    Args:
        data: to read.
    """

    def __init__(self, data: Data) -> None:
        super().__init__()
        self.embed = nn.Embedding(data.classes, WIDTH)
        self.near = nn.Conv1d(WIDTH, 2 * WIDTH, 5, padding=4)
        self.head = nn.Linear(2 * WIDTH, data.classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores, ``(batch, length, characters)``."""
        near = self.near(self.embed(inputs).transpose(1, 2))[..., : inputs.shape[1]]
        scores: Tensor = self.head(near.relu().transpose(1, 2))
        return scores


def _perceptron(*widths: int, dropout: float = 0.0) -> Maker:
    def make(data: Data) -> nn.Module:
        sizes = [data.inputs[0].numel(), *widths]
        layers: list[nn.Module] = [nn.Flatten()]
        for inside, outside in zip(sizes, widths, strict=False):
            layers += [nn.Linear(inside, outside), nn.ReLU(), nn.Dropout(dropout)]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], data.classes))

    return make


def _convolutions(data: Data) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24 * (SIDE // 2) ** 2, data.classes),
    )


MODELS: Final[Mapping[str, tuple[tuple[str, ...], Maker]]] = {
    "logistic": (("table", "image"), _perceptron()),
    "perceptron": (("table", "image"), _perceptron(64)),
    "deep": (("table", "image"), _perceptron(96, 96, dropout=0.2)),
    "convolutional": (("image",), _convolutions),
    "causal": (("text",), Causal),
    "attention": (("image", "text"), Attending),
}
"""By name: the kinds of data that fit, and how it is made."""
