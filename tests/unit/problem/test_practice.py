"""What training needs in practice: half precision, micro-batches, batch norm and dropout, in derivatives too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from chronos_common.errors import ConfigurationError, ProblemError
from chronos_common.hypergradient import make_estimator
from chronos_common.hypergradient.live_bytes import LiveBytes
from chronos_common.problem import Context, InnerState, ModuleProblem, OuterParameter, Tensors
from tests.support.problems import DOUBLE, classes, normal

pytestmark = pytest.mark.numerical

FLOAT = torch.float32
TOLERANCE = {"bfloat16": 5e-2, "float16": 1e-2}
"""Relative error of a hypergradient against float32, on a network of two layers."""


def problem(*middle: nn.Module, dtype: torch.dtype = FLOAT, size: int = 26, **options: Any) -> ModuleProblem:
    module = nn.Sequential(nn.Linear(3, 8), *middle, nn.Tanh(), nn.Linear(8, 3)).to(dtype)
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.copy_(0.5 * normal(*parameter.shape, seed=i))
    arguments: dict[str, Any] = {
        "outer": {
            "decay": OuterParameter(torch.tensor(0.2, dtype=torch.promote_types(dtype, FLOAT)), scale="log")
        },
        "regulariser": lambda p, o: o["decay"] * sum(v.square().sum() for v in p.values()),
        "learning_rate": 0.3,
    }
    train, validation = classes(size, seed=1, dtype=dtype), classes(15, seed=2, dtype=dtype)
    return ModuleProblem(module, train, validation, **{**arguments, **options})


def gradient(learner: ModuleProblem, name: str, steps: int = 30, **settings: Any) -> Tensor:
    _, run = learner.solve(num_steps=steps)
    return make_estimator(name, **settings).compute_hypergradient(run, learner).gradient["decay"]


def relative(value: Tensor, truth: Tensor) -> float:
    return float((value.double() - truth.double()).norm() / truth.double().norm())


# --- half precision ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", sorted(TOLERANCE))
@pytest.mark.parametrize("name", ["implicit", "gmres", "soba", "unrolled", "sama"])
def test_hypergradients_under_autocast_are_those_of_float32_within_the_tolerance(
    name: str, precision: str
) -> None:
    expected, found = gradient(problem(), name, 60), gradient(problem(precision=precision), name, 60)
    assert found.dtype == FLOAT
    assert 0.0 < relative(found, expected) <= TOLERANCE[precision]


def test_parameters_gradients_losses_and_solutions_stay_in_float32() -> None:
    learner = problem(precision="bfloat16")
    inner, run = learner.solve(num_steps=3)
    assert {v.dtype for v in inner.params.values()} == {FLOAT}
    assert run.losses.dtype == FLOAT
    outputs, _ = learner.forward(inner, classes(5, seed=3, dtype=FLOAT)[0], run.ctx)
    assert outputs.dtype == FLOAT
    assert torch.equal(outputs, outputs.bfloat16().float())  # it was computed in half precision
    result = make_estimator("implicit").compute_hypergradient(run, learner)
    assert result.state["main/v"].dtype == FLOAT


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_linear_solves_of_half_precision_parameters_are_in_float32(dtype: torch.dtype) -> None:
    """Without autocast: the parameters themselves are in half precision."""
    whole, half = problem(), problem(dtype=dtype)
    solved, _ = whole.solve(num_steps=60)
    start = solved.map(lambda v: v.to(dtype))
    _, expected = whole.solve(init=start.map(torch.Tensor.float), num_steps=0)
    _, run = half.solve(init=start, num_steps=0)
    for name in ("implicit", "soba", "gmres"):
        estimator = make_estimator(name, damping=0.1)
        truth = estimator.compute_hypergradient(expected, whole)
        result = make_estimator(name, damping=0.1).compute_hypergradient(run, half)
        assert result.state["main/v"].dtype == FLOAT
        assert relative(result.gradient["decay"], truth.gradient["decay"]) <= 0.1


def test_precisions_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'half'.*bfloat16"):
        problem(precision="half")
    with pytest.raises(ConfigurationError, match=r"'0\.weight'.*float64"):
        problem(precision="bfloat16", dtype=DOUBLE)


def test_outputs_in_containers_are_widened_and_others_refused() -> None:
    class Two(nn.Module):
        def __init__(self, kind: type) -> None:
            super().__init__()
            self.layer, self.kind = nn.Linear(3, 3), kind

        def forward(self, x: Tensor) -> Any:
            parts = {"logits": self.layer(x), "note": "x", "more": (self.layer(x), [1, None])}
            return parts if self.kind is dict else self.kind(parts)

    class Other:
        def __init__(self, parts: dict[str, Any]) -> None:
            self.parts = parts

    data = classes(8, seed=1, dtype=FLOAT)
    options: dict[str, Any] = {"outer": {"l2": 1.0}, "precision": "bfloat16"}

    def loss(outputs: Any, targets: Tensor) -> Tensor:
        assert outputs["more"][0].dtype == outputs["logits"].dtype == FLOAT
        return functional.cross_entropy(outputs["logits"], targets, reduction="none")

    ModuleProblem(Two(dict), data, data, loss=loss, **options).solve(num_steps=1)
    with pytest.raises(ProblemError, match="returns a Other"):
        ModuleProblem(Two(Other), data, data, loss=loss, **options).solve(num_steps=1)


# --- micro-batches ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [(FLOAT, 1e-6), (DOUBLE, 1e-12)])
@pytest.mark.parametrize("size", [1, 4, 25])
def test_micro_batches_add_up_to_the_batch_in_every_order_of_derivative(
    size: int, dtype: torch.dtype, tolerance: float
) -> None:
    weights = torch.rand(26, generator=torch.Generator().manual_seed(0)).to(dtype)
    options: dict[str, Any] = {
        "dtype": dtype,
        "outer": {"decay": torch.tensor(0.2, dtype=dtype), "w": weights},
        "sample_weights": lambda outer, positions: outer["w"][positions],
    }
    whole, pieces = problem(**options), problem(micro_batch_size=size, **options)
    state, run = whole.solve(num_steps=2)
    found = [_derivatives(each, state, run.outer, run.ctx) for each in (whole, pieces)]
    for one, other in zip(*found, strict=True):
        assert float((one - other).norm()) <= tolerance * float(one.norm())
        assert float(one.norm()) > 1e-3


def _derivatives(
    learner: ModuleProblem, state: InnerState, outer: Tensors, ctx: Context
) -> tuple[Tensor, ...]:
    """Both losses and gradients, a Hessian product twice through one graph, and the mixed derivative."""
    theta = {k: v.detach().requires_grad_() for k, v in state.params.items()}
    lambdas = {k: v.detach().requires_grad_() for k, v in outer.items()}
    inner = InnerState(theta, state.buffers, state.opt_state)
    leaves = tuple(theta.values())
    loss, _ = learner.inner_loss(inner, lambdas, learner.inner_batch(2, ctx), ctx)
    upper = learner.outer_loss(inner, lambdas, learner.outer_batch(2, ctx), ctx.at(training=False))
    slope = torch.autograd.grad(loss, leaves, create_graph=True)
    v = [torch.ones_like(leaf) for leaf in leaves]
    for _ in range(2):
        hv = torch.autograd.grad(slope, leaves, v, retain_graph=True)
    mixed = torch.autograd.grad(slope, tuple(lambdas.values()), v)
    upper_slope = torch.autograd.grad(upper, leaves)
    flat = [torch.cat([g.detach().reshape(-1) for g in part]) for part in (slope, hv, mixed, upper_slope)]
    return (loss.detach(), upper.detach(), *flat)


@pytest.mark.parametrize("name", ["implicit", "gmres", "saba", "recompute", "forward", "f2sa"])
def test_estimators_on_micro_batches_compute_what_they_compute_on_batches(name: str) -> None:
    expected = gradient(problem(dtype=DOUBLE), name, 9)
    found = gradient(problem(dtype=DOUBLE, micro_batch_size=7), name, 9)
    assert relative(found, expected) <= 1e-9


def test_micro_batches_keep_the_intermediate_results_of_one_piece() -> None:
    peaks = {}
    for size in (None, 32):
        learner = problem(nn.Linear(8, 400), nn.Tanh(), nn.Linear(400, 8), size=512, micro_batch_size=size)
        with LiveBytes() as counter:
            learner.solve(num_steps=2)
        peaks[size] = counter.peak
    assert peaks[32] < 0.25 * peaks[None]


def test_nested_inputs_are_cut_and_masks_differ_from_piece_to_piece_but_not_from_run_to_run() -> None:
    class Pairs(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 10

        def __getitem__(self, i: int) -> tuple[dict[str, Any], int]:
            return {"x": [torch.ones(3) * i, torch.zeros(2)], "name": f"row {i}"}, i % 3

    seen: list[tuple[int, str]] = []

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.drop = nn.Linear(3, 3), nn.Dropout(0.5)

        def forward(self, inputs: dict[str, Any]) -> Tensor:
            first, second = inputs["x"]
            assert len(first) == len(second) == len(inputs["name"])
            seen.append((len(first), inputs["name"][0]))
            outputs: Tensor = self.layer(self.drop(torch.ones_like(first)))
            return outputs

    learner = ModuleProblem(Named(), Pairs(), Pairs(), outer={"l2": 1.0}, micro_batch_size=4)
    inner, run = learner.solve(num_steps=0)
    batch = learner.inner_batch(0, run.ctx)
    losses = [learner._losses(inner, batch, run.ctx)[0] for _ in range(2)]
    assert seen[:3] == [(4, "row 0"), (4, "row 4"), (2, "row 8")]
    assert torch.equal(*losses)
    assert not torch.equal(losses[0][:4], losses[0][4:8])


@pytest.mark.parametrize(
    ("middle", "options", "words"),
    [
        ((), {"micro_batch_size": 0}, "micro_batch_size must be at least 1"),
        ((nn.BatchNorm1d(8),), {"micro_batch_size": 4}, "layer '1' normalises over the batch"),
        (
            (nn.BatchNorm1d(8, track_running_stats=False),),
            {"micro_batch_size": 4, "running_statistics": "freeze"},
            "normalises over the batch",
        ),
        ((), {"running_statistics": "ignore"}, "running_statistics"),
    ],
)
def test_what_does_not_add_up_is_refused(middle: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        problem(*middle, **options)


def test_a_loss_that_is_already_reduced_is_refused() -> None:
    with pytest.raises(ProblemError, match="one number per sample"):
        problem(loss=nn.CrossEntropyLoss(), micro_batch_size=4).solve(num_steps=1)


# --- batch norm and dropout -------------------------------------------------------------------------------------


def test_frozen_statistics_stay_and_make_micro_batches_add_up() -> None:
    norm = nn.BatchNorm1d(8)
    with torch.no_grad():
        assert norm.running_mean is not None
        norm.running_mean.fill_(0.3)
    found = []
    for size in (None, 5):
        learner = problem(norm, dtype=DOUBLE, running_statistics="freeze", micro_batch_size=size)
        inner, run = learner.solve(num_steps=6)
        assert torch.equal(inner.buffers["1.running_mean"], run.initial.buffers["1.running_mean"])
        assert int(inner.buffers["1.num_batches_tracked"]) == 0
        found.append(gradient(learner, "unrolled", 6))
    assert relative(found[1], found[0]) <= 1e-12
    assert relative(gradient(problem(norm, dtype=DOUBLE), "unrolled", 6), found[0]) > 1e-3


def test_a_layer_that_its_user_put_to_rest_stays_at_rest() -> None:
    """Evaluations in between must not wake it up: a step that is run again would be another."""
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    module[1].eval()
    data = classes(12, seed=1, dtype=FLOAT)
    learner = ModuleProblem(module, data, data, outer={"l2": 1.0})
    for _ in range(2):
        inner, run = learner.solve(num_steps=2)
        assert int(inner.buffers["1.num_batches_tracked"]) == 0
        learner.evaluate(inner, run.outer, run.ctx)


ESTIMATORS = [
    "implicit", "gmres", "exact", "soba", "saba", "stocbio", "unrolled", "recompute", "forward",
    "finite_difference", "sama", "f2sa", "bome", "evolution", "pes", "pzobo", "auto",
]  # fmt: skip


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_run_steps_again_with_the_same_masks_and_leave_statistics_alone(name: str) -> None:
    learner = problem(nn.BatchNorm1d(8), nn.Dropout(0.3), batch_size=8)
    estimator = make_estimator(name)
    _, run = learner.solve(num_steps=6, keep_last=estimator.keep_last)
    before = {k: v.clone() for k, v in run.final.buffers.items()}
    assert int(before["1.num_batches_tracked"]) == 6
    first = estimator.compute_hypergradient(run, learner)
    assert all(torch.equal(v, before[k]) for k, v in run.final.buffers.items())
    assert first.diagnostics.get("replay_error", 0.0) == 0.0
    again = make_estimator(name).compute_hypergradient(learner.solve(num_steps=6)[1], learner)
    assert torch.equal(again.gradient["decay"], first.gradient["decay"])
