"""What one inner loop carries from step to step, and what it leaves behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from chronos_common.errors import ProblemError

if TYPE_CHECKING:
    from chronos_common.problem.context import Context
    from chronos_common.problem.solving import Recorder

Tensors = dict[str, Tensor]

_PARTS = ("params", "buffers", "opt_state")


@dataclasses.dataclass(frozen=True, eq=False)
class InnerState:
    """Inner parameters θ with everything else that an inner step reads and writes.

    Attributes:
        params: the tensors that the inner loss is differentiated by; floating point, any shapes.
        buffers: tensors that the model updates by itself, for example the running statistics of batch
            norm; carried from step to step through :class:`Aux`.
        opt_state: tensors of the inner update rule, for example momentum.

    A state is a value: an inner step returns a new one and never writes into the tensors of the old.
    """

    params: Tensors
    buffers: Tensors = dataclasses.field(default_factory=dict)
    opt_state: Tensors = dataclasses.field(default_factory=dict)

    def map(self, function: Callable[[Tensor], Tensor]) -> InnerState:
        """Apply ``function`` to every tensor."""
        return InnerState(*({k: function(v) for k, v in getattr(self, p).items()} for p in _PARTS))

    def detach(self) -> InnerState:
        """The same values outside any autograd graph (storage is shared)."""
        return self.map(torch.Tensor.detach)

    def to(self, device: torch.device) -> InnerState:
        """The same values on ``device``; tensors that are there already are not copied."""
        return self.map(lambda tensor: tensor.to(device))

    def to_tensors(self) -> Tensors:
        """Flat named tensors, ``params/<name>`` and so on, for files and messages."""
        return {f"{p}/{k}": v for p in _PARTS for k, v in getattr(self, p).items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> InnerState:
        """The inverse of :meth:`to_tensors`.

        Raises:
            ProblemError: a name that :meth:`to_tensors` does not produce.
        """
        parts: dict[str, Tensors] = {part: {} for part in _PARTS}
        for name, tensor in tensors.items():
            part, separator, rest = name.partition("/")
            if part not in parts or not separator:
                raise ProblemError(
                    f"'{name}' names no part of an inner state; names begin with "
                    + ", ".join(f"'{p}/'" for p in _PARTS)
                )
            parts[part][rest] = tensor
        return cls(**parts)

    def layout(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Shape and dtype of every tensor, under the names of :meth:`to_tensors`."""
        return {k: (tuple(v.shape), v.dtype) for k, v in self.to_tensors().items()}


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Aux:
    """What an inner loss returns beside its value.

    Attributes:
        buffers: new values of the buffers that changed (the others are kept).
        metrics: 0-d tensors to report; the last step's are kept in the trajectory.
    """

    buffers: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Trajectory:
    """One finished inner loop: enough to differentiate it, and to run any of its steps again.

    Attributes:
        outer: λ in natural coordinates, detached.
        initial: the state before step ``start_step``, detached.
        final: the state after the last step, detached.
        from_init_inner: ``initial`` came from ``init_inner(outer, ctx)``, so that it depends on λ. A warm
            start does not: it is a constant.
        ctx: the context that the loop ran in.
        start_step: index of the first step.
        num_steps: steps that were really done.
        requested_steps: steps that were asked for; more than ``num_steps`` after an early stop.
        losses: the inner loss before each step, shape ``(num_steps,)``.
        metrics: the last step's :attr:`Aux.metrics`.
        samples: training samples that were seen, counted by the leading dimension of each batch.
        recent: the states before each of the last ``keep_last`` steps, oldest first.
        record: what took the steps, where it was not ``solve`` itself.
    """

    outer: Tensors
    initial: InnerState
    final: InnerState
    from_init_inner: bool
    ctx: Context
    start_step: int
    num_steps: int
    requested_steps: int
    losses: Tensor
    metrics: Tensors = dataclasses.field(default_factory=dict)
    samples: int = 0
    recent: tuple[InnerState, ...] = ()
    record: Recorder | None = None

    @property
    def end_step(self) -> int:
        """Index of the step that would come next."""
        return self.start_step + self.num_steps

    @property
    def work(self) -> float:
        """Share of the requested steps that were done, in [0, 1]."""
        return self.num_steps / self.requested_steps if self.requested_steps else 1.0
