"""Unrolled differentiation by running momentum backwards."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError, ProblemError
from chronos_common.hypergradient.base import HypergradientEstimator, TaskHypergradient
from chronos_common.hypergradient.exact_momentum import LostBits, ratio, unit, whole
from chronos_common.hypergradient.heavy_ball import HeavyBall, probe, velocities
from chronos_common.hypergradient.replay import ReplayError, explain_unused_in_steps, leaves_of
from chronos_common.hypergradient.sweep import ReverseSweep
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import InnerProblem, InnerState, Tensors, Trajectory
from chronos_common.problem.solving import inner_objective


class ReversibleDifferentiation(HypergradientEstimator):
    """Reverse mode over all inner steps without keeping any (Maclaurin et al., ICML 2015).

    The loop is run once more in integers (:mod:`~chronos_common.hypergradient.exact_momentum`), in which momentum can
    be undone to the last bit, and then run backwards, each step being differentiated where it was taken. For
    ``inner_update`` of the form v ← μv + g, θ ← θ - ηv, with one velocity for each parameter in ``opt_state`` and
    0 < μ ≤ 1; μ and η may depend on λ and on the step. What is said of
    :class:`~chronos_common.hypergradient.unrolled.UnrolledDifferentiation` holds here too.

    Memory: that of one step, and about log₂(1/μ) bits per parameter and step, in words of 64: at μ = .9 one number for
    every 300 steps, at .99 for every 3000, where a state has two for every step. Cost: that of unrolling, twice T
    steps without a graph, and some fifty integer operations a step and tensor. Error: going back is exact, and
    checked; the integer loop is not quite the one that was run: θ and v are rounded to 2⁻⁴⁴ of the largest of them and
    μ to 2⁻³⁷. That changes the hypergradient by about 1e-11, relatively, far from the edge of stability;
    ``replay_error`` shows it.

    Diagnostics: ``outer_loss``, ``unrolled_steps``, ``replay_error`` as for unrolling, ``kept_bytes``: of lost bits.
    """

    def __init__(self, *, optimizer: OuterConfig | OuterOptimizer | None = None) -> None:
        super().__init__(optimizer=optimizer)
        self._replay_error = ReplayError()

    def explain_unused(self, name: str) -> str:
        """See the base class."""
        return explain_unused_in_steps(name)

    def differentiate(
        self, trajectory: Trajectory, problem: InnerProblem, state: Tensors
    ) -> TaskHypergradient:
        """See the base class; there is no warm start.

        Raises:
            ConfigurationError: another rule than momentum, or buffers that change.
            DivergenceError: numbers outgrow the integers.
            ProblemError: gradients at the same θ differ: going back would end elsewhere.
        """
        loop = _IntegerLoop(trajectory, problem)
        for step in range(trajectory.start_step, trajectory.end_step):
            loop.forth(step)
        kept, end = loop.kept_bytes(), loop.state()
        sweep = ReverseSweep(trajectory, problem)
        for step in reversed(range(trajectory.start_step, trajectory.end_step)):
            loop.undo(step)
            sweep.back(loop.state(), step, 1)
        loop.require_back()
        sweep.through_init()
        return TaskHypergradient(
            gradient=sweep.gradient(),
            state={},
            diagnostics={
                "outer_loss": sweep.outer_value,
                "unrolled_steps": float(trajectory.num_steps),
                "replay_error": self._replay_error.of(end, trajectory),
                "kept_bytes": float(kept),
            },
        )


class _IntegerLoop:
    """The inner loop in units of a power of two, going forth and back."""

    def __init__(self, run: Trajectory, problem: InnerProblem) -> None:
        changed = [k for k, v in run.initial.buffers.items() if not torch.equal(v, run.final.buffers[k])]
        if changed:
            raise ConfigurationError(
                f"buffer '{changed[0]}' changes in the inner loop, and what a buffer was cannot be found from what it "
                "became; use RecomputeDifferentiation"
            )
        self._run, self._problem = run, problem
        self._pairs = velocities(run.initial)
        states = (run.initial, run.final)
        self._units = {
            k: unit(*(s.params[k] for s in states), *(s.opt_state[v] for s in states))
            for k, v in self._pairs.items()
        }
        self._theta = {k: whole(run.initial.params[k], self._units[k]) for k in self._pairs}
        self._velocity = {k: whole(run.initial.opt_state[v], self._units[k]) for k, v in self._pairs.items()}
        self._first = (dict(self._theta), dict(self._velocity))
        self._lost = {k: LostBits.none(v) for k, v in self._velocity.items()}

    def state(self) -> InnerState:
        """θ and v now, in their own dtypes."""
        like = self._run.initial
        params = {k: self._float(v, k).to(like.params[k].dtype) for k, v in self._theta.items()}
        memory = {
            self._pairs[k]: self._float(v, k).to(like.params[k].dtype) for k, v in self._velocity.items()
        }
        return InnerState(params, like.buffers, memory)

    def forth(self, step: int) -> None:
        """One step."""
        rules, grads = self._rules(step), self._grads(step)
        for name, rule in rules.items():
            slowed = self._lost[name].multiply(self._velocity[name], ratio(rule.momentum))
            self._velocity[name] = slowed + self._whole(rule.intake * grads[name], name)
            self._theta[name] = self._theta[name] - self._moved(name, rule)

    def undo(self, step: int) -> None:
        """The inverse of :meth:`forth`."""
        rules = self._rules(step)
        for name, rule in rules.items():
            self._theta[name] = self._theta[name] + self._moved(name, rule)
        grads = self._grads(step)
        for name, rule in rules.items():
            before = self._velocity[name] - self._whole(rule.intake * grads[name], name)
            self._velocity[name] = self._lost[name].restore(before, ratio(rule.momentum))

    def require_back(self) -> None:
        """That every bit is where it was."""
        now = (self._theta, self._velocity)
        if not all(torch.equal(a[k], b[k]) for a, b in zip(now, self._first, strict=True) for k in a):
            raise ProblemError(
                "running the inner loop backwards ended elsewhere than where it began: inner_loss gave other gradients "
                "at the same θ. Draw random numbers from ctx.generator, use deterministic operations "
                "(torch.use_deterministic_algorithms), or use RecomputeDifferentiation"
            )

    def kept_bytes(self) -> int:
        """Bytes of lost bits."""
        lost = self._lost.values()
        return sum(b.buffer.nbytes + sum(full.nbytes for _, full in b.full) for b in lost)

    def _rules(self, step: int) -> Mapping[str, HeavyBall]:
        check = step == self._run.end_step - 1
        return probe(self._problem, self._run, step, self._pairs, check=check)

    def _grads(self, step: int) -> Tensors:
        """At the same θ the same bits, forth and back: which a step with a graph does not promise."""
        state = self.state()
        leaves = leaves_of(state.params)
        with torch.enable_grad():
            inner = InnerState(leaves, state.buffers, state.opt_state)
            loss, _, _ = inner_objective(self._problem, inner, self._run.outer, step, self._run.ctx)
        found = torch.autograd.grad(loss, tuple(leaves.values()), materialize_grads=True)
        return dict(zip(leaves, found, strict=True))

    def _moved(self, name: str, rule: HeavyBall) -> Tensor:
        return self._whole(rule.rate * self._float(self._velocity[name], name), name)

    def _whole(self, value: Tensor, name: str) -> Tensor:
        return whole(value, self._units[name])

    def _float(self, value: Tensor, name: str) -> Tensor:
        return value.double() * self._units[name]
