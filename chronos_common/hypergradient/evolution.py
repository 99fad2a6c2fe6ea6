"""Antithetic evolution strategies: the hypergradient from values of the outer loss alone."""

from __future__ import annotations

import dataclasses

from chronos_common.hypergradient.base import HypergradientEstimator, TaskHypergradient
from chronos_common.hypergradient.perturbation import (
    Perturbations,
    accumulate,
    explain_unused_anywhere,
    require_sampling,
)
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import InnerProblem, Tensors, Trajectory


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvolutionConfig:
    """See :class:`EvolutionStrategies`.

    Raises:
        ConfigurationError: a value out of range.
    """

    pairs: int = 16
    sigma: float = 0.05

    def __post_init__(self) -> None:
        require_sampling(self.pairs, self.sigma, "pairs")


class EvolutionStrategies(HypergradientEstimator):
    """Gaussian smoothing with mirrored samples (Salimans et al., 2017; Nesterov and Spokoiny, 2017).

    ::

        dL/du ≈ 1/N Σᵢ εᵢ (L(u + σεᵢ) - L(u - σεᵢ)) / 2σ,       u = log λ where scale="log", else λ

    L is the outer loss after the trajectory's steps, run again at each perturbed λ from where the trajectory began
    (``init_inner`` included) on its batches and random numbers. Nothing needs to be differentiable in λ; learning
    rates, schedules and starting points are parameters like others. One that nothing uses gives noise and no error.

    Cost: 2N inner loops. Memory: that of one, whatever T is. Error: unbiased for the derivative of L smoothed with
    width σ, whose distance to dL/du is O(σ²); standard deviation about ‖dL/du‖ · √((d + 1) / N) for d numbers in λ.
    Samples that bounds cut off bias it towards zero near them.

    Args:
        pairs: N.
        sigma: σ, in stored coordinates: 0.05 is 5 % where ``scale="log"``.
        optimizer: see :class:`HypergradientEstimator`.

    Directions are drawn from the trajectory's context and from how many calls came before (``state``): the same
    version and the same state give the same estimate anywhere.

    Diagnostics: ``outer_loss`` (at λ itself), ``loss_spread``: the mean of |L(u + σε) - L(u - σε)|.
    """

    def __init__(
        self, *, pairs: int = 16, sigma: float = 0.05, optimizer: OuterConfig | OuterOptimizer | None = None
    ) -> None:
        super().__init__(optimizer=optimizer)
        self.config = EvolutionConfig(pairs=pairs, sigma=sigma)

    def explain_unused(self, name: str) -> str:
        """See the base class."""
        return explain_unused_anywhere(name)

    def differentiate(
        self, trajectory: Trajectory, problem: InnerProblem, state: Tensors
    ) -> TaskHypergradient:
        """See the base class; the state counts the calls.

        Raises:
            DivergenceError: an outer loss is not finite.
        """
        config = self.config
        around = Perturbations(trajectory, problem, sigma=config.sigma, state=state, stream="evolution")
        value = around.loss(trajectory.outer, trajectory.final)
        gradient: Tensors = {}
        spread = 0.0
        for _ in range(config.pairs):
            direction = around.draw()
            above, below = (
                around.loss(outer, around.end(outer, around.start(outer)))
                for outer in (around.moved(direction), around.moved(direction, -1.0))
            )
            spread += abs(above - below) / config.pairs
            gradient = accumulate(gradient, direction, (above - below) / (2 * config.sigma * config.pairs))
        return TaskHypergradient(
            gradient=around.natural(gradient),
            state=around.counted(),
            diagnostics={"outer_loss": value, "loss_spread": spread},
        )
