"""The pace of one worker: ``seconds = alpha + beta * cost`` from noisy observations, with plain float arithmetic.

Recursive least squares on relative errors, old observations fading (West & Harrison, *Bayesian Forecasting and Dynamic
Models*, 1997, ch. 6), and two guards around it:

* An observation more than ``OUTLIER`` standard deviations off is left out of the fit.
* A two-sided CUSUM of the clipped residuals (Page, *Continuous inspection schemes*, 1954) tells a lasting change from
  an outlier: two far residuals in a row, or several moderate ones of the same sign. Then alpha and beta are both
  multiplied by the median ratio of what was seen to what was expected, since a machine that slows down slows in
  everything, and what was learnt before counts little from there on.

Balanced shares cost about the same in every step, which leaves alpha and beta undetermined along a line. A prior
decides there: alpha near what it was, at the start 0, with a standard deviation of ``PRIOR_SHARE`` of a step's seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

FORGETTING = 0.96
"""Weight that an observation keeps when another one comes: 25 count."""
PRIOR_SHARE = 0.2
OUTLIER = 4.0
DRIFT = 0.75
ALARM = 6.0
"""With this drift and threshold Gaussian noise raises an alarm less than once in 100,000 steps."""
RECENT = 6
KEPT = 2.0
"""Observations that the past is worth after a change."""
START_NOISE = 0.05
LEAST_NOISE = 0.005
MOST_NOISE = 0.25
NOISE_RATE = 0.05
LEAST_BETA = 1e-3
"""Share of a step's seconds that its cost explains at least: a plan needs every worker to take time."""


@dataclass
class Pace:
    """What is known of one worker; all fields are numbers, so that it can be kept as JSON."""

    seconds: float = 0.0
    """Typical of a step; 0 before the first observation."""
    cost: float = 0.0
    """Typical of a step; 0 before the first that had any."""
    weight: float = 0.0
    weight_cost: float = 0.0
    weight_cost2: float = 0.0
    weight_seconds: float = 0.0
    weight_cost_seconds: float = 0.0
    prior_alpha: float = 0.0
    noise2: float = START_NOISE * START_NOISE
    above: float = 0.0
    below: float = 0.0
    recent: tuple[float, ...] = ()
    """Ratios of what was seen to what was expected, the newest last."""

    def observe(self, cost: float, seconds: float) -> None:
        """Takes one step's cost and own compute seconds; both finite, not negative, not both 0."""
        expected = self._expected(cost)
        if expected is None:
            self._fit(cost, seconds, seconds)
            return
        residual = (seconds - expected) / expected
        deviations = residual / self.noise2**0.5
        if self._changed(deviations, seconds / expected):
            self._rescale(_shift(self.recent))
            return
        limit = OUTLIER * OUTLIER * self.noise2
        squared = min(residual * residual, limit)
        self.noise2 += NOISE_RATE * (squared - self.noise2)
        self.noise2 = min(max(self.noise2, LEAST_NOISE * LEAST_NOISE), MOST_NOISE * MOST_NOISE)
        if abs(deviations) <= OUTLIER:
            self._fit(cost, seconds, expected)

    def line(self) -> tuple[float, float | None]:
        """Alpha in seconds, and beta in seconds for one unit of cost, ``None`` while only empty shares were seen."""
        if self.weight_cost2 <= 0.0:
            return (self.weight_seconds / self.weight if self.weight > 0.0 else 0.0), None
        # Units of a typical step keep the numbers near 1 whatever the costs are counted in.
        least = LEAST_BETA * self.seconds / self.cost
        pull = START_NOISE * START_NOISE / (PRIOR_SHARE * PRIOR_SHARE * self.seconds * self.seconds)
        first, second = self.weight + pull, self.weight_cost / self.cost
        third = self.weight_cost2 / (self.cost * self.cost)
        left, right = self.weight_seconds + pull * self.prior_alpha, self.weight_cost_seconds / self.cost
        determinant = first * third - second * second
        alpha = (left * third - second * right) / determinant
        beta = (first * right - second * left) / determinant / self.cost
        if alpha < 0.0:
            return 0.0, max(self.weight_cost_seconds / self.weight_cost2, least)
        if beta < least:
            return max((self.weight_seconds - least * self.weight_cost) / self.weight, 0.0), least
        return alpha, beta

    def _expected(self, cost: float) -> float | None:
        alpha, beta = self.line()
        if self.weight <= 0.0 or (beta is None and cost > 0.0):
            return None
        expected = alpha + (beta or 0.0) * cost
        return expected if expected > 0.0 else None

    def _changed(self, deviations: float, ratio: float) -> bool:
        clipped = min(max(deviations, -OUTLIER), OUTLIER)
        self.above = max(0.0, self.above + clipped - DRIFT)
        self.below = max(0.0, self.below - clipped - DRIFT)
        self.recent = (*self.recent, ratio)[-RECENT:]
        return max(self.above, self.below) > ALARM

    def _rescale(self, factor: float) -> None:
        factor = max(factor, 1e-6)
        keep = min(1.0, KEPT / (self.weight * self.seconds * self.seconds))
        scale = keep / (factor * factor)
        self.weight *= scale
        self.weight_cost *= scale
        self.weight_cost2 *= scale
        self.weight_seconds *= scale * factor
        self.weight_cost_seconds *= scale * factor
        self.prior_alpha = self.line()[0]
        self.seconds *= factor
        self.above = self.below = 0.0
        self.recent = ()
        self.noise2 = min(self.noise2, START_NOISE * START_NOISE)

    def _fit(self, cost: float, seconds: float, expected: float) -> None:
        self.seconds += (seconds - self.seconds) * (0.1 if self.seconds > 0.0 else 1.0)
        if cost > 0.0:
            self.cost += (cost - self.cost) * (0.1 if self.cost > 0.0 else 1.0)
        # Noise grows with the seconds; the floor keeps an empty share's few microseconds from outweighing all else.
        scale = max(expected, 0.1 * self.seconds)
        weight = 1.0 / (scale * scale)
        self.weight = FORGETTING * self.weight + weight
        self.weight_cost = FORGETTING * self.weight_cost + weight * cost
        self.weight_cost2 = FORGETTING * self.weight_cost2 + weight * cost * cost
        self.weight_seconds = FORGETTING * self.weight_seconds + weight * seconds
        self.weight_cost_seconds = FORGETTING * self.weight_cost_seconds + weight * cost * seconds


def _shift(recent: tuple[float, ...]) -> float:
    """The median of the newest ratios that belong to the change: on its side, and at least half as far off."""
    sign = 1.0 if recent[-1] > 1.0 else -1.0
    nearest = min(sign * (ratio - 1.0) for ratio in recent[-2:])
    changed = sorted(ratio for ratio in recent if sign * (ratio - 1.0) >= max(0.5 * nearest, 0.0))
    return changed[len(changed) // 2]
