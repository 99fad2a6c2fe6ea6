"""What one training step of a model asks of a machine: counted once, good for every batch size and precision.

Almost everything in a step is a straight line in the batch size: a constant (weights, updates) and a part for each
sample. :class:`Counts` holds both parts, by class of operation, in elements, not bytes: the precision is known later.
Counting itself needs torch and is in ``chronos_common.prediction.torch.counting``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from chronos_common.errors import BadWorkloadError

OPTIONAL = frozenset({"processor_small", "processor_large"})
"""Fields that earlier records and the catalogue lack."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """``constant + per_sample × batch size``."""

    constant: float = 0.0
    per_sample: float = 0.0

    def at(self, batch_size: float) -> float:
        """The value at a batch size; never negative."""
        return max(self.constant + self.per_sample * batch_size, 0.0)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """One training step (forward, loss, backward) of a model, without the optimiser's update.

    FLOPs are 2 × multiply-adds. Elements moved are inputs read and outputs written by each kernel.

    Attributes:
        matmul_flops: matrix products, attention included.
        conv_flops: convolutions, except depthwise and other grouped ones.
        grouped_flops: grouped convolutions, which no tensor core speeds up.
        matmul_elements: moved by matrix products.
        conv_elements: moved by convolutions.
        grouped_elements: moved by grouped convolutions.
        norm_elements: moved by normalisations, softmax and losses: float32 under automatic mixed precision.
        pointwise_elements: moved by everything else.
        saved_elements: floating-point activations that backward keeps.
        saved_other_bytes: what else it keeps (indices, masks), in bytes.
        peak_small: the most elements alive at once beside parameters and input, gradients included, small batches.
        peak_large: the same for large batches; the peak is the greater of the two lines.
        processor_small: as ``peak_small`` on a CPU, whose library copies what convolutions read; zero where unknown.
        processor_large: the same for large batches.
        forward_kernels: operations that launch work, forward and loss.
        backward_kernels: the same in backward.
        matmul_kernels: of both, matrix products.
        conv_kernels: of both, convolutions.
        attention_kernels: in forward, attentions: fused ones, or softmaxes.
        parameters: trainable parameters.
        parameter_tensors: tensors that hold them.
        frozen_parameters: parameters that are not trained.
        buffers: elements of the buffers.
        input_elements: elements of one sample.
        degraded: how the counts fall short of the module's own step, in words; empty if they do not.
    """

    matmul_flops: Line = Line()
    conv_flops: Line = Line()
    grouped_flops: Line = Line()
    matmul_elements: Line = Line()
    conv_elements: Line = Line()
    grouped_elements: Line = Line()
    norm_elements: Line = Line()
    pointwise_elements: Line = Line()
    saved_elements: Line = Line()
    saved_other_bytes: Line = Line()
    peak_small: Line = Line()
    peak_large: Line = Line()
    processor_small: Line = Line()
    processor_large: Line = Line()
    forward_kernels: float = 0.0
    backward_kernels: float = 0.0
    matmul_kernels: float = 0.0
    conv_kernels: float = 0.0
    attention_kernels: float = 0.0
    parameters: float = 0.0
    parameter_tensors: float = 0.0
    frozen_parameters: float = 0.0
    buffers: float = 0.0
    input_elements: float = 0.0
    degraded: str = ""

    def flops(self, batch_size: float) -> float:
        """All FLOPs of a step, forward and backward."""
        return sum(line.at(batch_size) for line in (self.matmul_flops, self.conv_flops, self.grouped_flops))

    def to_json(self) -> dict[str, Any]:
        """As plain numbers and lists, for the catalogue."""
        plain: dict[str, Any] = {}
        for name, value in asdict(self).items():
            if name in OPTIONAL and getattr(self, name) == Line():
                continue
            plain[name] = [value["constant"], value["per_sample"]] if isinstance(value, dict) else value
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Counts:
        """The inverse of :meth:`to_json`.

        Raises:
            BadWorkloadError: a field is missing or unknown.
        """
        names = {field.name for field in fields(cls)}
        if names != set(plain) | OPTIONAL:
            raise BadWorkloadError(
                f"counts have other fields than this release: {sorted(names ^ set(plain))}; count the model anew"
            )
        parts: dict[str, Any] = {
            name: Line(constant=value[0], per_sample=value[1]) if isinstance(value, list) else value
            for name, value in plain.items()
        }
        return cls(**parts)
