"""The three mixer-like models of the data: what mixes tokens differs, what mixes channels does not."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


class Affine(nn.Module):
    """A scale and a shift for each channel: the normalisation of ResMLP (arXiv 2105.03404)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """``(batch, tokens, width)`` to the same."""
        return self.scale * tokens + self.shift


class AcrossTokens(nn.Module):
    """Applies a module to the tokens of each channel instead of to the channels of each token."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """``(batch, tokens, width)`` to the same."""
        mixed: torch.Tensor = self.inside(tokens.transpose(1, 2))
        return mixed.transpose(1, 2)


class AxialShift(nn.Module):
    """Shifts five groups of channels along the two axes of the image, between two projections (arXiv 2107.08391)."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.before = nn.Linear(width, width)
        self.after = nn.Linear(width, width, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """``(batch, side × side, width)`` to the same."""
        batch, _, width = tokens.shape
        image = self.before(tokens).view(batch, self.side, self.side, width)
        parts = image.chunk(5, dim=3)
        moves = ((0, 0), (1, 1), (-1, 1), (1, 2), (-1, 2))
        shifted = [part.roll(by, axis) if by else part for part, (by, axis) in zip(parts, moves, strict=True)]
        mixed: torch.Tensor = self.after(torch.cat(shifted, dim=3).view(batch, -1, width))
        return mixed


class Mixer(nn.Module):
    """Patches, ``depth`` blocks of token mixing and channel mixing, mean over tokens, head."""

    def __init__(
        self,
        *,
        side: int,
        width: int,
        depth: int,
        hidden: int,
        classes: int,
        patch: int,
        norm: Callable[[int], nn.Module],
        tokens: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token_norms = nn.ModuleList(norm(width) for _ in range(depth))
        self.token_mixers = nn.ModuleList(tokens((side // patch) ** 2) for _ in range(depth))
        self.channel_norms = nn.ModuleList(norm(width) for _ in range(depth))
        self.channel_mixers = nn.ModuleList(_perceptron(width, hidden) for _ in range(depth))
        self.norm = norm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``(batch, 3, side, side)`` to ``(batch, classes)``."""
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        blocks = zip(
            self.token_norms, self.token_mixers, self.channel_norms, self.channel_mixers, strict=True
        )
        for token_norm, token_mixer, channel_norm, channel_mixer in blocks:
            tokens = tokens + token_mixer(token_norm(tokens))
            tokens = tokens + channel_mixer(channel_norm(tokens))
        scores: torch.Tensor = self.head(self.norm(tokens).mean(1))
        return scores


def _perceptron(width: int, hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


def mixer(
    side: int, classes: int, *, width: int, depth: int, hidden: int, token_hidden: int = 128, patch: int = 8
) -> nn.Module:
    """MLP-Mixer (arXiv 2105.01601)."""
    return Mixer(
        side=side, width=width, depth=depth, hidden=hidden, classes=classes, patch=patch, norm=nn.LayerNorm,
        tokens=lambda count: AcrossTokens(_perceptron(count, token_hidden)),
    )  # fmt: skip


def resmlp(side: int, classes: int, *, width: int, depth: int, hidden: int, patch: int = 8) -> nn.Module:
    """ResMLP (arXiv 2105.03404)."""
    return Mixer(
        side=side, width=width, depth=depth, hidden=hidden, classes=classes, patch=patch, norm=Affine,
        tokens=lambda count: AcrossTokens(nn.Linear(count, count)),
    )  # fmt: skip


def asmlp(side: int, classes: int, *, width: int, depth: int, hidden: int, patch: int = 8) -> nn.Module:
    """AS-MLP without stages (arXiv 2107.08391)."""
    return Mixer(
        side=side, width=width, depth=depth, hidden=hidden, classes=classes, patch=patch, norm=nn.LayerNorm,
        tokens=lambda _: AxialShift(width, side // patch),
    )  # fmt: skip
