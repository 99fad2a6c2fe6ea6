"""Several tensors as one vector and back, and derivatives that may not be there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from chronos_common.errors import ProblemError

Gradients = Sequence[Tensor | None]

HALF: Final = frozenset((torch.bfloat16, torch.float16))
"""Dtypes in which no sum over a vector is worth having."""


def grad(
    loss: Tensor,
    inputs: Sequence[Tensor],
    where: str,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> Gradients:
    """The derivatives of ``loss`` by ``inputs``, None where it does not contain one.

    Raises:
        ProblemError: it depends on nothing; the message names ``where`` it came from.
    """
    if not loss.requires_grad:
        raise ProblemError(f"{where} depends neither on the inner nor on the outer parameters")
    return torch.autograd.grad(
        loss, inputs, create_graph=create_graph, retain_graph=retain_graph, allow_unused=True
    )


def zero_if_none(value: Tensor | None, like: Tensor) -> Tensor:
    """``value``, or zeros of the shape of ``like``."""
    return torch.zeros_like(like) if value is None else value


def flatten(parts: Sequence[Tensor]) -> Tensor:
    """One vector; with a single part no copy. Mixed dtypes give the widest, and float32 at least."""
    if not parts:
        return torch.empty(0)
    flat = parts[0].reshape(-1) if len(parts) == 1 else torch.cat([part.reshape(-1) for part in parts])
    return flat.float() if flat.dtype in HALF else flat


def flatten_gradients(gradients: Gradients, like: Sequence[Tensor]) -> Tensor:
    """Derivatives by the tensors ``like`` as one vector, zero where there is none."""
    return flatten([zero_if_none(g, leaf) for g, leaf in zip(gradients, like, strict=True)])


def unflatten(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The inverse of :func:`flatten`: views of ``flat``, or copies where the dtype differs."""
    if len(like) == 1:
        only = flat.view(like[0].shape)
        return [only if only.dtype == like[0].dtype else only.to(like[0].dtype)]
    pieces = flat.split_with_sizes([part.numel() for part in like])
    return [piece.view_as(part).to(part.dtype) for piece, part in zip(pieces, like, strict=True)]
