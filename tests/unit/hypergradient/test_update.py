from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from chronos_common.errors import MissingPartError, NameMismatchError, ProblemError
from chronos_common.hypergradient import (
    Carry,
    ImplicitDifferentiation,
    OuterSpace,
    UnrolledDifferentiation,
    compute_update,
)
from chronos_common.problem import Aux, Context, InnerProblem, InnerState, Shard, Task, Tensors
from chronos_common.tensors import Array
from tests.support.problems import DOUBLE, Ridge, small_mlp


class Tasks(Ridge):
    """Three tasks with different weights."""

    names: Sequence[str] = ("easy", "with/slash", "hard")

    def tasks(self, ctx: Context) -> list[Task]:
        return [Task(index=i, name=name, data=float(i + 1)) for i, name in enumerate(self.names)]

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        assert ctx.shard == Shard(), "tasks are split over the shards, so that each sees all of its data"
        return super().outer_loss(inner, outer, batch, ctx) * float(ctx.task.data)


def cleaning(**options: object) -> InnerProblem:
    return small_mlp(
        outer={"logits": torch.zeros(30, dtype=DOUBLE)},
        regulariser=None,
        sample_weights=lambda outer, positions: torch.sigmoid(outer["logits"][positions]),
        **options,
    )


def test_the_gradient_is_in_stored_coordinates() -> None:
    problem = Ridge()
    stored = OuterSpace.of(problem).initial()
    update = compute_update(problem, UnrolledDifferentiation(), stored, num_inner_steps=600)
    natural = problem.hypergradient(problem.start)
    np.testing.assert_allclose(update.gradient["decay"], (problem.start * natural).numpy(), rtol=1e-6)
    assert update.work == 1.0
    assert update.tasks == 1
    assert update.metrics.keys() == {"outer_loss", "inner_loss"}


def test_the_same_arguments_give_the_same_bits_and_leave_the_arguments_alone() -> None:
    problem = cleaning(batch_size=7, validation_batch_size=6)
    stored = OuterSpace.of(problem).initial()
    kept = {k: v.copy() for k, v in stored.items()}

    def run(seed: int = 3, base_version: int = 2) -> bytes:
        update = compute_update(
            problem,
            ImplicitDifferentiation(),
            stored,
            num_inner_steps=5,
            seed=seed,
            base_version=base_version,
        )
        return update.gradient["logits"].tobytes()

    assert run() == run()
    assert np.array_equal(stored["logits"], kept["logits"])
    assert len({run(), run(seed=4), run(base_version=3)}) == 3


def test_dtype_and_metrics_follow_the_problem() -> None:
    class Reported(Ridge):
        def inner_loss(  # type: ignore[override]
            self, inner: InnerState, outer: Tensors, batch: object, ctx: Context
        ) -> tuple[Tensor, Aux]:
            return super().inner_loss(inner, outer, batch, ctx), Aux(metrics={"w0": inner.params["w"][0]})

    problem = Reported(dtype=torch.float32)
    stored = OuterSpace.of(problem).initial()
    update = compute_update(problem, ImplicitDifferentiation(), stored, num_inner_steps=3, evaluate=True)
    assert update.gradient["decay"].dtype == np.float32
    assert update.metrics.keys() == {"outer_loss", "inner_loss", "w0", "norm"}
    assert "cg_iterations" in update.diagnostics


def test_samples_are_counted_from_the_batches() -> None:
    problem = cleaning(batch_size=7)
    update = compute_update(
        problem, ImplicitDifferentiation(), OuterSpace.of(problem).initial(), num_inner_steps=5
    )
    assert update.samples == 35


def test_a_deadline_ends_the_loop_and_work_says_how_much_was_done() -> None:
    problem = Ridge()
    stored = OuterSpace.of(problem).initial()
    update = compute_update(
        problem, ImplicitDifferentiation(), stored, num_inner_steps=10, should_stop=lambda: True
    )
    assert update.work == pytest.approx(0.1), "at least one step is done"
    assert update.carry.next_step == 1


def test_a_deadline_also_ends_the_list_of_tasks() -> None:
    problem = Tasks()
    stored = OuterSpace.of(problem).initial()
    update = compute_update(
        problem, ImplicitDifferentiation(), stored, num_inner_steps=10, should_stop=lambda: True
    )
    assert update.tasks == 1
    assert update.work == pytest.approx(1 / 30)


def test_a_warm_start_goes_on_from_theta_and_from_the_batches() -> None:
    problem = cleaning(batch_size=7)
    stored, estimator = OuterSpace.of(problem).initial(), ImplicitDifferentiation()
    first = compute_update(problem, estimator, stored, num_inner_steps=4, base_version=5)
    second = compute_update(problem, estimator, stored, num_inner_steps=3, base_version=5, carry=first.carry)
    at_once, _ = problem.solve(num_steps=7, ctx=Context(base_version=5))
    for name, value in at_once.params.items():
        assert torch.equal(second.carry.inner["main"].params[name], value)
    other = compute_update(problem, estimator, stored, num_inner_steps=3, base_version=6, carry=first.carry)
    assert other.carry.next_step == 3, "a new version counts its steps from 0"


