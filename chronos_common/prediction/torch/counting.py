"""Counts what a step of any ``nn.Module`` does, on meta tensors: no data, no memory, no device.

Forward, loss and backward run under a dispatch mode (``tally.py``) at a few batch sizes, from which the lines of
:class:`~chronos_common.prediction.counts.Counts` follow: what a kernel does is linear in the batch size. A module
that meta tensors cannot run (it asks for values, or holds tensors of its own) is run on the CPU at the two smallest
batch sizes instead, and the counts say so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from chronos_common.errors import UncountableModuleError
from chronos_common.prediction.counts import Counts, Line
from chronos_common.prediction.torch.recurrent import Fused
from chronos_common.prediction.torch.tally import Tally

SMALL = (2, 3)
LARGE = (256, 512)

LINES = (
    "matmul_flops",
    "conv_flops",
    "grouped_flops",
    "matmul_elements",
    "conv_elements",
    "grouped_elements",
    "norm_elements",
    "pointwise_elements",
    "saved_elements",
    "saved_other_bytes",
)

Loss = Callable[[Any], torch.Tensor]


def count(
    module: nn.Module,
    input_shape: Sequence[int] | Sequence[Sequence[int]],
    *,
    dtype: torch.dtype | Sequence[torch.dtype] = torch.float32,
    loss: Loss | None = None,
) -> Counts:
    """Counts one training step.

    Args:
        module: anything that maps inputs to a tensor, or to a structure with one in it; left as it was.
        input_shape: of one sample, without the batch; a sequence of shapes for several inputs.
        dtype: of the inputs; integers are token ids.
        loss: maps the module's output to a scalar; by default cross-entropy for ``(batch, classes)`` or
            ``(batch, length, classes)``, else the mean square.

    Raises:
        UncountableModuleError: the module runs neither on meta tensors nor on the CPU.
    """
    shapes = _shapes(input_shape)
    dtypes = [dtype] * len(shapes) if isinstance(dtype, torch.dtype) else list(dtype)
    passes: dict[int, dict[str, float]] = {}
    degraded = ""
    try:
        for batch in (*SMALL, *LARGE):
            passes[batch] = _one_pass(module, shapes, dtypes, batch, loss, "meta")
    except Exception as error:  # noqa: BLE001  # whatever a module raises means that meta cannot run it
        degraded = f"counted on the CPU, since meta tensors cannot run it: {_first_line(error)}"
        passes = _on_cpu(module, shapes, dtypes, loss)
    return _counts(module, shapes, passes, degraded)


def _on_cpu(
    module: nn.Module, shapes: list[tuple[int, ...]], dtypes: list[torch.dtype], loss: Loss | None
) -> dict[int, dict[str, float]]:
    try:
        return {batch: _one_pass(module, shapes, dtypes, batch, loss, "cpu") for batch in SMALL}
    except Exception as error:
        raise UncountableModuleError(
            f"{type(module).__name__} runs neither on meta tensors nor on the CPU with inputs of shapes {shapes} "
            f"({_first_line(error)}); give input_shape without the batch, its dtype, and a loss that takes the output"
        ) from error


def _one_pass(
    module: nn.Module,
    shapes: list[tuple[int, ...]],
    dtypes: list[torch.dtype],
    batch: int,
    loss: Loss | None,
    device: str,
) -> dict[str, float]:
    parameters = {
        name: torch.empty_like(value, device=device).requires_grad_(value.requires_grad)
        if device == "meta"
        else value.detach().clone().requires_grad_(value.requires_grad)
        for name, value in module.named_parameters()
    }
    buffers = {
        name: torch.empty_like(value, device=device) if device == "meta" else value.detach().clone()
        for name, value in module.named_buffers()
    }
    inputs = [_input(shape, kind, batch, device) for shape, kind in zip(shapes, dtypes, strict=True)]
    known = (*parameters.values(), *buffers.values(), *inputs)
    kept: dict[int, tuple[int, bool]] = {}
    before = {tensor.untyped_storage()._cdata for tensor in known}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in before:
            kept[storage._cdata] = (storage.nbytes(), tensor.dtype.is_floating_point)
        return tensor

    with _training(module), torch.random.fork_rng(devices=[]), Tally(iter(known)) as tally:
        with Fused(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = functional_call(module, {**parameters, **buffers}, tuple(inputs))
            value = (loss or _default_loss)(output)
        tally.phase = "backward"
        wanted = [parameter for parameter in parameters.values() if parameter.requires_grad]
        gradients = torch.autograd.grad(value, wanted, allow_unused=True) if wanted else ()
    sums = dict(tally.sums)
    sums["saved_elements"] = sum(size for size, floating in kept.values() if floating) / 4
    sums["saved_other_bytes"] = sum(size for size, floating in kept.values() if not floating)
    sums["peak"] = tally.peak_bytes / 4
    sums["processor_peak"] = tally.processor_peak_bytes / 4
    del gradients
    return sums


def _counts(
    module: nn.Module, shapes: list[tuple[int, ...]], passes: Mapping[int, Mapping[str, float]], degraded: str
) -> Counts:
    lines: dict[str, Any] = {name: _line(passes, SMALL, name) for name in LINES}
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    first = passes[SMALL[0]]
    large = LARGE if LARGE[0] in passes else SMALL
    return Counts(
        **lines,
        peak_small=_line(passes, SMALL, "peak"),
        peak_large=_line(passes, large, "peak"),
        processor_small=_line(passes, SMALL, "processor_peak"),
        processor_large=_line(passes, large, "processor_peak"),
        forward_kernels=first.get("forward_kernels", 0.0),
        backward_kernels=first.get("backward_kernels", 0.0),
        matmul_kernels=first.get("matmul_kernels", 0.0),
        conv_kernels=first.get("conv_kernels", 0.0),
        attention_kernels=first.get("attention_kernels", 0.0),
        parameters=float(sum(parameter.numel() for parameter in trained)),
        parameter_tensors=float(len(trained)),
        frozen_parameters=float(
            sum(p.numel() for p in module.parameters()) - sum(p.numel() for p in trained)
        ),
        buffers=float(sum(buffer.numel() for buffer in module.buffers())),
        input_elements=float(sum(torch.Size(shape).numel() for shape in shapes)),
        degraded=degraded,
    )


def _line(passes: Mapping[int, Mapping[str, float]], batches: tuple[int, int], name: str) -> Line:
    low, high = batches
    at_low, at_high = passes[low].get(name, 0.0), passes[high].get(name, 0.0)
    slope = (at_high - at_low) / (high - low)
    return Line(constant=at_low - slope * low, per_sample=slope)


def _default_loss(output: Any) -> torch.Tensor:
    given = getattr(output, "logits", output)
    tensors = [t for t in tree_leaves(given) if isinstance(t, torch.Tensor) and t.is_floating_point()]
    if not tensors:
        raise TypeError("the output holds no floating-point tensor; give a loss")
    scores = tensors[0]
    if scores.dim() == 0:
        return scores
    if scores.dim() in (2, 3) and scores.shape[-1] > 1:
        flat = scores.flatten(0, -2)
        labels = torch.zeros(flat.shape[0], dtype=torch.int64, device=flat.device)
        return nn.functional.cross_entropy(flat, labels)
    return scores.square().mean()


def _input(shape: tuple[int, ...], dtype: torch.dtype, batch: int, device: str) -> torch.Tensor:
    return torch.zeros((batch, *shape), dtype=dtype, device=device)


def _shapes(given: Sequence[int] | Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    if given and not isinstance(given[0], int):
        return [tuple(shape) for shape in given]  # type: ignore[arg-type]  # a sequence of shapes
    return [tuple(given)]  # type: ignore[arg-type]  # one shape


@contextlib.contextmanager
def _training(module: nn.Module) -> Iterator[None]:
    modes = {part: part.training for part in module.modules()}
    module.train()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
