"""The problems of the comparison, with what is done with them and how good the result is."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.uneven import digits, mixture
from benchmarks.uneven.runs import Trial, Values
from chronos_common.engine import WorkSpec
from chronos_common.outer import OuterConfig
from chronos_common.problem import InnerProblem

CHUNK = 8
"""Versions whose losses are computed at once."""


@dataclass(frozen=True, kw_only=True)
class Case(ABC):
    """A problem at its pace.

    Attributes:
        versions: outer steps of the barrier.
        step_seconds: of one inner step.
        hypergradient_seconds: that a hypergradient sleeps besides its computation.
    """

    name: ClassVar[str]
    versions: int
    step_seconds: float
    hypergradient_seconds: float

    @abstractmethod
    def problem(self, seed: int) -> InnerProblem:
        """As the coordinator's client needs it, without a pace."""

    @abstractmethod
    def work(self, seed: int) -> WorkSpec:
        """What workers do."""

    @property
    @abstractmethod
    def outer(self) -> OuterConfig:
        """The outer optimiser."""

    @abstractmethod
    def losses(self, seed: int, values: Sequence[Values]) -> list[float]:
        """The outer loss at each of these values of u: a function of them alone, the same in all arms."""

    @abstractmethod
    def accuracy(self, seed: int, stored: Values) -> float:
        """Test accuracy in per cent of the last version."""

    def seconds_to(self, seed: int, trial: Trial, target: float) -> float | None:
        """When the first version was published whose loss is at most ``target``; None if none was."""
        for first in range(0, len(trial.values), CHUNK):
            part = slice(first, first + CHUNK)
            losses = self.losses(seed, trial.values[part])
            for seconds, loss in zip(trial.seconds[part], losses, strict=True):
                if loss <= target:
                    return seconds
        return None

    def pace(self) -> dict[str, float]:
        """Arguments of the paced problem."""
        return {"step_seconds": self.step_seconds, "hypergradient_seconds": self.hypergradient_seconds}


@dataclass(frozen=True, kw_only=True)
class DigitsCase(Case):
    """Hyper-cleaning of digits, half of whose labels may be flipped: 800 outer parameters."""

    name: ClassVar[str] = "digits"
    noise: float = 0.5
    versions: int = 12
    step_seconds: float = 0.016
    hypergradient_seconds: float = 0.032
    learning_rate: float = 800.0

    def problem(self, seed: int) -> InnerProblem:
        """See the base class."""
        return digits.Digits(self.noise, seed)

    def work(self, seed: int) -> WorkSpec:
        """As in the demo."""
        return WorkSpec(
            problem="benchmarks.uneven.digits:Digits",
            problem_config=json.dumps({"noise": self.noise, "seed": seed, **self.pace()}),
            estimator="implicit",
            estimator_config=json.dumps({"cg_steps": 5, "damping": 0.001}),
            inner_steps=5,
            evaluate_every=10,
            seed=seed,
        )

    @property
    def outer(self) -> OuterConfig:
        """See the base class."""
        return OuterConfig(name="sgd", learning_rate=self.learning_rate)

    def losses(self, seed: int, values: Sequence[Values]) -> list[float]:
        """On all validation data, after a training from zero with the weights of each version."""
        return digits.losses(self.noise, seed, values)

    def accuracy(self, seed: int, stored: Values) -> float:
        """After the final training with the learnt weights."""
        return 100.0 * digits.accuracy(self.noise, seed, dict(stored))


@dataclass(frozen=True, kw_only=True)
class MixtureCase(Case):
    """The same of 100,000 points of a Gaussian mixture: 100,000 outer parameters."""

    name: ClassVar[str] = "mixture"
    noise: float = 0.45
    versions: int = 8
    step_seconds: float = 0.032
    hypergradient_seconds: float = 0.048
    learning_rate: float = 1e5

    def problem(self, seed: int) -> InnerProblem:
        """See the base class."""
        return mixture.Points(self.noise, seed)

    def work(self, seed: int) -> WorkSpec:
        """Fewer and larger steps than on the digits."""
        return WorkSpec(
            problem="benchmarks.uneven.mixture:Points",
            problem_config=json.dumps({"noise": self.noise, "seed": seed, **self.pace()}),
            estimator="implicit",
            estimator_config=json.dumps({"cg_steps": 3, "damping": 0.001}),
            inner_steps=4,
            evaluate_every=10,
            seed=seed,
        )

    @property
    def outer(self) -> OuterConfig:
        """See the base class."""
        return OuterConfig(name="sgd", learning_rate=self.learning_rate)

    def losses(self, seed: int, values: Sequence[Values]) -> list[float]:
        """On all validation data, after a training from zero on a part of the points with their weights."""
        return mixture.losses(self.noise, seed, values)

    def accuracy(self, seed: int, stored: Values) -> float:
        """After a final training on all points with the learnt weights."""
        return 100.0 * mixture.accuracy(self.noise, seed, stored)


CASES: tuple[Case, ...] = (DigitsCase(), MixtureCase())