def test_the_carry_survives_as_flat_tensors() -> None:
    problem, estimator = Tasks(), ImplicitDifferentiation()
    stored = OuterSpace.of(problem).initial()
    carry = compute_update(problem, estimator, stored, num_inner_steps=4).carry
    restored = Carry.from_tensors(carry.to_tensors())
    assert restored.inner.keys() == carry.inner.keys() == set(problem.names)
    assert restored.estimator.keys() == carry.estimator.keys()
    one, other = (
        compute_update(problem, estimator, stored, num_inner_steps=4, carry=c) for c in (carry, restored)
    )
    assert one.gradient["decay"].tobytes() == other.gradient["decay"].tobytes()
    assert (restored.base_version, restored.next_step) == (0, 4)


@pytest.mark.parametrize(
    "tensors",
    [{}, {"base_version": torch.tensor(1), "next_step": torch.tensor(1), "inner/x/y": torch.ones(1)}],
)
def test_other_tensors_are_not_a_carry(tensors: Tensors) -> None:
    with pytest.raises(ProblemError, match="warm start"):
        Carry.from_tensors(tensors)


def test_tasks_are_split_over_the_shards() -> None:
    problem = Tasks()
    stored = OuterSpace.of(problem).initial()

    def gradient(shard: Shard) -> tuple[int, Array]:
        update = compute_update(problem, UnrolledDifferentiation(), stored, num_inner_steps=5, shard=shard)
        return update.tasks, update.gradient["decay"]

    whole = gradient(Shard())
    parts = [gradient(Shard(index=i, count=2)) for i in range(2)]
    assert [whole[0], *(tasks for tasks, _ in parts)] == [3, 2, 1]
    np.testing.assert_allclose((2 * parts[0][1] + parts[1][1]) / 3, whole[1], rtol=1e-12)
    extra = gradient(Shard(index=4, count=5))
    np.testing.assert_array_equal(extra[1], parts[1][1])


def test_one_task_hands_the_shard_to_the_problem() -> None:
    problem = small_mlp()
    stored = OuterSpace.of(problem).initial()
    losses = [
        compute_update(
            problem,
            ImplicitDifferentiation(),
            stored,
            num_inner_steps=3,
            shard=Shard(index=i, count=count),
        ).metrics["outer_loss"]
        for i, count in ((0, 1), (0, 2), (1, 2))
    ]
    assert losses[0] == pytest.approx((losses[1] + losses[2]) / 2)
    assert losses[1] != losses[2]


def test_warm_starts_of_tasks_that_are_gone_are_dropped() -> None:
    problem, estimator = Tasks(), ImplicitDifferentiation()
    stored = OuterSpace.of(problem).initial()
    carry = compute_update(problem, estimator, stored, num_inner_steps=2).carry
    half = compute_update(
        problem, estimator, stored, num_inner_steps=2, carry=carry, shard=Shard(index=1, count=2)
    ).carry
    assert half.inner.keys() == set(problem.names), "another shard's tasks are kept"
    problem.names = ("easy", "new")
    after = compute_update(problem, estimator, stored, num_inner_steps=2, carry=carry).carry
    assert after.inner.keys() == {"easy", "new"}
    assert sorted(after.estimator) == ["easy/v", "new/v"]


@pytest.mark.parametrize("tasks", [[], [Task(), Task()], [Task(index=1)]])
def test_a_list_of_tasks_must_be_numbered_and_named(tasks: list[Task]) -> None:
    class Wrong(Ridge):
        def tasks(self, ctx: Context) -> list[Task]:
            return tasks

    problem = Wrong()
    with pytest.raises(ProblemError, match=r"tasks\(\)"):
        compute_update(
            problem, ImplicitDifferentiation(), OuterSpace.of(problem).initial(), num_inner_steps=1
        )


def test_no_inner_step_at_all_is_complete_work() -> None:
    problem = Ridge()
    update = compute_update(
        problem, ImplicitDifferentiation(), OuterSpace.of(problem).initial(), num_inner_steps=0
    )
    assert update.work == 1.0
    assert "inner_loss" not in update.metrics


def test_what_does_not_fit_is_refused_before_any_work() -> None:
    class BlackBox(InnerProblem):
        def outer_parameters(self) -> dict[str, float]:
            return {"x": 1.0}

    with pytest.raises(MissingPartError, match=r"ImplicitDifferentiation needs BlackBox.init_inner"):
        compute_update(BlackBox(), ImplicitDifferentiation(), {"x": np.ones(())}, num_inner_steps=1)
    with pytest.raises(NameMismatchError):
        compute_update(Ridge(), ImplicitDifferentiation(), {"y": np.ones(8)}, num_inner_steps=1)
