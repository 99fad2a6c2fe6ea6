"""Watches one pass on meta tensors: a dispatch mode that adds up what each kernel does and keeps alive."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from chronos_common.prediction.torch import layouts, recurrent

aten = torch.ops.aten

CONVOLUTIONS = frozenset({aten.convolution, aten._convolution, aten.convolution_backward})
NORMS = frozenset(
    {
        aten.native_batch_norm,
        aten.native_batch_norm_backward,
        aten._native_batch_norm_legit,
        aten._native_batch_norm_legit_functional,
        aten.batch_norm_backward,
        aten._batch_norm_with_update,
        aten.cudnn_batch_norm,
        aten.cudnn_batch_norm_backward,
        aten.native_layer_norm,
        aten.native_layer_norm_backward,
        aten.native_group_norm,
        aten.native_group_norm_backward,
        aten._softmax,
        aten._softmax_backward_data,
        aten._log_softmax,
        aten._log_softmax_backward_data,
        aten.nll_loss_forward,
        aten.nll_loss_backward,
        aten.mse_loss,
        aten.mse_loss_backward,
        aten.sum,
        aten.mean,
    }
)
ATTENTION = frozenset({aten._softmax, aten._safe_softmax})
FUSED = {recurrent.FORWARD: recurrent.forward, recurrent.BACKWARD: recurrent.backward}
BLOCK = 8
FREE = frozenset(
    {aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty, aten.new_empty_strided, aten.detach}
)


class Tally(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves its base class untyped
    """Sums of FLOPs, elements and kernels by class, and the peak of live storage in bytes.

    Args:
        known: tensors that exist before the pass; their storage is not counted as live.
    """

    def __init__(self, known: Iterator[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.sums: dict[str, float] = defaultdict(float)
        self.live_bytes = 0
        self.peak_bytes = 0
        self.processor_peak_bytes = 0
        self._sizes: dict[int, int] = {}
        for tensor in known:
            self._sizes[tensor.untyped_storage()._cdata] = 0
        self.phase = "forward"

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs the operation and adds it up."""
        found = self._run(func, args, kwargs or {})
        outputs = [leaf for leaf in tree_leaves(found) if isinstance(leaf, torch.Tensor)]
        for output in outputs:
            self._watch(output)
        packet = func._overloadpacket
        if func.is_view or packet in FREE or not outputs:
            return found
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if packet in FUSED:
            self._add_fused(packet, args, [*inputs, *outputs])
        else:
            self._add(packet, args, kwargs or {}, found, sum(t.numel() for t in (*inputs, *outputs)))
        return found

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        stands_in = FUSED.get(func._overloadpacket)
        return stands_in(args) if stands_in and args[0].is_meta else func(*args, **kwargs)

    def _add_fused(self, packet: Any, args: Any, tensors: list[torch.Tensor]) -> None:
        backward = packet is recurrent.BACKWARD
        hidden = args[15] if backward else args[10]
        self.sums["matmul_flops"] += recurrent.flops(args[0], hidden) * (2 if backward else 1)
        self.sums["matmul_elements"] += sum(tensor.nbytes for tensor in tensors) / args[0].itemsize
        self.sums["matmul_kernels"] += 1
        self.sums[f"{self.phase}_kernels"] += 1
        above = self.live_bytes + recurrent.temporary_bytes(args[0], hidden, backward=backward)
        self.peak_bytes = max(self.peak_bytes, above)
        self.processor_peak_bytes = max(self.processor_peak_bytes, above)

    def _add(self, packet: Any, args: Any, kwargs: Any, found: Any, elements: int) -> None:
        kind = "pointwise"
        if self.phase == "forward" and (packet in ATTENTION or "scaled_dot_product" in packet.__name__):
            self.sums["attention_kernels"] += 1
        if packet in flop_registry:
            kind = "matmul"
            if packet in CONVOLUTIONS:
                position = 9 if packet is aten.convolution_backward else 8
                kind = "grouped" if args[position] > 1 else "conv"
            flops = flop_registry[packet](*args, **kwargs, out_val=found)
            if kind == "grouped" and packet is aten.convolution_backward:
                # torch's formula leaves out the groups in one of its two products.
                flops = _grouped_backward(args)
            self.sums[f"{kind}_flops"] += flops
            self.sums["conv_kernels" if kind != "matmul" else "matmul_kernels"] += 1
            if kind != "matmul":
                self.peak_bytes = max(self.peak_bytes, self.live_bytes + _padding(args[0], found))
                copies = (
                    layouts.backward_bytes(args, found)
                    if packet is aten.convolution_backward
                    else layouts.forward_bytes(args, found)
                )
                self.processor_peak_bytes = max(self.processor_peak_bytes, self.live_bytes + copies)
        elif packet in NORMS:
            kind = "norm"
        self.sums[f"{kind}_elements"] += elements
        self.sums[f"{self.phase}_kernels"] += 1

    def _watch(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return
        size = storage.nbytes()
        self._sizes[key] = size
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        self.processor_peak_bytes = max(self.processor_peak_bytes, self.live_bytes)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.live_bytes -= self._sizes.pop(key, 0)


def _grouped_backward(args: Any) -> float:
    gradient, _, weight = args[:3]
    products = 2 * gradient.numel() * weight[0].numel()
    return float(products * sum(bool(wanted) for wanted in args[10][:2]))


def _padding(*tensors: Any) -> int:
    """Bytes that libraries add to images whose channels are no multiple of 8, while they convolve them."""
    found = 0
    for tensor in tensors:
        if isinstance(tensor, torch.Tensor) and tensor.dim() == 4 and tensor.shape[1] % BLOCK:
            found += tensor.untyped_storage().nbytes() * (BLOCK - tensor.shape[1] % BLOCK) // tensor.shape[1]
    return found
