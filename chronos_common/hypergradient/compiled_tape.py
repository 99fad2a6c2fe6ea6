"""An inner loop whose steps are compiled, forth and back."""

from __future__ import annotations

from typing import Any

from chronos_common.hypergradient.compiled_step import CompiledStep, layout, require_same
from chronos_common.hypergradient.sweep import ReverseSweep
from chronos_common.problem import Context, InnerProblem, InnerState, Tensors, Trajectory
from chronos_common.problem.solving import StepResult, count_samples, inner_step


class StepCache:
    """Compiled steps of one problem, by layout; another problem begins anew.

    Args:
        backend: one of :data:`~chronos_common.hypergradient.compiled_step.BACKENDS`.
    """

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._problem: InnerProblem | None = None
        self._steps: dict[tuple[Any, ...], CompiledStep] = {}

    @property
    def compile_seconds(self) -> float:
        """Spent on those that are kept."""
        return sum(step.compile_seconds for step in self._steps.values())

    def get(
        self, problem: InnerProblem, state: InnerState, outer: Tensors, batch: Any, step: int, ctx: Context
    ) -> CompiledStep:
        """The one for this layout, compiled and compared with the step itself when it is new."""
        if problem is not self._problem:
            self._problem, self._steps = problem, {}
        key = layout(state, batch)
        if key not in self._steps:
            made = CompiledStep(problem, state, outer, batch, ctx, backend=self._backend)
            eager = inner_step(problem, state, outer, step, ctx, differentiable=False).state
            require_same(made.step(state, outer, batch)[0], eager)
            self._steps[key] = made
        return self._steps[key]


class CompiledTape:
    """Takes the steps by their compiled graph and keeps the states between them.

    Memory: one state (θ, ``opt_state``, buffers) for each step. Only ``inner_batch`` still runs as Python.

    Args:
        cache: where compiled steps are kept from loop to loop.
    """

    def __init__(self, cache: StepCache) -> None:
        self._cache = cache
        self._states: list[tuple[InnerState, CompiledStep]] = []

    def begin(
        self,
        problem: InnerProblem,
        outer: Tensors,
        initial: InnerState,
        step: int,
        ctx: Context,
        *,
        from_init_inner: bool,
    ) -> None:
        """See :class:`~chronos_common.problem.solving.Recorder`."""
        self._problem, self._outer, self._ctx, self._first = problem, outer, ctx, step
        self._states = []

    def step(self, state: InnerState, step: int) -> StepResult:
        """One step."""
        batch = self._batch(step)
        compiled = self._cache.get(self._problem, state, self._outer, batch, step, self._ctx)
        new, loss, metrics = compiled.step(state, self._outer, batch)
        self._states.append((state, compiled))
        return StepResult(
            state=new,
            loss=loss,
            metrics=metrics,
            samples=count_samples(batch),
            given=InnerState({}),
            grads={},
        )

    def back(self, sweep: ReverseSweep, trajectory: Trajectory) -> None:
        """All steps backwards. The last goes the eager way, which is the one that checks the rule."""
        for offset in reversed(range(len(self._states))):
            (state, compiled), step = self._states[offset], self._first + offset
            if step == trajectory.end_step - 1:
                sweep.back(state, step, 1)
                continue
            batch = self._batch(step)
            cotangent, gradient = compiled.pull(state, self._outer, batch, sweep.cotangent, sweep.buffers)
            sweep.take(cotangent, gradient)

    def _batch(self, step: int) -> Any:
        return self._problem.inner_batch(step, self._ctx.at(step=step, training=True, stream="inner_batch"))
