"""Few outer parameters, and everybody the same number of inner steps to find them with.

The problem: a small tanh network on noisy classes; λ is its learning rate and one weight decay, both on a log scale.
The unit of cost is one inner loop from the start, as every evaluation needs it; an unrolled hypergradient costs three
more (the backward pass goes through each step's own backward pass), forward mode three more for each of both directions
and one, N pairs of evolution strategies 2 N. The figure is the test loss of the λ whose validation loss is best
of those that the arm saw.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from benchmarks.hyper.cases import DOUBLE, normal
from chronos_common.errors import DivergenceError
from chronos_common.hypergradient import make_estimator
from chronos_common.outer import OuterConfig
from chronos_common.problem import Context, InnerState, ModuleProblem, OuterParameter, Tensors

INNER_STEPS: Final = 40
BOUNDS: Final[Mapping[str, tuple[float, float]]] = {"rate": (1e-3, 3.0), "decay": (1e-5, 1.0)}
GRADIENT_ARMS: Final[Mapping[str, tuple[str, dict[str, int], float]]] = {
    "unrolled": ("unrolled", {}, 3.0),
    "forward mode": ("forward", {}, 7.0),
    "evolution": ("evolution", {"pairs": 2}, 4.0),
}
"""Arm, estimator, settings, and what its hypergradient costs beside the loop, in loops."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """The best validation loss that an arm saw, and the test loss there."""

    validation: float
    test: float


class Task:
    """The problem of one seed; counts what is spent on it."""

    def __init__(self, seed: int) -> None:
        module = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 3)).double()
        with torch.no_grad():
            for i, parameter in enumerate(module.parameters()):
                parameter.copy_(0.5 * normal(*parameter.shape, seed=100 * seed + i))
        outer = {
            name: OuterParameter(torch.tensor(value, dtype=DOUBLE), bounds=BOUNDS[name], scale="log")
            for name, value in (("rate", 0.03), ("decay", 1e-3))
        }
        self.problem = ModuleProblem(
            module,
            _classes(60, seed=1000 * seed + 1),
            _classes(200, seed=1000 * seed + 2),
            test=_classes(1000, seed=1000 * seed + 3),
            outer=outer,
            learning_rate="rate",
            momentum=0.9,
            regulariser=lambda params, outer: outer["decay"] * _squares(params),
        )
        self._seen: list[Found] = []

    def evaluate(self, outer: Tensors) -> float:
        """One inner loop at λ; its validation loss (infinite where it diverges)."""
        try:
            inner, _ = self.problem.solve(outer, num_steps=INNER_STEPS)
        except DivergenceError:
            return math.inf
        return self.note(inner, outer)

    def note(self, inner: InnerState, outer: Tensors) -> float:
        """The validation loss of a solved loop; kept for :meth:`best`."""
        figures = self.problem.evaluate(inner, outer, Context())
        found = Found(validation=figures["validation_loss"], test=figures["test_loss"])
        self._seen.append(found)
        return found.validation

    def best(self) -> Found:
        """Of all evaluations so far."""
        return min(self._seen, key=lambda found: found.validation)


def gradient_arm(name: str, seed: int, loops: float) -> Found:
    """Adam on log λ by one of :data:`GRADIENT_ARMS`, for as many steps as ``loops`` pays for."""
    estimator, settings, extra = GRADIENT_ARMS[name]
    adam = OuterConfig(name="adam", learning_rate=0.3)
    task, learner = Task(seed), make_estimator(estimator, optimizer=adam, **settings)
    outer, state = {k: p.tensor() for k, p in task.problem.outer_parameters().items()}, None
    for _ in range(int(loops // (1.0 + extra))):
        inner, run = task.problem.solve(outer, num_steps=INNER_STEPS)
        task.note(inner, outer)
        result = learner.compute_hypergradient(run, task.problem, state)
        outer, state = learner.step(result), result.state
    return task.best()


def random_search(seed: int, loops: float) -> Found:
    """λ drawn evenly on the log scale within the bounds."""
    task, generator = Task(seed), torch.Generator().manual_seed(seed)
    for _ in range(int(loops)):
        drawn = torch.rand(len(BOUNDS), generator=generator, dtype=DOUBLE).tolist()
        task.evaluate({k: _between(*BOUNDS[k], u) for k, u in zip(BOUNDS, drawn, strict=True)})
    return task.best()


def optuna_search(seed: int, loops: float) -> Found:
    """Optuna's default sampler (TPE) within the same bounds.

    Raises:
        ImportError: Optuna is not there; it comes with ``pip install 'chronos-nested[search]'``.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    task = Task(seed)

    def objective(trial: optuna.Trial) -> float:
        values = {k: trial.suggest_float(k, low, high, log=True) for k, (low, high) in BOUNDS.items()}
        return task.evaluate({k: torch.tensor(v, dtype=DOUBLE) for k, v in values.items()})

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=int(loops))
    return task.best()


ARMS: Final[Mapping[str, Callable[[int, float], Found]]] = {
    **{name: partial(gradient_arm, name) for name in GRADIENT_ARMS},
    "random search": random_search,
    "optuna (TPE)": optuna_search,
}
"""Arm -> (seed, budget in inner loops) -> what it found."""


def _between(low: float, high: float, share: float) -> Tensor:
    return torch.tensor(low * (high / low) ** share, dtype=DOUBLE)


def _squares(params: Tensors) -> Tensor:
    return torch.stack([p.square().sum() for p in params.values()]).sum()


def _classes(size: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Three classes in ten dimensions, a good part of them mislabelled by noise."""
    x = normal(size, 10, seed=seed)
    return x, (x @ normal(10, 3, seed=7) + 3.0 * normal(size, 3, seed=seed + 500)).argmax(dim=1)
