"""d(state)/dλ, one row for each number of λ, pushed through differentiable computations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from chronos_common.problem import InnerState, Tensors

_BUFFERS = "buffers/"


class Tangents:
    """The derivative of a state by λ.

    A Jacobian-vector product is the derivative of the vector-Jacobian product by its vector: with
    p(u) = uᵀJ, which is linear in u, d(p · t)/du = J t.

    Args:
        outer: λ by name; d numbers in all.
        batched: push all d rows at once instead of one by one.

    Attributes:
        met: names of the outer parameters that a computation contained so far.
    """

    def __init__(self, outer: Tensors, *, batched: bool) -> None:
        self._sizes = {name: value.numel() for name, value in outer.items()}
        self._shapes = {name: value.shape for name, value in outer.items()}
        self._count = sum(self._sizes.values())
        self._rows: Tensors = {}
        self._batched = batched
        self._unit = _units(outer, self._count)
        self.met: frozenset[str] = frozenset()

    def buffers(self) -> frozenset[str]:
        """Names of the buffers that depend on λ."""
        return frozenset(k.removeprefix(_BUFFERS) for k in self._rows if k.startswith(_BUFFERS))

    def push(self, begin: InnerState, outer: Tensors, end: InnerState) -> None:
        """From the derivative of ``begin`` to that of ``end``, which was computed from it and from ``outer``."""
        images = {k: v for k, v in end.to_tensors().items() if v.requires_grad}
        rows = {**self._unit, **self._rows}
        inputs = {**{_key(k): v for k, v in outer.items()}, **begin.to_tensors()}
        inputs = {k: v for k, v in inputs.items() if k in rows and v.requires_grad}
        if not images or not inputs:
            self._rows = {}
            return
        dummies = [torch.zeros_like(v, requires_grad=True) for v in images.values()]
        with torch.enable_grad():
            pulled: Sequence[Tensor | None] = torch.autograd.grad(
                tuple(images.values()), tuple(inputs.values()), dummies, create_graph=True, allow_unused=True
            )
        self.met |= {k for k, g in zip(outer, pulled, strict=False) if g is not None}
        linear = {k: g for k, g in zip(inputs, pulled, strict=True) if g is not None and g.requires_grad}
        found = self._derivatives(linear, dummies, rows)
        self._rows = {k: g for k, g in zip(images, found, strict=True) if g is not None}

    def _derivatives(
        self, linear: Mapping[str, Tensor], dummies: Sequence[Tensor], rows: Mapping[str, Tensor]
    ) -> Sequence[Tensor | None]:
        if not linear or not self._count:
            return [None] * len(dummies)
        values, weights = tuple(linear.values()), [rows[k] for k in linear]
        if self._batched:
            return torch.autograd.grad(values, dummies, weights, is_grads_batched=True, allow_unused=True)
        single = [
            torch.autograd.grad(
                values, dummies, [w[i] for w in weights], retain_graph=True, allow_unused=True
            )
            for i in range(self._count)
        ]
        return [None if column[0] is None else torch.stack(column) for column in zip(*single, strict=True)]

    def contract(self, cotangent: Tensors) -> Tensors:
        """dL/dλ by name, through the state, of an L with dL/d(state) = ``cotangent``."""
        parts = [
            self._rows[k].reshape(self._count, -1) @ weight.reshape(-1)
            for k, weight in cotangent.items()
            if k in self._rows
        ]
        widest = parts[0] if parts else next(iter(self._unit.values())).new_zeros(self._count)
        total = widest if len(parts) < 2 else torch.stack(parts).sum(dim=0)
        pieces = total.split_with_sizes(list(self._sizes.values()))
        return {k: piece.view(self._shapes[k]) for k, piece in zip(self._sizes, pieces, strict=True)}


def _key(name: str) -> str:
    return f"outer/{name}"


def _units(outer: Tensors, count: int) -> Tensors:
    """dλ/dλ: for each parameter d rows, of which its own are those of a unit matrix."""
    units: Tensors = {}
    first = 0
    for name, value in outer.items():
        rows = torch.zeros(count, value.numel(), dtype=value.dtype, device=value.device)
        rows[first : first + value.numel()] = torch.eye(value.numel(), dtype=value.dtype, device=value.device)
        units[_key(name)] = rows.view(count, *value.shape)
        first += value.numel()
    return units
