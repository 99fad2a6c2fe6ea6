from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError, DivergenceError, MissingPartError, ProblemError
from chronos_common.problem import Aux, Context, InnerProblem, InnerState, Tensors, defines
from chronos_common.problem.solving import count_samples
from tests.support.problems import Quadratic, Ridge, normal


def test_gradient_descent_reaches_the_closed_form() -> None:
    problem = Ridge()
    inner, run = problem.solve(num_steps=800)
    torch.testing.assert_close(inner.params["w"], problem.solution(problem.start).params["w"])
    assert (run.num_steps, run.requested_steps, run.end_step, run.work) == (800, 800, 800, 1.0)
    assert run.losses.shape == (800,)
    assert float(run.losses[-1]) < float(run.losses[0])
    assert run.final is inner
    assert not inner.params["w"].requires_grad
    assert run.samples == 0


def test_no_step_is_a_valid_loop() -> None:
    inner, run = Ridge().solve(num_steps=0)
    assert run.work == 1.0
    assert run.losses.shape == (0,)
    assert torch.equal(inner.params["w"], run.initial.params["w"])


def test_a_loop_in_two_parts_is_the_loop_in_one() -> None:
    problem = Quadratic()
    half, first = problem.solve(num_steps=5)
    end, second = problem.solve(init=half, num_steps=4, start_step=first.end_step)
    whole, run = problem.solve(num_steps=9)
    assert torch.equal(end.params["w"], whole.params["w"])
    assert torch.equal(end.opt_state["v"], whole.opt_state["v"])
    assert torch.equal(torch.cat([first.losses, second.losses]), run.losses)
    assert (first.from_init_inner, second.from_init_inner) == (True, False)


def test_a_deadline_stops_between_steps() -> None:
    answers = iter([False, False, True])
    _, run = Ridge().solve(num_steps=10, should_stop=lambda: next(answers))
    assert (run.num_steps, run.requested_steps, run.work) == (3, 10, 0.3)


def test_the_last_states_are_kept_on_request() -> None:
    problem = Ridge()
    _, run = problem.solve(num_steps=10, keep_last=3)
    before, _ = problem.solve(num_steps=7)
    assert len(run.recent) == 3
    assert torch.equal(run.recent[0].params["w"], before.params["w"])
    assert problem.solve(num_steps=2, keep_last=3)[1].recent[0].params["w"].norm() == 0
    assert problem.solve(num_steps=2)[1].recent == ()


def test_outer_is_given_as_floats_or_left_out() -> None:
    class Scalar(InnerProblem):
        def outer_parameters(self) -> dict[str, float]:
            return {"target": 2.0}

        def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
            return InnerState({"x": torch.tensor(0.0)})

        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return (inner.params["x"] - outer["target"]) ** 2

    problem = Scalar()
    assert float(problem.solve(num_steps=200)[0].params["x"]) == pytest.approx(2.0)
    assert float(problem.solve({"target": -1.0}, num_steps=200)[0].params["x"]) == pytest.approx(-1.0)
    with pytest.raises(ProblemError, match="declares"):
        problem.solve({"other": 1.0})


@pytest.mark.parametrize(
    "init",
    [
        InnerState({"w": normal(3, seed=1)}),
        InnerState({"w": normal(8, seed=1).float()}),
        InnerState({"v": normal(8, seed=1)}),
        InnerState({"w": normal(8, seed=1)}, buffers={"extra": torch.ones(1)}),
    ],
)
def test_a_warm_start_of_another_layout_is_refused(init: InnerState) -> None:
    with pytest.raises(ProblemError, match="init does not fit"):
        Ridge().solve(init=init, num_steps=1)


def test_divergence_names_the_first_bad_step() -> None:
    class Explodes(Ridge):
        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            loss = super().inner_loss(inner, outer, batch, ctx)
            return loss * float("nan") if ctx.step == 4 else loss

    with pytest.raises(DivergenceError, match="step 4") as caught:
        Explodes().solve(num_steps=6)
    assert caught.value.details["step"] == 4


def test_parameters_that_are_not_finite_at_the_end_are_refused() -> None:
    class Late(Ridge):
        def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
            return InnerState({"w": grads["w"] / 0.0})

    with pytest.raises(DivergenceError, match=r"'w'.*after step 0"):
        Late().solve(num_steps=1)


