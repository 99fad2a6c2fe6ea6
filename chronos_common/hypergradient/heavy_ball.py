"""Whether ``inner_update`` is stochastic gradient descent with momentum, and with which numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError
from chronos_common.problem import InnerProblem, InnerState, Tensors, Trajectory
from chronos_common.problem.solving import apply_update


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class HeavyBall:
    """v ← momentum · v + intake · g,  θ ← θ - rate · v, for one parameter; each number 0-d or shaped like it."""

    momentum: Tensor
    intake: Tensor
    rate: Tensor


def velocities(state: InnerState) -> dict[str, str]:
    """The entry of ``opt_state`` that is each parameter's velocity.

    Raises:
        ConfigurationError: there is not one of the same shape and dtype for each.
    """
    params, memory = state.params, state.opt_state
    by_name = params.keys() == memory.keys()
    pairs = {k: k for k in params} if by_name else dict(zip(params, memory, strict=False))
    fits = all(
        params[k].shape == memory[v].shape and params[k].dtype == memory[v].dtype for k, v in pairs.items()
    )
    if len(memory) != len(params) or not fits:
        raise ConfigurationError(
            "reversible differentiation undoes momentum, and opt_state does not hold one velocity for each "
            f"parameter (params: {sorted(params)}, opt_state: {sorted(memory)}); give the inner update a momentum, or "
            "use RecomputeDifferentiation, which works for any rule"
        )
    return pairs


def probe(
    problem: InnerProblem, run: Trajectory, step: int, pairs: Mapping[str, str], *, check: bool
) -> dict[str, HeavyBall]:
    """The numbers of the rule at ``step``, read off from what it does to zeros and ones.

    Args:
        problem: whose rule.
        run: its trajectory.
        step: rules may change from step to step.
        pairs: of :func:`velocities`.
        check: also try the rule on the trajectory's final state: costs another call.

    Raises:
        ConfigurationError: it is another rule, or momentum is not above 0 and at most 1.
    """
    like = run.final
    zero, one = (_filled(like.params, value) for value in (0.0, 1.0))
    still = {pairs[k]: v for k, v in zero.items()}
    moving = {pairs[k]: v for k, v in one.items()}
    kept = _apply(problem, run, step, zero, moving, zero)
    taken = _apply(problem, run, step, zero, still, one)
    rules: dict[str, HeavyBall] = {}
    for name, velocity in pairs.items():
        momentum, intake = kept.opt_state[velocity], taken.opt_state[velocity]
        if not bool(((momentum > 0.0) & (momentum <= 1.0)).all()):
            raise ConfigurationError(
                f"reversible differentiation divides by the momentum, and that of '{name}' is not above 0 and at "
                "most 1; use RecomputeDifferentiation"
            )
        rules[name] = HeavyBall(momentum=momentum, intake=intake, rate=-kept.params[name] / momentum)
    if check:
        _require_linear(problem, run, step, pairs, rules)
    return rules


def _require_linear(
    problem: InnerProblem,
    run: Trajectory,
    step: int,
    pairs: Mapping[str, str],
    rules: Mapping[str, HeavyBall],
) -> None:
    state = run.final
    # Any numbers of the right size will do in the place of gradients.
    grads = {k: (state.params[k] - run.initial.params[k]).roll(1) + 0.1 for k in pairs}
    found = _apply(problem, run, step, state.params, state.opt_state, grads)
    for name, velocity in pairs.items():
        rule = rules[name]
        v = rule.momentum * state.opt_state[velocity] + rule.intake * grads[name]
        w = state.params[name] - rule.rate * v
        tolerance = torch.finfo(w.dtype).eps ** 0.5
        same = torch.allclose(found.opt_state[velocity], v, rtol=tolerance, atol=tolerance)
        if not same or not torch.allclose(found.params[name], w, rtol=tolerance, atol=tolerance):
            raise ConfigurationError(
                f"inner_update does not move '{name}' by v = momentum * v + g, w = w - rate * v, which is what "
                "reversible differentiation can undo; use RecomputeDifferentiation, which works for any rule"
            )


def _apply(
    problem: InnerProblem, run: Trajectory, step: int, params: Tensors, memory: Tensors, grads: Tensors
) -> InnerState:
    state = InnerState(params, run.final.buffers, memory)
    with torch.no_grad():
        return apply_update(problem, state, grads, run.outer, step, run.ctx).detach()


def _filled(like: Tensors, value: float) -> Tensors:
    return {k: torch.full_like(v, value) for k, v in like.items()}
