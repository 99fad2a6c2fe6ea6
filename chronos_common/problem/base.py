"""``InnerProblem``: what a user writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from chronos_common.errors import MissingPartError
from chronos_common.problem.context import Context, Task
from chronos_common.problem.contract import separate
from chronos_common.problem.outer_parameter import OuterParameter, OuterValue
from chronos_common.problem.solving import Recorder, solve
from chronos_common.problem.state import Aux, InnerState, Tensors, Trajectory

Batch = Any


class InnerProblem(ABC):
    """An optimisation problem inside another one, as pure functions of their arguments.

    Only :meth:`outer_parameters` is needed by everybody. An estimator names the other parts that it
    requires, and a missing one raises :class:`~chronos_common.errors.MissingPartError`: gradient-based
    estimators need ``init_inner``, ``inner_loss`` and ``outer_loss``; black-box search needs ``evaluate``.

    ``outer`` is λ in natural coordinates, name to tensor. All randomness comes from ``ctx`` and every
    method returns new tensors; none writes into those that it is given (θ, λ, batches): steps are run again by
    number, on any machine, when hypergradients are computed and when a run is resumed or verified.
    """

    inner_learning_rate: ClassVar[float] = 0.1
    """Rate of the default :meth:`inner_update`."""

    @abstractmethod
    def outer_parameters(self) -> Mapping[str, OuterParameter | OuterValue]:
        """λ: name to :class:`OuterParameter`, or to a bare float or tensor."""

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        """θ before the first step. It may depend on λ (MAML, Reptile)."""
        raise _missing(self, "init_inner")

    def inner_loss(
        self, inner: InnerState, outer: Tensors, batch: Batch, ctx: Context
    ) -> Tensor | tuple[Tensor, Aux]:
        """The training loss, a 0-d tensor; with an :class:`Aux` when buffers change."""
        raise _missing(self, "inner_loss")

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: Batch, ctx: Context) -> Tensor:
        """The validation loss, a 0-d tensor, at the solved θ."""
        raise _missing(self, "outer_loss")

    def inner_batch(self, step: int, ctx: Context) -> Batch:
        """Training data of one inner step; None for problems that hold their data themselves."""
        return None

    def outer_batch(self, step: int, ctx: Context) -> Batch:
        """Validation data after ``step`` inner steps; None as above."""
        return None

    @separate
    def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
        """One step of the inner optimiser: by default gradient descent at :attr:`inner_learning_rate`.

        A rule of one's own must be differentiable in θ, the gradients and λ, and keeps its memory in
        ``opt_state``. The buffers it is given are already the new ones.
        """
        rate = self.inner_learning_rate
        params = {k: torch.add(v, grads[k], alpha=-rate) for k, v in inner.params.items()}
        return InnerState(params, inner.buffers, inner.opt_state)

    def tasks(self, ctx: Context) -> Sequence[Task]:
        """Independent inner problems whose outer losses are averaged. May depend on ``ctx``."""
        return (Task(),)

    def evaluate(self, inner: InnerState | None, outer: Tensors, ctx: Context) -> dict[str, float]:
        """Figures to report; for black-box problems (``inner`` is None there) also the objective."""
        return {}

    def solve(
        self,
        outer: Mapping[str, OuterParameter | OuterValue] | None = None,
        init: InnerState | None = None,
        num_steps: int = 100,
        *,
        ctx: Context | None = None,
        start_step: int = 0,
        should_stop: Callable[[], bool] | None = None,
        keep_last: int = 0,
        recorder: Recorder | None = None,
    ) -> tuple[InnerState, Trajectory]:
        """Run the inner loop.

        Args:
            outer: λ in natural coordinates (tensors or floats); None for the declared values.
            init: θ to go on from (a warm start); None calls :meth:`init_inner`.
            num_steps: inner steps to do, at least 0.
            ctx: seed, version, task, shard and device; the default is seed 0 on the CPU.
            start_step: index of the first step, when ``init`` is itself the result of earlier steps.
            should_stop: asked after each step; True ends the loop early (a deadline).
            keep_last: keep the states before that many last steps, for truncated unrolling.
            recorder: ``estimator.recorder()``: takes the steps so that they need not be run again.

        Returns:
            The final state (detached) and the trajectory that estimators differentiate.

        Raises:
            ProblemError: λ, ``init`` or a method's result has the wrong names, shapes or types.
            MissingPartError: ``init_inner`` or ``inner_loss`` is not defined.
            DivergenceError: the loss or θ is not finite; the message names the first bad step.
        """
        return solve(
            self,
            outer,
            init,
            num_steps,
            ctx=ctx,
            start_step=start_step,
            should_stop=should_stop,
            keep_last=keep_last,
            recorder=recorder,
        )


def defines(problem: InnerProblem, part: str) -> bool:
    """Whether ``problem`` has its own ``part`` (a method's name) rather than the inherited default."""
    own = getattr(problem, part, None)
    return own is not None and getattr(own, "__func__", own) is not getattr(InnerProblem, part)


def require_parts(problem: InnerProblem, parts: Sequence[str], user: str) -> None:
    """Check that ``problem`` defines every one of ``parts``.

    Raises:
        MissingPartError: naming the first missing part, ``user`` (who needs it) and the problem's class.
    """
    for part in parts:
        if not defines(problem, part):
            raise MissingPartError(
                f"{user} needs {type(problem).__name__}.{part}(), which is not defined; "
                f"it requires {', '.join(parts)}",
                part=part,
                problem=type(problem).__name__,
                user=user,
            )


def _missing(problem: InnerProblem, part: str) -> MissingPartError:
    name = type(problem).__name__
    return MissingPartError(f"{name}.{part}() is not defined", part=part, problem=name)
