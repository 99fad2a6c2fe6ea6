"""What oneDNN holds beside a convolution's tensors on a CPU: copies in its own layout, for as long as it runs.

Convolutions compute on blocks of 16 channels (AVX-512; 8 on older processors): what they read and write is copied into
blocks, padded to whole ones, and back. The copy of an output lives beside the output, that of a gradient beside the
gradient: at the fullest moment of a small network they can be a third of what is alive. The rules are those of the
allocator's events, one convolution at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch

BLOCK: Final = 16
NARROW: Final = 8
"""The block of a weights' gradient whose inputs have fewer channels than one block."""
IMAGE: Final = 3
"""The most channels of inputs that even a weights' gradient reads without a copy."""
FEW: Final = 16
"""Samples below which a pointwise convolution of one thread is a plain product, without copies."""


def forward_bytes(args: Sequence[Any], output: torch.Tensor) -> int:
    """Above inputs, weights and output: the most at once, in copies and then in the output being copied back."""
    inputs, weight, transposed = args[0], args[1], args[6]
    if _plain(inputs, weight, args[3]):
        return 0
    if transposed:
        return 2 * output.nbytes
    copied = _blocked(output)
    read = _blocked(inputs) if inputs.shape[1] >= BLOCK else 0
    return max(read + _of_weight(weight) + copied - output.nbytes, copied)


def backward_bytes(args: Sequence[Any], gradients: Sequence[torch.Tensor | None]) -> int:
    """The same of the backward: above its arguments and all gradients that it returns."""
    gradient, inputs, weight = args[:3]
    if _plain(inputs, weight, args[4]):
        return 0
    of_inputs, of_weight = gradients[0], gradients[1]
    # A transposed convolution's backward is a convolution of the gradient: the two change places.
    source, target = (gradient, inputs) if args[7] else (inputs, gradient)
    later = of_weight.nbytes if of_weight is not None else 0
    found = 0
    if of_inputs is not None:
        copied = _blocked(of_inputs)
        read = 0 if args[7] and gradient.shape[1] < BLOCK else _blocked(gradient)
        meanwhile = read + _of_weight(weight) + copied - of_inputs.nbytes
        found = max(meanwhile, copied) - later
    if of_weight is not None:
        found = max(found, _read_for_weights(target, source) + _of_weight(weight) - later)
    return max(found, 0)


def _plain(inputs: torch.Tensor, weight: torch.Tensor, strides: Sequence[int]) -> bool:
    """Whether it is no convolution that oneDNN is asked for."""
    pointwise = all(side == 1 for side in weight.shape[2:]) and all(stride == 1 for stride in strides)
    return inputs.dtype is not torch.float32 or (pointwise and inputs.shape[0] < FEW)


def _read_for_weights(gradient: torch.Tensor, inputs: torch.Tensor) -> int:
    if inputs.shape[1] <= IMAGE:
        return _blocked(gradient)
    block = BLOCK if inputs.shape[1] >= BLOCK else NARROW
    return _blocked(gradient, block) + _blocked(inputs, block)


def _of_weight(weight: torch.Tensor) -> int:
    outside, inside = weight.shape[:2]
    padded = _rounded(outside, BLOCK) * (_rounded(inside, BLOCK) if inside >= BLOCK else inside)
    return weight.nbytes // (outside * inside) * padded


def _blocked(tensor: torch.Tensor, block: int = BLOCK) -> int:
    channels = tensor.shape[1]
    return tensor.nbytes // channels * _rounded(channels, block)


def _rounded(channels: int, block: int) -> int:
    return -(-channels // block) * block
