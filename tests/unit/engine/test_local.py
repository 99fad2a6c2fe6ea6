"""The single-process loop, on a problem whose solution is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from chronos_common.codec import encode
from chronos_common.compression import Pipeline, PipelineConfig, compressor
from chronos_common.engine import (
    CheckoutAnswer,
    CheckoutQuery,
    CommitQuery,
    CompressionConfig,
    Created,
    Replica,
    RunEngine,
    WorkSpec,
    start,
)
from chronos_common.engine.local import LocalVersion, describe_run, optimize
from chronos_common.errors import ConfigurationError, DivergenceError, OuterParameterUnusedError
from chronos_common.hypergradient import ImplicitDifferentiation
from chronos_common.outer import OuterConfig
from chronos_common.problem import Context, InnerProblem, InnerState, OuterParameter, Tensors
from chronos_common.versions import Outbox, RoundConfig
from tests.support.problems import Shifts

TARGET = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)


class Shift(InnerProblem):
    """Inner: ‖θ − λ‖²/2, so that θ* = λ. Outer: ‖θ − target‖²/2, so that the hypergradient is λ − target."""

    inner_learning_rate = 1.0

    def __init__(self, scale: str = "linear", start: float = 0.5) -> None:
        self.scale, self.start = scale, start
        self.bases: list[int] = []
        self.starts: list[float] = []

    def outer_parameters(self) -> dict[str, OuterParameter]:
        value = torch.full((3,), self.start, dtype=torch.float64)
        bounds = (1e-3, 3.0)
        return {"shift": OuterParameter(value, bounds=bounds, scale=self.scale)}  # type: ignore[arg-type]

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        return InnerState({"theta": torch.zeros(3, dtype=torch.float64)})

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        self.starts.append(float(inner.params["theta"].detach()[0]))
        return 0.5 * (inner.params["theta"] - outer["shift"]).square().sum()

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        return 0.5 * (inner.params["theta"] - TARGET).square().sum()

    def evaluate(self, inner: InnerState | None, outer: Tensors, ctx: Context) -> dict[str, float]:
        self.bases.append(ctx.base_version)
        return {"distance": float((outer["shift"] - TARGET).abs().max())}


def exact() -> ImplicitDifferentiation:
    return ImplicitDifferentiation(damping=0.0)


SGD = OuterConfig(name="sgd", learning_rate=0.5)


def test_it_finds_the_known_optimum_and_stays_within_bounds() -> None:
    result = optimize(Shift(), estimator=exact(), outer=SGD, versions=60, inner_steps=2)
    torch.testing.assert_close(
        result.outer["shift"], torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), rtol=0, atol=1e-10
    )
    assert result.version == 60
    assert [entry.version for entry in result.history] == list(range(1, 61))


def test_one_step_is_the_step_of_the_formula() -> None:
    result = optimize(Shift(), estimator=exact(), outer=SGD, versions=1, inner_steps=2)
    expected = np.minimum(0.5 - 0.5 * (0.5 - TARGET.numpy()), 3.0)
    np.testing.assert_allclose(result.stored["shift"], expected, rtol=0, atol=1e-14)
    assert result.history[0].metrics["outer_loss"] == pytest.approx(0.5 * float(((0.5 - TARGET) ** 2).sum()))


def test_a_log_scale_steps_the_logarithm() -> None:
    result = optimize(Shift("log"), estimator=exact(), outer=SGD, versions=1, inner_steps=2)
    gradient = (0.5 - TARGET.numpy()) * 0.5  # dL/du = dL/dλ · λ
    expected = np.minimum(np.log(0.5) - 0.5 * gradient, np.log(3.0))
    np.testing.assert_allclose(result.stored["shift"], expected, rtol=1e-12)
    np.testing.assert_allclose(result.outer["shift"].numpy(), np.exp(result.stored["shift"]), rtol=1e-12)


def test_outer_learning_rate_zero_changes_nothing() -> None:
    problem = Shift()
    result = optimize(problem, outer=OuterConfig(name="adam", learning_rate=0.0), versions=5, inner_steps=2)
    assert torch.equal(result.outer["shift"], problem.outer_parameters()["shift"].tensor())


def test_it_repeats_to_the_bit() -> None:
    first, second = (optimize(Shift(), versions=7, inner_steps=2, seed=3) for _ in range(2))
    assert np.array_equal(first.stored["shift"], second.stored["shift"])
    assert first.optimizer_state.digest() == second.optimizer_state.digest()


def test_without_versions_it_returns_the_start() -> None:
    result = optimize(Shift(), versions=0)
    assert result.outer["shift"].tolist() == [0.5] * 3
    assert result.inner == {}
    assert result.metrics == {}


def test_a_warm_start_goes_on_from_the_last_state() -> None:
    warm, cold = Shift(), Shift()
    optimize(warm, estimator=exact(), outer=SGD, versions=2, inner_steps=1)
    optimize(cold, estimator=exact(), outer=SGD, versions=2, inner_steps=1, warm_start=False)
    assert 0.0 in cold.starts[2:]
    assert 0.0 not in warm.starts[1:]


@pytest.mark.parametrize(("every", "bases"), [(0, []), (1, [0, 1, 2, 3]), (3, [0, 3])])
def test_it_evaluates_every_so_many_versions(every: int, bases: list[int]) -> None:
    problem = Shift()
    result = optimize(problem, versions=4, inner_steps=1, evaluate_every=every)
    assert problem.bases == bases
    assert ("distance" in result.metrics) == bool(bases)


def test_the_callback_hears_of_every_version() -> None:
    heard: list[LocalVersion] = []
    result = optimize(Shift(), versions=3, inner_steps=1, on_version=heard.append)
    assert tuple(heard) == result.history
    assert heard[0].seconds <= heard[-1].seconds
    assert "cg_iterations" in heard[0].diagnostics


@pytest.mark.parametrize("changes", [{"versions": -1}, {"inner_steps": 0}, {"evaluate_every": -1}])
def test_arguments_out_of_range_are_refused_by_name(changes: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(changes))):
        optimize(Shift(), **changes)  # type: ignore[arg-type]


def test_an_unknown_estimator_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="implicit"):
        optimize(Shift(), estimator="magic")


def test_an_outer_step_beyond_the_numbers_says_which_version() -> None:
    class Unbounded(Shift):
        def outer_parameters(self) -> dict[str, OuterParameter]:
            return {"shift": OuterParameter(torch.full((3,), 0.5, dtype=torch.float64))}

    with pytest.raises(DivergenceError, match="version 1.*learning rate"):
        optimize(Unbounded(), outer=OuterConfig(name="sgd", learning_rate=1.7e308, momentum=0.0), versions=1)


def test_a_parameter_outside_the_inner_loss_is_named() -> None:
    class Unused(Shift):
        def outer_parameters(self) -> dict[str, OuterParameter]:
            return {**super().outer_parameters(), "rate": OuterParameter(0.1)}

    with pytest.raises(OuterParameterUnusedError, match="rate"):
        optimize(Unused(), versions=1)


@pytest.mark.parametrize("down", ["identity", "int8", "topk5+int8"])
def test_with_compression_it_is_what_a_worker_and_an_engine_would_do(down: str) -> None:
    compression = CompressionConfig(
        up=PipelineConfig(name="topk10+int8", dense_below_elements=0),
        down=PipelineConfig(name=down, dense_below_elements=0),
    )
    outer = OuterConfig(name="adam", learning_rate=0.2)
    problem, versions = Shifts(size=500), 40
    local = optimize(
        problem, estimator=exact(), outer=outer, versions=versions, inner_steps=2, compression=compression
    )
    config, initial = describe_run(
        problem, work=WorkSpec(), outer=outer, rounds=RoundConfig(quorum=1), compression=compression
    )
    engine = RunEngine("r", start(Created(config=config.to_json(), payload=encode("identity", initial))))
    replica, box = Replica(config.parameters), Outbox("w", 0, compress=compressor(Pipeline(compression.up)))
    for _ in range(versions):
        query = CheckoutQuery(run_id="r", worker_id="w", known=replica.version)
        answer = engine.checkout(query, 0.0)
        assert isinstance(answer, CheckoutAnswer)
        u = replica.take(answer.version, answer.digest, answer.parts)
        commit = box.prepare({"shift": u["shift"] - problem.target.numpy()}, answer.version)
        engine.commit(
            CommitQuery(
                worker_id="w",
                incarnation=0,
                seq=commit.seq,
                prev_applied=commit.prev_applied,
                base=commit.base,
                kind="hypergradient",
                work=1.0,
                payload=box.payload(commit.seq),
            ),
            0,
            0.0,
        )
        box.accepted(commit.seq)
    np.testing.assert_allclose(engine.state.published["shift"], local.stored["shift"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(engine.state.master["shift"], local.master["shift"], rtol=0, atol=1e-9)
    away = local.stored["shift"] - problem.target.numpy()
    assert np.sqrt(np.mean(away**2)) < 0.5, "it began at 1"


def test_a_described_run_compresses_unless_told_otherwise() -> None:
    config, _ = describe_run(Shift(), work=WorkSpec())
    assert (config.compression.up.name, config.compression.down.name) == ("int8", "topk10+int8")
    plain, _ = describe_run(Shift(), work=WorkSpec(), compression=CompressionConfig())
    assert plain.compression.down.lossless


def test_a_described_run_is_one_that_an_engine_starts() -> None:
    config, stored = describe_run(
        Shift("log"),
        work=WorkSpec(problem="tests.shift:Shift", inner_steps=3),
        outer=SGD,
        rounds=RoundConfig(quorum=1),
        max_versions=9,
    )
    state = start(Created(config=config.to_json(), payload=encode("identity", stored)))
    assert state.config == config
    assert config.parameters[0].scale == "log"
    assert (config.max_versions, config.rounds.quorum, config.work.inner_steps) == (9, 1, 3)
    np.testing.assert_allclose(state.published["shift"], np.log(0.5), rtol=1e-15)


def test_the_face_with_torch_is_not_part_of_the_package() -> None:
    source = Path(__file__).resolve().parents[3] / "chronos_common" / "engine" / "__init__.py"
    assert "engine.local" not in source.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("problem", "words"), [(Shift, r"Shift is a class; pass an instance of it: Shift\("), ("x", "not str")]
)
def test_what_is_no_instance_of_a_problem_is_refused(problem: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        optimize(problem)
    with pytest.raises(ConfigurationError, match=words):
        describe_run(problem, work=WorkSpec())
