"""One inner step, and what goes back through it, as compiled graphs without a line of the problem's own Python."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient.replay import as_leaves, leaves_of
from chronos_common.problem import Context, InnerProblem, InnerState, Tensors
from chronos_common.problem.solving import inner_step

_DRAWN = object()
"""In the place of a tensor among the parts of a batch."""

_Compiled = Callable[..., Sequence[Tensor]]

BACKENDS = ("inductor", "aot_eager")
"""What runs the graph of a step: kernels that PyTorch's compiler makes of it, or its operations one by one."""

_SEALED = frozenset({"seed", "base_version", "step", "shard", "task", "lower", "stream_seed", "generator"})


class SealedContext(Context):
    """A context whose fields that change in a run cannot be read: a graph would hold their first values for ever."""

    @classmethod
    def of(cls, ctx: Context) -> SealedContext:
        """``ctx``, sealed."""
        sealed = object.__new__(cls)
        vars(sealed).update(vars(ctx))
        return sealed

    def __getattribute__(self, name: str) -> Any:
        if name in _SEALED:
            raise ConfigurationError(
                f"compile=True needs an inner_loss and an inner_update that depend on their arguments alone; this one "
                f"reads ctx.{name} (random numbers and dropout do). Leave compile off, or move what depends on it into "
                "inner_batch, which is not compiled"
            )
        return super().__getattribute__(name)


class _WithBatch:
    """A problem whose next batch is given."""

    def __init__(self, problem: InnerProblem, batch: Any) -> None:
        self._problem, self._batch = problem, batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._problem, name)

    def inner_batch(self, step: int, ctx: Context) -> Any:
        return self._batch


@dataclasses.dataclass(frozen=True, eq=False)
class _Parts:
    """Names of a step's tensors, and the parts of its batch that are none."""

    state: tuple[str, ...]
    outer: tuple[str, ...]
    shape: Any
    constants: tuple[Any, ...]


