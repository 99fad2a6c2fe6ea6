"""Small models: those that the prior of processors was developed on, and others that it is reported on."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A model.

    Attributes:
        name: of it.
        module: itself.
        shape: of one sample.
        tokens: how many, where samples are token ids; else 0.
    """

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    tokens: int = 0

    @property
    def dtype(self) -> torch.dtype:
        """Of the inputs."""
        return torch.int64 if self.tokens else torch.float32


class Residual(nn.Module):
    """The input and what a body makes of it.

    Args:
        *body: modules, one after the other.
    """

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, inputs: Tensor) -> Tensor:
        """The sum."""
        found: Tensor = inputs + self.body(inputs)
        return found


class Attention(nn.Module):
    """Self-attention of torch, without weights.

    Args:
        width: of tokens.
        heads: of attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """``(batch, places, width)`` to the same."""
        found: Tensor = self.attention(inputs, inputs, inputs, need_weights=False)[0]
        return found


class Swap(nn.Module):
    """Places and channels change their axes."""

    def forward(self, inputs: Tensor) -> Tensor:
        """``(batch, a, b)`` to ``(batch, b, a)``."""
        return inputs.transpose(1, 2)


class Mean(nn.Module):
    """The mean over places."""

    def forward(self, inputs: Tensor) -> Tensor:
        """``(batch, places, width)`` to ``(batch, width)``."""
        return inputs.mean(dim=1)


class Last(nn.Module):
    """A recurrent network's last output.

    Args:
        cells: the network.
    """

    def __init__(self, cells: nn.Module) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, inputs: Tensor) -> Tensor:
        """``(batch, places, features)`` to ``(batch, width)``."""
        found: Tensor = self.cells(inputs)[0][:, -1]
        return found


def perceptron(*widths: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    """Linear layers with an activation between."""
    layers: list[nn.Module] = []
    for inside, outside in itertools.pairwise(widths[:-1]):
        layers += [nn.Linear(inside, outside), act()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def pooled(channels: int, classes: int) -> list[nn.Module]:
    """The end of an image model."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def plain(inside: int, channels: tuple[int, ...], *, kernel: int = 3) -> nn.Module:
    """Convolutions, each with ReLU and pooling."""
    layers: list[nn.Module] = []
    for before, after in zip((inside, *channels), channels, strict=False):
        layers += [nn.Conv2d(before, after, kernel, padding=kernel // 2), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, *pooled(channels[-1], 10))


def encoder(width: int, heads: int, hidden: int, layers: int) -> nn.Module:
    """Blocks with normalisations before attention and perceptron."""
    blocks: list[nn.Module] = []
    for _ in range(layers):
        blocks += [
            Residual(nn.LayerNorm(width), Attention(width, heads)),
            Residual(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)),
        ]
    return nn.Sequential(*blocks, Mean(), nn.Linear(width, 10))