def broken(part: str, value: Any) -> InnerProblem:
    return type("Broken", (Ridge,), {part: lambda self, *args: value})()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("inner_loss", 3.0, "must return a tensor"),
        ("inner_loss", (torch.ones(()), {}), "must return a tensor"),
        ("inner_loss", torch.ones(2), r"one number.*\(2,\)"),
        ("inner_loss", torch.ones(()), "does not depend on the inner parameters"),
        ("inner_update", {"w": torch.ones(8)}, "InnerState"),
        ("inner_update", InnerState({"other": torch.ones(8)}), "same parameter names"),
        ("inner_update", InnerState({"w": torch.ones(3)}), r"params\['w'\] of shape \(3,\).*\(8,\)"),
        ("inner_update", InnerState({"w": torch.ones(8)}), r"params\['w'\].*float32.*float64"),
        ("inner_update", InnerState(cast(Any, {"w": 1.0})), "params/w as float"),
        ("init_inner", InnerState(cast(Any, {"w": [1.0]})), "params/w as list"),
        ("init_inner", {"w": torch.ones(8)}, "InnerState, not dict"),
        ("init_inner", InnerState({"w": torch.ones(8, dtype=torch.int64)}), "'w'.*int64"),
    ],
)
def test_a_part_that_breaks_its_contract_is_named(part: str, value: Any, words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        broken(part, value).solve(num_steps=1)


def test_numbers_of_steps_cannot_be_negative() -> None:
    with pytest.raises(ConfigurationError, match="at least 0"):
        Ridge().solve(num_steps=-1)


def test_a_black_box_has_two_parts_and_the_others_name_themselves() -> None:
    class BlackBox(InnerProblem):
        def outer_parameters(self) -> dict[str, float]:
            return {"x": 1.0}

        def evaluate(self, inner: InnerState | None, outer: Tensors, ctx: Context) -> dict[str, float]:
            return {"loss": float(outer["x"])}

    problem, ctx = BlackBox(), Context()
    assert defines(problem, "evaluate")
    assert not defines(problem, "init_inner")
    assert not defines(problem, "no_such_part")
    assert (problem.inner_batch(0, ctx), problem.outer_batch(0, ctx)) == (None, None)
    assert [task.name for task in problem.tasks(ctx)] == ["main"]
    with pytest.raises(MissingPartError, match=r"BlackBox.init_inner\(\)"):
        problem.solve()
    state = InnerState({})
    with pytest.raises(MissingPartError, match="inner_loss"):
        problem.inner_loss(state, {}, None, ctx)
    with pytest.raises(MissingPartError, match="outer_loss"):
        problem.outer_loss(state, {}, None, ctx)
    assert InnerProblem.evaluate(problem, None, {}, ctx) == {}


def test_buffers_and_metrics_travel_through_aux() -> None:
    class Counting(Ridge):
        def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
            counts = {"count": torch.tensor(0), "other": torch.tensor(7)}
            return InnerState(super().init_inner(outer, ctx).params, counts)

        def inner_loss(  # type: ignore[override]
            self, inner: InnerState, outer: Tensors, batch: object, ctx: Context
        ) -> tuple[Tensor, Aux]:
            loss = super().inner_loss(inner, outer, batch, ctx)
            return loss, Aux(buffers={"count": inner.buffers["count"] + 1}, metrics={"loss": loss})

    inner, run = Counting().solve(num_steps=5)
    assert (int(inner.buffers["count"]), int(inner.buffers["other"])) == (5, 7)
    assert float(run.metrics["loss"]) == float(run.losses[-1])
    assert not run.metrics["loss"].requires_grad


def test_an_inner_problem_without_parameters_is_solved_by_doing_nothing() -> None:
    class Nothing(Ridge):
        def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
            return InnerState({})

        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return outer["decay"].sum()

    assert Nothing().solve(num_steps=2)[0].params == {}


def test_states_become_flat_tensors_and_back() -> None:
    state = InnerState({"a/b": torch.ones(2)}, {"n": torch.tensor(3)}, {"v": torch.zeros(1)})
    assert sorted(state.to_tensors()) == ["buffers/n", "opt_state/v", "params/a/b"]
    assert InnerState.from_tensors(state.to_tensors()).layout() == state.layout()
    for name in ("weights/a", "params"):
        with pytest.raises(ProblemError, match=name):
            InnerState.from_tensors({name: torch.ones(1)})


def test_samples_are_counted_by_the_first_tensor_of_a_batch() -> None:
    x = torch.ones(5, 2)
    assert [count_samples(b) for b in (x, (x, None), {"x": [x]}, None, torch.tensor(1.0), "x")] == [
        5,
        5,
        5,
        0,
        1,
        0,
    ]


class Buffered(Quadratic):
    """Ridge with momentum and a buffer, of which each method may do something wrong."""

    wrong: str = ""

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        state = super().init_inner(outer, ctx)
        return InnerState(state.params, {"count": torch.zeros(2)}, {"v": state.opt_state["v"].clone()})

    def inner_loss(  # type: ignore[override]
        self, inner: InnerState, outer: Tensors, batch: object, ctx: Context
    ) -> tuple[Tensor, Aux]:
        metrics = {}
        if self.wrong == "buffer in place":
            inner.buffers["count"].add_(1.0)
        elif self.wrong == "leaf in place":
            inner.params["w"] += 1.0
        elif self.wrong == "outer in place":
            outer["decay"].mul_(2.0)
        elif self.wrong == "metric":
            metrics = {"many": torch.ones(2)}
        loss = super().inner_loss(inner, outer, batch, ctx)
        wrong_buffers: dict[str, dict[str, Any]] = {
            "other buffer": {"unknown": torch.ones(2)},
            "buffer shape": {"count": torch.ones(3)},
            "buffer type": {"count": 3.0},
        }
        return loss, Aux(buffers=wrong_buffers.get(self.wrong, {}), metrics=metrics)

    def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
        if self.wrong == "params in place":
            inner.params["w"] -= 0.1 * grads["w"]
        elif self.wrong == "params by data":
            inner.params["w"].data -= 0.1 * grads["w"]
        elif self.wrong == "memory in place":
            inner.opt_state["v"].mul_(0.9)
        elif self.wrong == "gradients in place":
            grads["w"].clamp_(-1.0, 1.0)
        updated = super().inner_update(inner, grads, outer, ctx)
        velocity = updated.opt_state["v"]
        return InnerState(
            updated.params,
            inner.buffers,
            {"v": velocity.float() if self.wrong == "memory dtype" else velocity},
        )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("buffer in place", r"inner_loss writes into buffers\['count'\].*clone"),
        ("leaf in place", "inner_loss writes in place"),
        ("outer in place", r"inner_loss writes into outer\['decay'\]"),
        ("params in place", r"inner_update writes into params\['w'\].*not w -= g"),
        ("params by data", r"inner_loss or inner_update writes into params/w"),
        ("memory in place", r"inner_update writes into opt_state\['v'\]"),
        ("gradients in place", r"inner_update writes into grads\['w'\]"),
        ("memory dtype", r"opt_state\['v'\].*float32.*float64"),
        ("other buffer", r"'unknown' .*\['count'\]"),
        ("buffer shape", r"buffers\['count'\] of shape \(3,\)"),
        ("buffer type", "'count' as float"),
        ("metric", r"'many' of shape \(2,\)"),
    ],
)
def test_a_method_that_writes_into_its_arguments_or_changes_a_layout_is_named(wrong: str, words: str) -> None:
    problem = Buffered(4)
    problem.solve(num_steps=2)
    problem.wrong = wrong
    with pytest.raises(ProblemError, match=words):
        problem.solve(num_steps=2)


def test_a_method_may_do_what_it_likes_with_the_dicts_it_gets() -> None:
    class Rebinding(Ridge):
        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            outer["decay"] = 2 * outer["decay"]
            return super().inner_loss(inner, outer, batch, ctx)

        def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
            inner.params["w"] = torch.add(inner.params["w"], grads["w"], alpha=-0.1)
            return inner

    class Doubled(Ridge):
        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return super().inner_loss(inner, {"decay": 2 * outer["decay"]}, batch, ctx)

    once, run = Doubled().solve(num_steps=5)
    again, other = Rebinding().solve(num_steps=5)
    assert torch.equal(again.params["w"], once.params["w"])
    assert torch.equal(other.initial.params["w"], run.initial.params["w"])


def test_other_errors_of_the_problem_stay_what_they_are() -> None:
    class Broken(Ridge):
        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        Broken().solve(num_steps=1)
