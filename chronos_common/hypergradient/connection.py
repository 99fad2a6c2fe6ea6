"""Whether ``inner_update`` keeps the graph that unrolled differentiation goes back through.

A rule that detaches something computes the right numbers and the wrong derivatives, and PyTorch says nothing.
What tells it apart from a rule that really does not depend on its input (one that leaves a parameter alone,
say): its *values* follow the input, but no graph leads there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from chronos_common.errors import OuterParameterUnusedError, ProblemError
from chronos_common.problem import Context, InnerProblem, InnerState, Tensors, isolated_rng
from chronos_common.problem.solving import StepResult, apply_update, inner_objective

_ADVICE = (
    "write inner_update without detach(), .data, .item(), float() and torch.no_grad(), "
    "or use ImplicitDifferentiation, which does not follow it"
)


def require_connected(
    problem: InnerProblem, last: StepResult, outer: Tensors, step: int, ctx: Context, *, history: bool
) -> None:
    """Check the update rule at one step; costs a few calls of ``inner_update`` and no backward pass.

    A rule that is first-order on purpose (FOMAML: it detaches the gradients, and λ is only where θ starts)
    passes, because nothing of what ``inner_loss`` says about λ gets lost.

    Args:
        problem: whose rule.
        last: the step, run differentiably.
        outer: λ.
        step: its index.
        ctx: the trajectory's context.
        history: whether derivatives should also flow to what came before this step.

    Raises:
        OuterParameterUnusedError: it cuts the gradients off, and with them an outer parameter of
            ``inner_loss``; names both.
        ProblemError: it cuts the old θ off, and with it all earlier steps.
    """
    probe = _Probe(problem, last, outer, step, ctx)
    cut = probe.cut("grads")
    lost = _inside(problem, last.given, outer, step, ctx, cut)
    if lost:
        names = ", ".join(f"'{name}'" for name in lost)
        raise OuterParameterUnusedError(
            f"inner_update cuts the graph between the gradients and params['{cut[0]}'], so that the "
            f"hypergradient of outer parameter {names} through inner_loss would be lost; {_ADVICE}",
            name=lost[0],
        )
    if not history:
        return
    cut = probe.cut("params")
    if cut:
        names = ", ".join(f"'{name}'" for name in outer)
        raise ProblemError(
            f"inner_update cuts the graph between the old and the new params['{cut[0]}'], so that the "
            f"hypergradient of outer parameter {names} through all earlier steps would be lost; {_ADVICE}; "
            "to stop there on purpose, use UnrolledDifferentiation(truncation=1)",
        )


def explain_replay_error(error: float, trajectory_final: InnerState, travelled: float) -> str:
    """What to say about a replay that went elsewhere; empty while rounding explains the difference.

    Args:
        error: Euclidean distance between the replayed and the first final θ.
        trajectory_final: the first final θ.
        travelled: Euclidean distance between the first initial and final θ.
    """
    floating = trajectory_final.params.values()
    epsilon = max((torch.finfo(value.dtype).eps for value in floating), default=0.0)
    size = float(sum(float(value.double().square().sum()) for value in floating)) ** 0.5
    if error <= epsilon**0.5 * max(size, travelled):
        return ""
    return (
        f"the replayed inner loop ended {error:.2g} away from the one that was run (which moved "
        f"{travelled:.2g}): the hypergradient is of another trajectory. Draw random numbers from "
        "ctx.generator, or inside isolated_rng(ctx), and from nowhere else"
    )


class _Probe:
    """Runs the rule again with one of its inputs marked, and then moved."""

    def __init__(
        self, problem: InnerProblem, last: StepResult, outer: Tensors, step: int, ctx: Context
    ) -> None:
        self._state, self._outer = last.given.detach(), _detached(outer)
        self._grads = _detached(last.grads)
        # Code that draws from the global generators must not look as if it followed its input.
        self._rng = ctx.at(step=step, stream="inner_update", training=True)
        self._run: Callable[[InnerState, Tensors], InnerState] = lambda state, grads: apply_update(
            problem, state, grads, self._outer, step, ctx
        )

    def cut(self, what: str) -> list[str]:
        """Inner parameters whose new values follow the ``grads`` or old ``params`` without a graph."""
        with isolated_rng(self._rng), torch.enable_grad():
            marked = self._new_params(what, lambda value: value.detach().clone().requires_grad_())
        loose = [name for name, value in marked.items() if not value.requires_grad]
        if not loose:
            return []
        with isolated_rng(self._rng), torch.no_grad():
            moved = self._new_params(what, _moved)
        return [name for name in loose if not torch.equal(marked[name], moved[name])]

    def _new_params(self, what: str, change: Callable[[Tensor], Tensor]) -> Tensors:
        state, grads = self._state, self._grads
        if what == "grads":
            grads = {name: change(value) for name, value in grads.items()}
        else:
            params = {name: change(value) for name, value in state.params.items()}
            state = InnerState(params, state.buffers, state.opt_state)
        return self._run(state, grads).params


def _moved(value: Tensor) -> Tensor:
    """Clearly elsewhere, with the same signs and zeros: a rule that uses signs only must not look cut."""
    return 2 * value + value.sign()


def _inside(
    problem: InnerProblem, given: InnerState, outer: Tensors, step: int, ctx: Context, names: Sequence[str]
) -> list[str]:
    """Outer parameters that the inner gradients by ``names`` contain, at a θ that is taken as a constant."""
    if not names:
        return []
    leaves = {name: value.detach().requires_grad_() for name, value in given.params.items()}
    lambdas = {name: value.detach().requires_grad_() for name, value in outer.items()}
    state = InnerState(leaves, _detached(given.buffers), _detached(given.opt_state))
    with torch.enable_grad():
        loss, _, _ = inner_objective(problem, state, lambdas, step, ctx)
        wanted = tuple(leaves[name] for name in names)
        grads = torch.autograd.grad(loss, wanted, create_graph=True, materialize_grads=True)
    moving = [grad for grad in grads if grad.requires_grad]
    if not moving:
        return []
    found: Sequence[Tensor | None] = torch.autograd.grad(
        moving, tuple(lambdas.values()), [torch.ones_like(grad) for grad in moving], allow_unused=True
    )
    return [name for name, grad in zip(lambdas, found, strict=True) if grad is not None]


def _detached(tensors: Mapping[str, Tensor]) -> Tensors:
    return {name: value.detach() for name, value in tensors.items()}
