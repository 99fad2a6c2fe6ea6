"""Ray Tune's ``PopulationBasedTraining(synch=True)``, with its own actors, checkpoints and exploitation.

A trial is a population of one member on the same task code: the same first weights, start rates, bounds, steps in
a round, fitness. What Ray leaves open is settled so: genes that its multiplications drive out of their bounds are
brought back (as they were in every other arm), and a trial that takes over another's checkpoint goes on with data of
its own, not with the other's.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining
from ray.tune.search.basic_variant import BasicVariantGenerator
from safetensors.torch import load_file, save_file

from benchmarks.population.baselines import MEMBERS, spread_values
from benchmarks.population.budget import fitted
from benchmarks.population.clan_arm import Outcome
from benchmarks.population.peers.ray_runtime import started
from benchmarks.population.tasks import TASKS, Task
from benchmarks.population.training import Population
from chronos_common.clan import LogFloatAllele, preset

SLOTS: Final = 2
"""Trials at a time: in the synchronous mode it changes the time alone, and Ray starts fewer processes."""

PERTURB_EVERY: Final = 1
"""Rounds, each one training iteration of Ray's."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is the same for all trials of a run.

    Attributes:
        task: its name.
        seed: of task and weights.
        steps: of a trial.
        round_length: steps of a training iteration.
    """

    task: str
    seed: int
    steps: int
    round_length: int

    @property
    def rounds(self) -> int:
        """Training iterations."""
        return -(-self.steps // self.round_length)


class Starts(BasicVariantGenerator):  # type: ignore[misc]
    """The members' settings; not over before the last member is, as Ray keeps no process for paused trials else."""

    def __init__(self, starts: list[dict[str, Any]], seed: int) -> None:
        super().__init__(points_to_evaluate=starts, random_state=seed)
        self.left = len(starts)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """One member less."""
        super().on_trial_complete(trial_id, result, error)
        self.left -= 1

    def is_finished(self) -> bool:
        """Whether all members are through."""
        return self.left <= 0 and bool(super().is_finished())


class Member(tune.Trainable):  # type: ignore[misc]
    """One trial: ``config`` has a value for each gene, ``stream`` (which data) and ``plan``."""

    def setup(self, config: dict[str, Any]) -> None:
        """A member that has not trained; all begin with the same weights."""
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        self.plan = Plan(**config["plan"])
        self.task = TASKS[self.plan.task](self.plan.seed)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes over another trial's settings in the same process."""
        self.values = {name: new_config[name] for name in self.task.genes}
        self.stream = int(new_config["stream"])
        self.population = Population(self.task, 1, self.plan.seed)
        return True

    def step(self) -> dict[str, Any]:
        """One round, and its fitness; after the last also what is reported."""
        plan, done = self.plan, self.iteration * self.plan.round_length
        self.population.reseed(plan.seed, self.stream, self.iteration)
        for _ in range(min(plan.round_length, plan.steps - done)):
            self.population.step([self.values], 1.0, shared=False, common=False)
        fitness = self.population.evaluate(self.task.validation, self.task.fitness_samples)[0]
        found = {"fitness": fitness if fitness == fitness else float("inf"), "rate": self.values["lr"]}
        if self.iteration + 1 == plan.rounds:
            found["validation"] = self.population.evaluate(self.task.validation, counted=False)[0]
            found["test"] = self.population.evaluate(self.task.test, counted=False)[0]
        return {**found, "forwards": self.population.forwards}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Weights and optimiser state."""
        parts = {
            f"{place}/{name}": value
            for place, tensors in enumerate(self.population.snapshot())
            for name, value in tensors.items()
        }
        save_file(parts, Path(checkpoint_dir) / "member.safetensors")
        (Path(checkpoint_dir) / "cost.json").write_text(json.dumps(self.population.forwards))

    def load_checkpoint(self, checkpoint_dir: str) -> None:  # type: ignore[override, unused-ignore]
        """Weights and optimiser state, perhaps another trial's."""
        kept: list[dict[str, torch.Tensor]] = [{} for _ in self.population.snapshot()]
        for key, value in load_file(Path(checkpoint_dir) / "member.safetensors").items():
            place, _, name = key.partition("/")
            kept[int(place)][name] = value
        self.population.restore(kept)
        self.population.forwards = json.loads((Path(checkpoint_dir) / "cost.json").read_text())


def ray_pbt(task: Task, seed: int, equal_flops: bool) -> Outcome:
    """A whole run of Ray Tune's population-based training; the best trial by validation."""
    config = preset("pbt", population_size=MEMBERS, round_length=task.round_length, total_steps=task.steps)
    steps = (fitted(config, task) if equal_flops else config).total_steps or task.steps
    plan = Plan(task=task.name, seed=seed, steps=steps, round_length=task.round_length)
    folder = tempfile.mkdtemp(prefix="chronos-ray-")
    began = time.monotonic()
    try:
        with started(SLOTS):
            results = list(_tuner(task, plan, seed, folder).fit())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    finished = [result.metrics for result in results if result.metrics and "test" in result.metrics]
    if len(finished) != MEMBERS:
        raise RuntimeError(f"{len(finished)} of {MEMBERS} of Ray's trials came to their end")
    best = min(finished, key=lambda found: found["validation"] if found["validation"] >= 0.0 else np.inf)
    return Outcome(
        test=best["test"],
        validation=best["validation"],
        forwards=sum(found["forwards"] for found in finished),
        trace=[{"lr": best["rate"], "wall_seconds": time.monotonic() - began}],
    )


def _tuner(task: Task, plan: Plan, seed: int, folder: str) -> Any:
    random.seed(seed)  # Ray draws its perturbations from the global generator.
    draw = np.random.default_rng(seed)
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        metric="fitness",
        mode="min",
        perturbation_interval=PERTURB_EVERY,
        hyperparam_mutations={name: _anywhere(task, name, draw) for name in task.genes},
        quantile_fraction=0.25,
        resample_probability=0.25,
        perturbation_factors=(1.2, 0.8),
        custom_explore_fn=_bounded(task, draw),
        log_config=False,
        synch=True,
    )
    starts = [{**values, "stream": member} for member, values in enumerate(spread_values(task, MEMBERS))]
    return tune.Tuner(
        tune.with_resources(Member, {"cpu": 1}),
        param_space={**dict.fromkeys(starts[0]), "plan": asdict(plan)},
        tune_config=tune.TuneConfig(
            scheduler=scheduler,
            num_samples=MEMBERS,
            reuse_actors=True,
            search_alg=Starts(starts, seed),
        ),
        run_config=tune.RunConfig(
            name="pbt", storage_path=folder, stop={"training_iteration": plan.rounds}, verbose=0
        ),
    )


def _anywhere(task: Task, name: str, draw: np.random.Generator) -> Callable[[], float]:
    allele = task.genes[name]
    low, high = allele.domain  # type: ignore[attr-defined]
    if isinstance(allele, LogFloatAllele):
        return lambda: float(np.exp(draw.uniform(np.log(low), np.log(high))))
    return lambda: float(draw.uniform(low, high))


def _bounded(task: Task, draw: np.random.Generator) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def explore(config: dict[str, Any]) -> dict[str, Any]:
        for name, allele in task.genes.items():
            low, high = allele.domain  # type: ignore[attr-defined]
            config[name] = min(max(config[name], low), high)
        config["stream"] = int(draw.integers(MEMBERS, 2**31))
        return config

    return explore
