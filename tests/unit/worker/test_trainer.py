"""One update by its deadline, on a clock of the test's own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from chronos_common.engine import WorkSpec
from chronos_common.errors import ConfigurationError, DivergenceError, ProblemError, ProblemNotAllowedError
from chronos_common.hypergradient import Carry, ImplicitDifferentiation, InnerUpdate, compute_update
from chronos_common.problem import InnerProblem, InnerState, OuterParameter
from chronos_worker.trainer import Assignment, Trainer, load_trainer
from tests.support.problems import Ridge

HERE = "tests.unit.worker.test_trainer"


class Clock:
    """Every inner step and every hypergradient takes its time."""

    def __init__(self, *, step_seconds: float, tail_seconds: float) -> None:
        self.now = 100.0
        self._step = step_seconds
        self._tail = tail_seconds

    def __call__(self) -> float:
        return self.now

    def compute(self, *values: Any, should_stop: Callable[[], bool], **options: Any) -> InnerUpdate:
        def stepped() -> bool:
            self.now += self._step
            return should_stop()

        update = compute_update(*values, should_stop=stepped, **options)
        self.now += self._tail
        return update


def trainer(
    clock: Clock, *, inner_steps: int = 50, problem: InnerProblem | None = None, cold_start: bool = False
) -> Trainer:
    return Trainer(
        Ridge(features=3) if problem is None else problem,
        ImplicitDifferentiation(),
        WorkSpec(problem="x:Y", inner_steps=inner_steps, cold_start=cold_start),
        device=torch.device("cpu"),
        clock=clock,
        compute=clock.compute,
    )


def assignment(clock: Clock, *, seconds: float, version: int = 0) -> Assignment:
    stored = {"decay": Ridge(features=3).start.log().numpy()}
    return Assignment(version=version, stored=stored, shard=(0, 1), started=clock.now, seconds=seconds)


def never() -> bool:
    return False


def test_all_the_work_is_done_when_there_is_time() -> None:
    clock = Clock(step_seconds=0.1, tail_seconds=1.0)
    update = trainer(clock).update(assignment(clock, seconds=100.0), never)
    assert update.work == 1.0
    assert set(update.gradient) == {"decay"}


def test_without_a_lease_there_is_no_deadline() -> None:
    clock = Clock(step_seconds=100.0, tail_seconds=1.0)
    assert trainer(clock).update(assignment(clock, seconds=0.0), never).work == 1.0


def test_the_first_update_keeps_a_part_of_the_time_for_what_follows() -> None:
    clock = Clock(step_seconds=0.1, tail_seconds=0.5)
    update = trainer(clock, inner_steps=1000).update(assignment(clock, seconds=10.0), never)
    assert clock.now < 110.0
    assert 0.06 < update.work < 0.08  # about three quarters of ten seconds, at a tenth each


@pytest.mark.parametrize("tail_seconds", [0.5, 3.0])
def test_later_updates_know_how_long_hypergradient_and_commit_take(tail_seconds: float) -> None:
    clock = Clock(step_seconds=0.1, tail_seconds=tail_seconds)
    worker = trainer(clock, inner_steps=1000)
    for version in range(12):
        began = clock.now
        update = worker.update(assignment(clock, seconds=10.0, version=version), never)
        clock.now += 0.2
        worker.commit.observe(0.2)
    assert clock.now - began <= 10.0
    assert update.work >= 0.9 * (10.0 - tail_seconds - 0.2 - 0.2) / 100.0  # little time is wasted


def test_one_slow_hypergradient_does_not_starve_the_next_inner_loops() -> None:
    clock = Clock(step_seconds=0.01, tail_seconds=20.0)
    worker = trainer(clock)
    worker.update(assignment(clock, seconds=10.0), never)
    worker.commit.observe(0.1)
    assert worker.update(assignment(clock, seconds=2.0, version=1), never).work == 1.0


def test_one_step_is_done_however_short_the_time() -> None:
    clock = Clock(step_seconds=50.0, tail_seconds=1.0)
    assert trainer(clock).update(assignment(clock, seconds=1.0), never).work == pytest.approx(1 / 50)


def test_an_interruption_ends_the_inner_loop() -> None:
    clock = Clock(step_seconds=0.1, tail_seconds=0.1)
    update = trainer(clock).update(assignment(clock, seconds=100.0), lambda: clock.now > 101.0)
    assert update.work == pytest.approx(11 / 50)


def test_warm_start_and_forgetting() -> None:
    clock = Clock(step_seconds=0.0, tail_seconds=0.0)
    worker = trainer(clock, inner_steps=5)
    cold = worker.update(assignment(clock, seconds=0.0), never).metrics["outer_loss"]
    warm = worker.update(assignment(clock, seconds=0.0, version=1), never).metrics["outer_loss"]
    worker.forget()
    again = worker.update(assignment(clock, seconds=0.0, version=2), never).metrics["outer_loss"]
    assert cold == again != warm


class Broken(Ridge):
    def __init__(self, error: BaseException) -> None:
        super().__init__(features=3)
        self._raised = error

    def inner_loss(self, *_: Any) -> torch.Tensor:
        raise self._raised


class Exploding(Ridge):
    inner_learning_rate = 1e30


class Impatient(Ridge):
    def __init__(self) -> None:
        raise KeyboardInterrupt


class NeedsKey(Ridge):
    def __init__(self) -> None:
        raise KeyError("DATA_DIR")


def test_a_cold_start_begins_every_inner_loop_at_the_problem_s_own_start() -> None:
    clock = Clock(step_seconds=0.0, tail_seconds=0.0)
    cold = trainer(clock, inner_steps=3, cold_start=True)
    first, second = (cold.update(assignment(clock, seconds=math.inf), never) for _ in range(2))
    np.testing.assert_array_equal(first.gradient["decay"], second.gradient["decay"])
    warm = trainer(clock, inner_steps=3)
    first, second = (warm.update(assignment(clock, seconds=math.inf), never) for _ in range(2))
    assert not np.array_equal(first.gradient["decay"], second.gradient["decay"])


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shapes do not match"),
        SystemExit("no more data"),
        KeyboardInterrupt("q"),
        GeneratorExit("x"),
        asyncio.CancelledError("c"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_user_s_code_raises_is_named_and_ends_no_worker(error: BaseException) -> None:
    clock = Clock(step_seconds=0.0, tail_seconds=0.0)
    worker = trainer(clock, problem=Broken(error))
    with pytest.raises(ProblemError, match=f"'x:Y' raised {type(error).__name__}: {error}"):
        worker.update(assignment(clock, seconds=1.0), never)


def test_divergence_keeps_its_type() -> None:
    clock = Clock(step_seconds=0.0, tail_seconds=0.0)
    with pytest.raises(DivergenceError):
        trainer(clock, problem=Exploding(features=3)).update(assignment(clock, seconds=0.0), never)


def load(work: WorkSpec, *allow: str) -> Trainer:
    return load_trainer(work, allow=allow, device=torch.device("cpu"), clock=lambda: 0.0)


def test_a_problem_on_the_allow_list_is_loaded_with_its_configuration() -> None:
    work = WorkSpec(
        problem="tests.support.problems:Ridge",
        problem_config='{"features": 2}',
        estimator="implicit",
        estimator_config='{"cg_steps": 5}',
        inner_steps=3,
    )
    given = Assignment(version=0, stored={"decay": np.zeros(2)}, shard=(0, 0), started=0.0, seconds=0.0)
    assert load(work, "tests.support.*").update(given, never).gradient["decay"].shape == (2,)


@pytest.mark.parametrize(
    ("work", "error", "message"),
    [
        (WorkSpec(problem=f"{HERE}:Broken"), ProblemNotAllowedError, "allow-list"),
        (WorkSpec(problem="tests.support.problems:Absent"), ProblemError, "Absent"),
        (WorkSpec(problem="tests.support.problems:Ridge", estimator="magic"), ConfigurationError, "magic"),
        (WorkSpec(problem="tests.support.problems:NeedsKey"), ProblemError, "NeedsKey"),
    ],
)
def test_what_cannot_be_loaded_says_why(work: WorkSpec, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load(work, "tests.support.*")


def test_a_problem_that_cannot_be_built_is_named() -> None:
    with pytest.raises(ProblemError, match="constructor of problem.*KeyError: 'DATA_DIR'"):
        load(WorkSpec(problem=f"{HERE}:NeedsKey"), f"{HERE}:*")


def test_a_problem_that_interrupts_its_own_construction_is_named() -> None:
    with pytest.raises(ProblemError, match="raised KeyboardInterrupt while it was built"):
        load(WorkSpec(problem=f"{HERE}:Impatient"), f"{HERE}:*")


def test_a_version_that_does_not_fit_the_problem_is_refused() -> None:
    clock = Clock(step_seconds=0.0, tail_seconds=0.0)
    wrong = Assignment(version=0, stored={"rate": np.zeros(1)}, shard=(0, 1), started=0.0, seconds=math.inf)
    with pytest.raises(Exception, match="rate"):
        trainer(clock).update(wrong, never)


def test_outer_parameter_is_what_the_problem_declares() -> None:
    assert isinstance(Ridge(features=3).outer_parameters()["decay"], OuterParameter)


def test_a_kept_warm_start_is_gone_on_from() -> None:
    clock = Clock(step_seconds=0.0, tail_seconds=0.0)
    first = trainer(clock, inner_steps=3)
    first.update(assignment(clock, seconds=0.0), lambda: False)
    assert first.carry is not None
    kept = Carry.from_tensors(first.carry.to_tensors())
    second = trainer(clock, inner_steps=3)
    second.resume(kept)
    for each in (first, second):
        each.update(assignment(clock, seconds=0.0), lambda: False)
    assert first.carry is not None
    assert second.carry is not None
    assert first.carry.next_step == second.carry.next_step == 6
    ours, theirs = first.carry.to_tensors(), second.carry.to_tensors()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_kept_warm_start_of_another_shape_is_dropped_once() -> None:
    clock = Clock(step_seconds=0.0, tail_seconds=0.0)
    odd = Carry(base_version=0, next_step=3, inner={"": InnerState({"w": torch.ones(7)})}, estimator={})
    fresh, resumed = trainer(clock, inner_steps=3), trainer(clock, inner_steps=3)
    name = next(iter(_updated(fresh, clock).inner))
    resumed.resume(Carry(base_version=0, next_step=3, inner={name: odd.inner[""]}, estimator={}))
    assert _updated(resumed, clock).next_step == 3


def test_a_problem_that_breaks_later_is_not_the_warm_starts_fault() -> None:
    clock = Clock(step_seconds=0.0, tail_seconds=0.0)
    resumed = trainer(clock, inner_steps=1)
    resumed.resume(_updated(trainer(clock, inner_steps=1), clock))
    _updated(resumed, clock)
    resumed._problem = None  # type: ignore[assignment]
    with pytest.raises(ProblemError):
        _updated(resumed, clock)
    assert resumed.carry is not None


def test_a_cold_start_carries_nothing() -> None:
    clock = Clock(step_seconds=0.0, tail_seconds=0.0)
    cold = trainer(clock, inner_steps=1, cold_start=True)
    cold.update(assignment(clock, seconds=0.0), lambda: False)
    assert cold.carry is None


def _updated(each: Trainer, clock: Clock) -> Carry:
    each.update(assignment(clock, seconds=0.0), lambda: False)
    assert each.carry is not None
    return each.carry
