"""The encoders of the data: ViT-Base and DeiT-Tiny on images of 224 × 224, a small DistilBERT on 128 tokens."""

from __future__ import annotations

import torch
from torch import nn


class Block(nn.Module):
    """Attention and a perceptron, each behind a normalisation and beside a residual."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.first = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.second = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """``(batch, tokens, width)`` to the same."""
        batch, length, width = tokens.shape
        packed = self.qkv(self.first(tokens)).view(batch, length, 3, self.heads, -1)
        query, key, value = packed.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.project(seen.transpose(1, 2).reshape(batch, length, width))
        mixed: torch.Tensor = tokens + self.down(nn.functional.gelu(self.up(self.second(tokens))))
        return mixed


class VisionTransformer(nn.Module):
    """ViT with a class token (arXiv 2010.11929)."""

    def __init__(
        self, classes: int, *, width: int, depth: int, heads: int, side: int = 224, patch: int = 16
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, (side // patch) ** 2 + 1, width))
        self.blocks = nn.ModuleList(Block(width, heads, 4 * width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``(batch, 3, side, side)`` to ``(batch, classes)``."""
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.token.expand(len(tokens), -1, -1), tokens), 1) + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        scores: torch.Tensor = self.head(self.norm(tokens)[:, 0])
        return scores


class TextEncoder(nn.Module):
    """A small DistilBERT (arXiv 1910.01108): embeddings, encoder blocks, mean over tokens, head."""

    def __init__(
        self,
        classes: int,
        *,
        vocabulary: int,
        width: int = 256,
        depth: int = 6,
        heads: int = 8,
        length: int = 128,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.zeros(1, length, width))
        self.blocks = nn.ModuleList(Block(width, heads, 4 * width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """``(batch, length)`` of word ids to ``(batch, classes)``."""
        tokens = self.words(ids) + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        scores: torch.Tensor = self.head(self.norm(tokens).mean(1))
        return scores
