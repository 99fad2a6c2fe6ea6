"""Compression of tensors on their own device: what crosses to the host is what is sent.

The payloads are those of the NumPy pipeline, byte for byte, and so are what is transmitted and what is owed, which
stay on the device. Every operation is the same, in float32 and in the same order; division is by a tensor, because
PyTorch multiplies with the reciprocal of a scalar on CUDA. Subnormal numbers must not be flushed to zero
(``torch.set_flush_denormal``, off by default).

Only workers import this file; the coordinator runs without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chronos_common.codec import encode, mixed
from chronos_common.codec.blocks import BLOCK, MAX_SCALE, block_count
from chronos_common.codec.indices import IndexEncoding
from chronos_common.codec.mixed import ValueEncoding
from chronos_common.compression.pipeline import Pipeline
from chronos_common.errors import (
    DtypeMismatchError,
    NameMismatchError,
    NonFiniteError,
    ShapeMismatchError,
)
from chronos_common.tensors import TensorSpec, require_finite

Tensors = Mapping[str, Tensor]

_DTYPES: Final = {torch.float32: "float32", torch.float64: "float64"}
_BITS: Final = {
    torch.float32: (torch.int32, 0x7FFFFFFF),
    torch.float64: (torch.int64, 0x7FFFFFFFFFFFFFFF),
}
_MIN_SCALE: Final = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, kw_only=True, eq=False)
class CompressedTensors:
    """As :class:`~chronos_common.compression.feedback.Compressed`, with tensors on the update's device."""

    payload: bytes
    transmitted: dict[str, Tensor]
    residual: dict[str, Tensor]


def compress(pipeline: Pipeline, update: Tensors, residual: Tensors | None = None) -> CompressedTensors:
    """Encode an update together with what is owed; see ``feedback.compress``.

    Args:
        pipeline: what may be left out.
        update: float32 or float64 tensors; not changed.
        residual: of the same names, shapes, dtypes and devices; ``None`` or empty for nothing.

    Raises:
        PayloadError: illegal or not matching tensors, or a sum that is not finite. Nothing has changed then.
    """
    totals = {name: _total(name, update[name].detach(), residual) for name in sorted(update)}
    if residual and residual.keys() != update.keys():
        raise NameMismatchError(f"the residual holds {sorted(residual)}, the update {sorted(update)}")
    if pipeline.lossless:
        arrays = {name: _to_numpy(total) for name, total in totals.items()}
        require_finite(arrays, "what is to be sent")
        return CompressedTensors(
            payload=encode("identity", arrays),
            transmitted={name: total.clone() for name, total in totals.items()},
            residual={},
        )
    entries, transmitted = [], {}
    for name, total in totals.items():
        source = _TensorSource(name, total)
        entry = pipeline.entry(source)
        entries.append(entry)
        transmitted[name] = source.decoded[entry.encoding]
    return CompressedTensors(
        payload=mixed.pack(entries),
        transmitted=transmitted,
        residual={name: total - transmitted[name] for name, total in totals.items()},
    )


def top_k(values: Tensor, k: int) -> Tensor:
    """As ``topk.top_k``: ascending positions in a flat tensor, on its device."""
    integer, mask = _BITS[values.dtype]
    magnitudes = values.view(integer) & mask
    if k >= values.numel():
        return magnitudes.nonzero().reshape(-1)
    if k < 1:
        return torch.empty(0, dtype=torch.int64, device=values.device)
    threshold = magnitudes.topk(k, sorted=False).values.min()
    reached = (magnitudes >= threshold.clamp(min=1)).nonzero().reshape(-1)
    surplus = reached.numel() - k
    if surplus <= 0:
        return reached
    tied = magnitudes[reached] == threshold
    late = tied.flip(0).cumsum(0).flip(0) <= surplus
    return reached[~(tied & late)]


def quantise(values: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """As ``blocks.quantise``: codes and scales of a flat tensor, on its device.

    Raises:
        NonFiniteError: a value that is not finite, or not in the range of float32.
    """
    count = block_count(values.numel(), BLOCK)
    padded = torch.zeros(count * BLOCK, dtype=torch.float32, device=values.device)
    padded[: values.numel()] = values
    padded = padded.reshape(count, BLOCK)
    if not bool(torch.isfinite(padded).all()):
        raise NonFiniteError(
            f"array {name!r} holds a value that is not finite, or too large for float32", name=name
        )
    largest = padded.abs().amax(dim=1) if count else padded.new_zeros(0)
    scales = (largest / torch.full_like(largest, 127.0)).clamp(max=float(MAX_SCALE))
    scales = torch.where(scales < _MIN_SCALE, torch.zeros_like(scales), scales)
    inverse = torch.where(scales > 0, torch.ones_like(scales) / scales, torch.zeros_like(scales))
    codes = (padded * inverse[:, None]).round().to(torch.int8)
    return codes.reshape(-1)[: values.numel()].contiguous(), scales


def dequantise(codes: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """As ``blocks.dequantise``: float32 products, in ``dtype``."""
    return (codes.to(torch.float32) * scales.repeat_interleave(BLOCK)[: codes.numel()]).to(dtype)


class _TensorSource:
    """A tensor as a source, with what each encoding of it decodes to."""

    def __init__(self, name: str, tensor: Tensor) -> None:
        if tensor.dtype not in _DTYPES:
            raise DtypeMismatchError(
                f"tensor {name!r} has dtype {tensor.dtype}; convert it to float32 or float64"
            )
        self.spec = TensorSpec(name=name, shape=tuple(tensor.shape), dtype=_DTYPES[tensor.dtype])
        self.decoded: dict[str, Tensor] = {}
        self._tensor = tensor
        self._flat = tensor.contiguous().reshape(-1)

    def dense(self) -> mixed.Entry:
        self.decoded["dense"] = self._tensor.clone()
        return mixed.dense(self.spec.name, _to_numpy(self._tensor))

    def int8(self) -> mixed.Entry:
        codes, scales = quantise(self._flat, self.spec.name)
        self.decoded["int8"] = dequantise(codes, scales, self._tensor.dtype).reshape(self._tensor.shape)
        return mixed.int8_coded(self.spec, _to_numpy(codes), _to_numpy(scales))

    def sparse(self, k: int, *, values: ValueEncoding, index_encoding: IndexEncoding) -> mixed.Entry:
        at = top_k(self._flat, k)
        listed = self._flat[at]
        decoded = torch.zeros_like(self._flat)
        self.decoded["sparse"] = decoded.reshape(self._tensor.shape)
        indices = _to_numpy(at)
        if values == "int8":
            codes, scales = quantise(listed, self.spec.name)
            decoded[at] = dequantise(codes, scales, decoded.dtype)
            return mixed.sparse_coded(
                self.spec, indices, _to_numpy(codes), _to_numpy(scales), index_encoding=index_encoding
            )
        narrow = listed.to(torch.float32)
        decoded[at] = narrow.to(decoded.dtype)
        return mixed.sparse_listed(self.spec, indices, _to_numpy(narrow), index_encoding=index_encoding)


def _total(name: str, update: Tensor, residual: Tensors | None) -> Tensor:
    if not residual or name not in residual:
        return update
    owed = residual[name]
    if owed.shape != update.shape:
        raise ShapeMismatchError(
            f"residual {name!r} has shape {tuple(owed.shape)}, not {tuple(update.shape)}"
        )
    if owed.dtype != update.dtype:
        raise DtypeMismatchError(f"residual {name!r} has dtype {owed.dtype}, not {update.dtype}")
    return update + owed


def _to_numpy(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().contiguous().cpu().numpy()
    return array
