"""Persistent evolution strategies: unbiased through a long inner loop that is seen in windows."""

from __future__ import annotations

import dataclasses

from chronos_common.errors import ProblemError
from chronos_common.hypergradient.base import HypergradientEstimator, TaskHypergradient
from chronos_common.hypergradient.perturbation import (
    Perturbations,
    accumulate,
    explain_unused_anywhere,
    require_sampling,
)
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import InnerProblem, InnerState, Tensors, Trajectory

_SHIFT, _PARTICLE = "shift", "particle"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PersistentEvolutionConfig:
    """See :class:`PersistentEvolution`.

    Raises:
        ConfigurationError: a value out of range.
    """

    pairs: int = 8
    sigma: float = 0.05

    def __post_init__(self) -> None:
        require_sampling(self.pairs, self.sigma, "pairs")


class PersistentEvolution(HypergradientEstimator):
    """PES (Vicol et al., ICML 2021), with mirrored particles.

    ::

        dL/du ≈ 1/N Σᵢ ξᵢ (L(θᵢ⁺) - L(θᵢ⁻)) / 2σ,     ξᵢ ← ξᵢ + εᵢ in every window

    Each call is a window: the trajectory's steps. 2N particles run it from their own θ, at u ± σεᵢ, and keep what they
    arrive at, with the sum ξ of all their perturbations, in ``state``. So the estimate of one window's outer
    loss counts how λ acted in all windows before it, which truncated unrolling does not. A trajectory that begins at
    ``init_inner`` sends the particles back to the start; one that goes on from the last θ lets them go on.

    Cost: 2N windows. Memory: 2N states and N times λ, kept from call to call; nothing grows with T. Error: unbiased
    for the smoothed loss (width σ, bias O(σ²)) while λ stays where it is, and later to the order that λ moved;
    the variance grows with the number of windows. Samples that bounds cut off bias it towards zero near them.

    Args:
        pairs: N.
        sigma: σ, in stored coordinates.
        optimizer: see :class:`HypergradientEstimator`.

    Directions are drawn as in :class:`~chronos_common.hypergradient.evolution.EvolutionStrategies`; like there,
    a parameter that nothing uses gives noise and no error.

    Diagnostics: ``outer_loss`` (at λ itself), ``loss_spread``: the mean of |L(θ⁺) - L(θ⁻)|.
    """

    def __init__(
        self, *, pairs: int = 8, sigma: float = 0.05, optimizer: OuterConfig | OuterOptimizer | None = None
    ) -> None:
        super().__init__(optimizer=optimizer)
        self.config = PersistentEvolutionConfig(pairs=pairs, sigma=sigma)

    def explain_unused(self, name: str) -> str:
        """See the base class."""
        return explain_unused_anywhere(name)

    def differentiate(
        self, trajectory: Trajectory, problem: InnerProblem, state: Tensors
    ) -> TaskHypergradient:
        """See the base class; the state is that of the particles.

        Raises:
            DivergenceError: an outer loss is not finite.
        """
        config = self.config
        around = Perturbations(trajectory, problem, sigma=config.sigma, state=state, stream="pes")
        value = around.loss(trajectory.outer, trajectory.final)
        kept = {} if trajectory.from_init_inner or not _fits(state, trajectory) else state
        new_state, gradient, spread = around.counted(), Tensors(), 0.0
        for i in range(config.pairs):
            direction = around.draw()
            losses: list[float] = []
            for side, sign in (("+", 1.0), ("-", -1.0)):
                outer = around.moved(direction, sign)
                begin = _part(kept, f"{_PARTICLE}{i}{side}/")
                end = around.end(outer, InnerState.from_tensors(begin) if begin else around.start(outer))
                losses.append(around.loss(outer, end))
                new_state |= {f"{_PARTICLE}{i}{side}/{k}": v for k, v in end.to_tensors().items()}
            shift = accumulate(_part(kept, f"{_SHIFT}{i}/"), direction, 1.0)
            new_state |= {f"{_SHIFT}{i}/{k}": v for k, v in shift.items()}
            difference = losses[0] - losses[1]
            spread += abs(difference) / config.pairs
            gradient = accumulate(gradient, shift, difference / (2 * config.sigma * config.pairs))
        return TaskHypergradient(
            gradient=around.natural(gradient),
            state=new_state,
            diagnostics={"outer_loss": value, "loss_spread": spread},
        )


def _fits(state: Tensors, run: Trajectory) -> bool:
    """Whether the particles are of this problem and not of one that has been changed since."""
    begin, shift = _part(state, f"{_PARTICLE}0+/"), _part(state, f"{_SHIFT}0/")
    like = {k: v.shape for k, v in run.outer.items()}
    try:
        same = InnerState.from_tensors(begin).layout() == run.initial.layout()
    except ProblemError:
        return False
    return same and {k: v.shape for k, v in shift.items()} == like


def _part(state: Tensors, prefix: str) -> Tensors:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