class CompiledStep:
    """The step of one problem for states and batches of one layout.

    Args:
        problem: whose.
        state, outer, batch: of the layout; their values do not matter.
        ctx: for its device.
        backend: one of :data:`BACKENDS`.

    Attributes:
        compile_seconds: spent on tracing and compiling so far.

    Raises:
        ConfigurationError: the step reads what a graph cannot follow.
    """

    def __init__(
        self,
        problem: InnerProblem,
        state: InnerState,
        outer: Tensors,
        batch: Any,
        ctx: Context,
        *,
        backend: str,
    ) -> None:
        leaves, shape = pytree.tree_flatten(batch)
        constants = tuple(_DRAWN if isinstance(leaf, Tensor) else leaf for leaf in leaves)
        self._parts = _Parts(tuple(state.to_tensors()), tuple(outer), shape, constants)
        self._problem, self._ctx = problem, SealedContext.of(ctx)
        self.compile_seconds, self._backend = 0.0, backend
        self._outputs: tuple[str, ...] = ()
        self._metrics: tuple[str, ...] = ()
        self._met: tuple[str, ...] = ()
        self._pulled: tuple[str, ...] = ()
        self._forward = self._compiled(self._step, self._inputs(state, outer, batch))
        self._pull: Callable[..., Sequence[Tensor]] | None = None

    def step(
        self, state: InnerState, outer: Tensors, batch: Any
    ) -> tuple[InnerState, Tensor, dict[str, Tensor]]:
        """The new state, the loss before the step, and the metrics; nothing has a graph."""
        with torch.no_grad():
            found = self._forward(*self._inputs(state, outer, batch))
        size = len(self._outputs)
        new = InnerState.from_tensors(dict(zip(self._outputs, found, strict=False)))
        return new, found[size], dict(zip(self._metrics, found[size + 1 :], strict=True))

    def pull(
        self, state: InnerState, outer: Tensors, batch: Any, cotangent: Tensors, buffers: Set[str]
    ) -> tuple[Tensors, Tensors]:
        """dL/d(state) and dL/dλ of dL/d(new state), through the step from ``state``; what is not met is absent."""
        inputs = self._inputs(state, outer, batch)
        values = state.to_tensors()
        weights = [
            cotangent[k] if k in cotangent else torch.zeros_like(values[k]) for k in self._weighted(buffers)
        ]
        if self._pull is None:
            self._pull = self._compiled(self._back(buffers), [*inputs, *weights])
        with torch.no_grad():
            found = self._pull(*inputs, *weights)
        gradient = dict(zip(self._met, found, strict=False))
        return dict(zip(self._pulled, found[len(self._met) :], strict=True)), gradient

    def _weighted(self, buffers: Set[str]) -> list[str]:
        followed = {f"buffers/{name}" for name in buffers}
        return [k for k in self._outputs if not k.startswith("buffers/") or k in followed]

    def _inputs(self, state: InnerState, outer: Tensors, batch: Any) -> list[Tensor]:
        drawn = [leaf for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor)]
        return [*state.to_tensors().values(), *outer.values(), *drawn]

    def _given(self, flat: Sequence[Tensor]) -> tuple[InnerProblem, InnerState, Tensors]:
        parts, tensors = self._parts, iter(flat)
        state = InnerState.from_tensors({k: next(tensors) for k in parts.state})
        outer = {k: next(tensors) for k in parts.outer}
        leaves = [next(tensors) if c is _DRAWN else c for c in parts.constants]
        batch = pytree.tree_unflatten(leaves, parts.shape)
        return cast("InnerProblem", _WithBatch(self._problem, batch)), state, outer

    def _step(self, *flat: Tensor) -> list[Tensor]:
        problem, state, outer = self._given(flat)
        result = inner_step(problem, state, outer, 0, self._ctx, differentiable=False)
        new = result.state.to_tensors()
        self._outputs, self._metrics = tuple(new), tuple(result.metrics)
        return [*new.values(), result.loss.detach(), *(v.detach() for v in result.metrics.values())]

    def _back(self, buffers: Set[str]) -> Callable[..., list[Tensor]]:
        names = self._weighted(buffers)

        def back(*flat: Tensor) -> list[Tensor]:
            problem, state, outer = self._given(flat)
            weights = dict(zip(names, flat[len(flat) - len(names) :], strict=True))
            begin, lambdas = as_leaves(state, buffers), leaves_of(outer)
            with torch.enable_grad():
                result = inner_step(problem, begin, lambdas, 0, self._ctx, differentiable=True)
            images = {k: v for k, v in result.state.to_tensors().items() if k in weights and v.requires_grad}
            behind = {k: v for k, v in begin.to_tensors().items() if v.requires_grad}
            found: Sequence[Tensor | None] = torch.autograd.grad(
                list(images.values()),
                (*lambdas.values(), *behind.values()),
                [weights[k] for k in images],
                allow_unused=True,
            )
            met = {k: g for k, g in zip(lambdas, found, strict=False) if g is not None}
            pulled = {k: g for k, g in zip(behind, found[len(lambdas) :], strict=True) if g is not None}
            self._met, self._pulled = tuple(met), tuple(pulled)
            return [*met.values(), *pulled.values()]

        return back

    def _compiled(
        self, function: Callable[..., list[Tensor]], inputs: Sequence[Tensor]
    ) -> Callable[..., Sequence[Tensor]]:
        # Both take a second to import, and want a home directory that can be written.
        import torch._inductor
        from torch.fx.experimental.proxy_tensor import make_fx

        began = time.perf_counter()
        fixed = [value.detach() for value in inputs]
        try:
            # PyTorch's compiler uses parts of PyTorch that are deprecated.
            with warnings.catch_warnings(action="ignore"), torch.no_grad():
                graph = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*fixed)
                compiled: _Compiled = graph
                if self._backend == "inductor":
                    compiled = cast("_Compiled", torch._inductor.compile(graph, list(fixed)))
                compiled(*fixed)
        except ConfigurationError:
            raise
        except Exception as error:
            raise ConfigurationError(
                f"the inner step cannot be compiled; leave compile off. PyTorch says: {error}"
            ) from error
        self.compile_seconds += time.perf_counter() - began
        return compiled


def layout(state: InnerState, batch: Any) -> tuple[Any, ...]:
    """What a compiled step is good for: shapes, dtypes, and the values in a batch that are no tensors."""
    leaves, shape = pytree.tree_flatten(batch)
    described = tuple(
        (tuple(leaf.shape), leaf.dtype) if isinstance(leaf, Tensor) else repr(leaf) for leaf in leaves
    )
    return tuple(state.layout().items()), str(shape), described


def require_same(compiled: InnerState, eager: InnerState) -> None:
    """That a compiled step is the step.

    Raises:
        ConfigurationError: it differs by more than rounding.
    """
    expected: Mapping[str, Tensor] = eager.to_tensors()
    for name, value in compiled.to_tensors().items():
        if not value.is_floating_point():
            continue
        tolerance = torch.finfo(value.dtype).eps ** 0.5
        if not torch.allclose(value, expected[name], rtol=tolerance, atol=tolerance):
            raise ConfigurationError(
                f"the compiled inner step gives another {name} than the step itself, so that it depends on more than "
                "its arguments; leave compile off"
            )
