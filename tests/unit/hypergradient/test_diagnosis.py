from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient import ImplicitDifferentiation, diagnose, make_estimator
from chronos_common.problem import Context, InnerState, OuterParameter, Task, Tensors
from tests.support.problems import Quadratic, Ridge


def test_a_good_estimate_at_a_solved_point_is_called_good() -> None:
    ridge = Ridge()
    _, run = ridge.solve(init=ridge.solution(ridge.start), num_steps=200)
    found = diagnose(make_estimator("implicit", damping=0.0, cg_steps=30), run, ridge)
    assert found.reference == "exact"
    assert found.cosine == pytest.approx(1.0, abs=1e-12)
    assert found.relative_error < 1e-9
    assert found.stationarity < 1e-12
    assert found.residual < 1e-9
    assert found.reference_residual < 1e-12
    assert found.tasks == 1


def test_the_curvature_is_that_of_the_closed_form() -> None:
    ridge = Ridge()
    _, run = ridge.solve(init=ridge.solution(ridge.start), num_steps=200)
    truth = ridge.hypergradient(ridge.start)
    along, h = truth / truth.norm(), 1e-5
    ahead, behind = (ridge.hypergradient(ridge.start + s * h * along) for s in (1, -1))
    expected = float(((ahead - behind) / (2 * h)) @ along)
    found = diagnose(make_estimator("exact"), run, ridge).curvature["decay"]
    assert found == pytest.approx(expected, rel=1e-3)
    assert diagnose(make_estimator("exact"), run, ridge, curvature_steps=0).curvature == {}


def test_a_bad_linear_solve_and_an_unsolved_point_show() -> None:
    ridge = Ridge(30)
    _, run = ridge.solve(num_steps=3)
    found = diagnose(ImplicitDifferentiation(cg_steps=1, damping=0.0), run, ridge, curvature_steps=0)
    assert found.residual > 0.05
    assert found.stationarity > 0.01
    assert 0.0 < found.cosine < 0.9999
    assert found.relative_error > 0.01


def test_a_large_problem_is_compared_with_long_conjugate_gradient() -> None:
    ridge = Ridge(30)
    _, run = ridge.solve(init=ridge.solution(ridge.start), num_steps=10)
    found = diagnose(make_estimator("neumann"), run, ridge, exact_size=29, curvature_steps=0)
    assert found.reference == "implicit"
    assert found.reference_residual < 1e-9
    assert found.cosine > 0.999


def test_what_only_the_update_contains_is_compared_with_the_full_unroll() -> None:
    problem = Quadratic()
    _, run = problem.solve(num_steps=12)
    found = diagnose(make_estimator("unrolled", truncation=3), run, problem)
    assert found.reference == "unrolled"
    assert math.isnan(found.residual)
    assert found.cosine < 0.99999
    assert found.cosines.keys() == found.curvature.keys() == {"decay", "rate", "momentum"}
    same = diagnose(make_estimator("unrolled"), run, problem, curvature_steps=0)
    assert same.cosine == pytest.approx(1.0)


def test_only_some_tasks_are_looked_at_and_the_report_can_be_read() -> None:
    ridge = Ridge()
    runs = [ridge.solve(num_steps=9, ctx=Context(task=Task(index=i, name=f"t{i}")))[1] for i in range(3)]
    found = diagnose(make_estimator("auto"), runs, ridge, max_tasks=2, batches=2, curvature_steps=0)
    assert found.tasks == 2
    text = "\n".join(found.lines())
    assert "against exact" in text
    assert "decay: cosine" in text


def test_a_hypergradient_of_zero_has_no_direction() -> None:
    class Blind(Ridge):
        def outer_loss(self, *args: object) -> torch.Tensor:  # type: ignore[override]
            return super().outer_loss(*args) * 0.0  # type: ignore[arg-type]

    problem = Blind()
    _, run = problem.solve(num_steps=9)
    found = diagnose(make_estimator("implicit"), run, problem)
    assert math.isnan(found.cosine)
    assert math.isnan(found.relative_error)
    assert found.curvature == {}


def test_live_tensors_are_counted_and_grow_with_the_steps_that_are_unrolled() -> None:
    ridge, peaks = Ridge(30), {}
    for name in ("unrolled", "implicit"):
        for steps in (5, 50):
            _, run = ridge.solve(num_steps=steps)
            found = diagnose(make_estimator(name), run, ridge, curvature_steps=0)
            peaks[name, steps] = found.peak_bytes
            assert f"{found.peak_bytes:,} bytes" in "\n".join(found.lines())
    assert peaks["unrolled", 50] > 5 * peaks["unrolled", 5]
    assert peaks["implicit", 50] <= 1.1 * peaks["implicit", 5]


def test_the_curvature_is_measured_within_the_bounds() -> None:
    """A move by a share of the norm of λ would make its small entries negative, and leave bounds."""

    class Logarithmic(Ridge):
        def outer_parameters(self) -> Mapping[str, OuterParameter]:
            small = torch.cat([torch.tensor([1e-9], dtype=torch.float64), self.start[1:]])
            bound = OuterParameter(torch.tensor(1.0, dtype=torch.float64), bounds=(0.0, 1.0))
            return {"decay": OuterParameter(small, scale="log"), "bound": bound}

        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> torch.Tensor:
            assert bool((outer["decay"] > 0).all())
            assert bool(outer["bound"] <= 1.0)
            decay = outer["decay"].log().exp() * outer["bound"]
            return super().inner_loss(inner, {"decay": decay}, batch, ctx)

    problem = Logarithmic()
    _, run = problem.solve(num_steps=30)
    found = diagnose(make_estimator("exact"), run, problem)
    assert found.curvature.keys() == {"decay"}
    assert math.isfinite(found.curvature["decay"])
    assert found.to_json()["curvature"] == found.curvature
    assert "curvature nan" in "\n".join(found.lines())


def test_settings_out_of_range_are_refused() -> None:
    ridge = Ridge()
    _, run = ridge.solve(num_steps=1)
    for settings in ({"max_tasks": 0}, {"width": 0.0}):
        with pytest.raises(ConfigurationError, match=next(iter(settings))):
            diagnose(make_estimator("implicit"), run, ridge, **settings)  # type: ignore[arg-type]
