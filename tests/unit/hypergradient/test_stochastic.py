"""Stochastic estimators on mini-batches: unbiased averages, variance reduction, and what is carried."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError, OuterParameterUnusedError
from chronos_common.hypergradient import ESTIMATORS, HypergradientResult, make_estimator
from chronos_common.problem import Context, InnerProblem, InnerState, Task, Tensors, Trajectory
from tests.support.problems import Quadratic, Ridge

pytestmark = pytest.mark.numerical

NAMES = ["amigo", "ma_soba", "saba", "soba", "stocbio"]
BATCHES = 5


class Batched(Ridge):
    """Ridge whose data come in batches of unequal sizes; step i has batch i modulo their number."""

    ends = (0, 3, 7, 16, 24, 32)

    def inner_batch(self, step: int, ctx: Context) -> tuple[Tensor, Tensor]:
        part = slice(*self.ends[step % BATCHES :][:2])
        return self.x[part], self.y[part]

    def outer_batch(self, step: int, ctx: Context) -> tuple[Tensor, Tensor]:
        part = slice(*self.ends[step % BATCHES :][:2])
        return self.x_val[part], self.y_val[part]

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        x, y = batch  # type: ignore[misc]
        w = inner.params["w"]
        return ((x @ w - y).square().mean() + (outer["decay"] * w.square()).sum()) / 2

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        x, y = batch  # type: ignore[misc]
        return (x @ inner.params["w"] - y).square().mean() / 2


def relative(value: Tensor, truth: Tensor) -> float:
    return float((value - truth).norm() / truth.norm())


def at_solution(problem: Ridge, version: int = 0) -> Trajectory:
    ctx = Context(base_version=version, seed=version)
    return problem.solve(init=problem.solution(problem.start), num_steps=0, start_step=version, ctx=ctx)[1]


def gradients(name: str, calls: int, **settings: float) -> list[Tensor]:
    """Of successive warm calls at one λ, each at another version, whose batches begin elsewhere."""
    problem, estimator, state, found = Batched(), make_estimator(name, **settings), None, []
    for version in range(calls):
        result = estimator.compute_hypergradient(at_solution(problem, version), problem, state)
        state = result.state
        found.append(result.gradient["decay"])
    return found


def errors(name: str, calls: int, **settings: float) -> list[float]:
    truth = Batched().hypergradient(Batched().start)
    return [relative(gradient, truth) for gradient in gradients(name, calls, **settings)]


def test_saba_converges_on_mini_batches_and_soba_does_not() -> None:
    reduced = errors("saba", 600, num_inner=BATCHES, num_outer=BATCHES, step_size=0.1)
    noisy = errors("soba", 600, step_size=0.1)
    assert max(reduced[-20:]) < 1e-6
    assert max(noisy[-20:]) > 0.05


def test_the_moving_average_takes_noise_out() -> None:
    def spread(found: list[Tensor]) -> float:
        return float(torch.stack(found[-50:]).std(dim=0).norm())

    plain = gradients("soba", 200, step_size=0.05)
    averaged = gradients("ma_soba", 200, step_size=0.05, weight=0.05)
    assert spread(averaged) < 0.2 * spread(plain)
    torch.testing.assert_close(averaged[0], plain[0])


@pytest.mark.parametrize("name", ["amigo", "ma_soba", "soba", "stocbio"])
def test_batches_that_cover_the_data_are_the_data(name: str) -> None:
    """Averages count samples, not batches: with unequal sizes a mean of means would be elsewhere."""
    steps = {"stocbio": {"steps": 200}, "amigo": {"steps": 200}}.get(name, {"cold_steps": 200})
    assert errors(name, 1, inner_batches=BATCHES, outer_batches=BATCHES, **steps)[0] < 1e-8


def test_implicit_batches_that_cover_the_data_are_the_data() -> None:
    problem = Batched()
    estimator = make_estimator("exact", inner_batches=BATCHES, outer_batches=BATCHES)
    result = estimator.compute_hypergradient(at_solution(problem), problem)
    assert relative(result.gradient["decay"], problem.hypergradient(problem.start)) < 1e-12
    assert result.diagnostics["outer_loss"] == pytest.approx(
        float((problem.x_val @ problem.solution(problem.start).params["w"] - problem.y_val).square().mean())
        / 2
    )
    alone = make_estimator("exact").compute_hypergradient(at_solution(problem), problem)
    assert relative(alone.gradient["decay"], problem.hypergradient(problem.start)) > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_state_goes_on_and_nothing_else_does(name: str) -> None:
    """The same calls from a copy of the state give the same bits, with another estimator object."""

    def call(state: Tensors | None, version: int) -> HypergradientResult:
        return make_estimator(name).compute_hypergradient(at_solution(problem, version), problem, state)

    problem = Batched()
    first = call(None, 0)
    kept = {key: value.clone() for key, value in first.state.items()}
    again, copied = call(first.state, 1), call(kept, 1)
    assert torch.equal(again.gradient["decay"], copied.gradient["decay"])
    assert all(torch.equal(first.state[key], value) for key, value in kept.items())
    if name != "stocbio":
        assert not torch.equal(again.gradient["decay"], call(None, 1).gradient["decay"])


@pytest.mark.parametrize("name", NAMES)
def test_a_state_of_another_size_is_a_cold_start(name: str) -> None:
    problem = Batched()
    estimator = make_estimator(name)
    cold = estimator.compute_hypergradient(at_solution(problem), problem)
    odd = {key: torch.ones(3) for key in cold.state}
    again = estimator.compute_hypergradient(at_solution(problem), problem, odd)
    assert torch.equal(cold.gradient["decay"], again.gradient["decay"])


@pytest.mark.parametrize("name", NAMES)
def test_a_learning_rate_is_refused_by_name(name: str) -> None:
    problem = Quadratic()
    _, run = problem.solve(num_steps=3)
    with pytest.raises(OuterParameterUnusedError, match=r"'rate'.*UnrolledDifferentiation"):
        make_estimator(name).compute_hypergradient(run, problem)


@pytest.mark.parametrize("name", NAMES)
def test_every_task_has_its_own_state(name: str) -> None:
    problem = Ridge()
    runs = [problem.solve(num_steps=9, ctx=Context(task=Task(index=i, name=f"t{i}")))[1] for i in range(2)]
    state = make_estimator(name).compute_hypergradient(runs, problem).state
    assert {key.split("/")[0] for key in state} == {"t0", "t1"}


@pytest.mark.parametrize("name", NAMES)
def test_parameters_of_several_dtypes_and_one_without_curvature(name: str) -> None:
    class Mixed(InnerProblem):
        def outer_parameters(self) -> Mapping[str, Tensor]:
            return {"decay": torch.tensor(0.5, dtype=torch.float64), "target": torch.tensor(1.9)}

        def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
            b = torch.tensor(1.0, dtype=torch.float64)
            return InnerState({"a": torch.ones(2, 2), "b": b, "idle": torch.ones(3)})

        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            a, b = inner.params["a"].double(), inner.params["b"]
            fit = (a - outer["target"]).square().sum() + (b - a.mean()).square()
            return fit + outer["decay"] * b.square()

        def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return (inner.params["b"] - 1.7).square()

    problem = Mixed()
    _, run = problem.solve(num_steps=600)
    truth = make_estimator("exact", damping=1e-12).compute_hypergradient(run, problem).gradient
    longer = {"steps": 300} if name == "stocbio" else {"cold_steps": 300}
    found = make_estimator(name, **longer).compute_hypergradient(run, problem).gradient
    for key, value in truth.items():
        assert found[key].dtype == value.dtype
        assert relative(found[key], value) < 1e-4, key


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {"step_size": 0.0}) for name in NAMES),
        *((name, {"damping": -1.0}) for name in NAMES),
        *((name, {"steps": 0}) for name in NAMES),
        ("amigo", {"cold_steps": -1}),
        ("soba", {"inner_batches": 0}),
        ("ma_soba", {"weight": 0.0}),
        ("saba", {"num_inner": 0}),
    ],
)
def test_settings_out_of_range_are_refused(name: str, settings: dict[str, float]) -> None:
    assert name in ESTIMATORS
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        make_estimator(name, **settings)


class Uneven(Ridge):
    """The data in batches of 1, 5, 7, 7 and 12 samples: the first is by far the flattest in most directions."""

    cuts = (0, 1, 6, 13, 20, 32)

    def batch(self, x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Tensor]:
        part = slice(self.cuts[step % 5], self.cuts[step % 5 + 1])
        return x[part], y[part]

    def inner_batch(self, step: int, ctx: Context) -> object:
        return self.batch(self.x, self.y, step)

    def outer_batch(self, step: int, ctx: Context) -> object:
        return self.batch(self.x_val, self.y_val, step)

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        (x, y), w = batch, inner.params["w"]  # type: ignore[misc]
        return ((x @ w - y).square().mean() + (outer["decay"] * w.square()).sum()) / 2

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        x, y = batch  # type: ignore[misc]
        loss: Tensor = (x @ inner.params["w"] - y).square().mean() / 2
        return loss


@pytest.mark.parametrize(("name", "bound"), [("saba", 0.1), ("soba", 1.5), ("amigo", 1.5)])
def test_batches_that_are_steeper_than_the_first_do_not_make_v_explode(name: str, bound: float) -> None:
    problem, state = Uneven(), None
    truth = problem.hypergradient(problem.start)
    settings = {"num_inner": 5, "num_outer": 5, "steps": 10} if name == "saba" else {"steps": 10}
    estimator = make_estimator(name, **settings)
    for version in range(30):
        _, run = problem.solve(
            init=problem.solution(problem.start), num_steps=0, ctx=Context(base_version=version)
        )
        result = estimator.compute_hypergradient(run, problem, state)
        state = result.state
    assert relative(result.gradient["decay"], truth) < bound
