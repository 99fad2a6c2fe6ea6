from __future__ import annotations

import math
from dataclasses import MISSING, fields, replace
from operator import attrgetter
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chronos_common.compression import GuardConfig, PipelineConfig, SignificanceConfig
from chronos_common.engine import CompressionConfig, RunConfig, WorkSpec
from chronos_common.errors import ConfigurationError
from chronos_common.outer import OuterConfig, OuterSpec, TimescaleConfig
from chronos_common.pb.chronos.v1 import run_pb2
from chronos_common.versions import LeaseConfig, RoundConfig
from chronos_common.wire.convert.config import config_from_pb, config_to_pb, natural_bound

SPEC = OuterSpec.from_natural(name="w", shape=(2, 3), dtype="float32")

FULL = RunConfig(
    parameters=(
        SPEC,
        OuterSpec.from_natural(name="rate", shape=(), dtype="float64", scale="log", lower=1e-7, upper=0.3),
        OuterSpec.from_natural(name="shift", shape=(0,), dtype="float64", lower=-0.1, upper=0.7),
    ),
    outer=OuterConfig(
        name="sgd",
        learning_rate=0.05,
        momentum=0.9,
        nesterov=True,
        beta1=0.8,
        beta2=0.99,
        epsilon=1e-6,
        weight_decay=0.01,
        beta3=0.7,
        slow_period=4,
        slow_share=0.25,
        newton_schulz_steps=3,
        delta_rate=0.9,
        levels=(
            TimescaleConfig(
                name="adaptive",
                parameters=("w", "rat*"),
                period=3,
                optimizer=OuterConfig(name="m3", beta3=0.1),
                reduction="mean",
                target_change=0.25,
                min_period=2,
                max_period=7,
            ),
            TimescaleConfig(name="slow", parameters=("s*",)),
        ),
    ),
    rounds=RoundConfig(
        max_staleness=3,
        max_in_flight=5,
        quorum=2,
        max_local_work=3.5,
        staleness_rule="polynomial",
        staleness_rate=0.75,
        merge="trimmed_mean",
        trim=0.2,
        grace_seconds=1.5,
        once_per_version=True,
    ),
    leases=LeaseConfig(initial_seconds=12.3, min_seconds=0.3, max_seconds=77.7),
    work=WorkSpec(
        problem="package.module:Problem",
        problem_config='{"noise": 0.5}',
        estimator="unrolled",
        estimator_config='{"steps": 3}',
        inner_steps=17,
        seed=2**64 - 1,
        kind="parameter_delta",
        evaluate_every=4,
        cold_start=True,
    ),
    compression=CompressionConfig(
        up=PipelineConfig(name="topk2.5+int8", dense_below_elements=0, index_encoding="block16"),
        down=PipelineConfig(name="int8", dense_below_elements=7),
        guard=GuardConfig(
            limit=2.5,
            patience_versions=3,
            max_density=0.5,
            min_rate_scale=0.5,
            calm_ratio=0.0,
            calm_versions=9,
        ),
        significance=SignificanceConfig(
            minimum=1e-3,
            maximum=1e-2,
            max_skips=2,
            target_skips=0.0,
            gain=0.2,
            floor=1e-6,
            memory=0.0,
        ),
        keep_versions=0,
    ),
    max_versions=120,
)


EXCLUDED = RoundConfig(
    decay=0.25,
    weighting="inverse_participation",
    participation_window=5,
    immediate_publish=True,
    pacing="predicted",
)
"""What the round rules above exclude."""


@pytest.mark.parametrize(
    "config",
    [FULL, replace(FULL, rounds=EXCLUDED), RunConfig(parameters=(SPEC,))],
    ids=["full", "the other rounds", "defaults"],
)
def test_definitions_come_back_equal(config: RunConfig) -> None:
    assert config_from_pb(config_to_pb(config)) == config


@pytest.mark.parametrize(
    ("part", "carried_elsewhere"),
    [
        ("outer", set()),
        ("outer.levels[0]", set()),
        ("rounds", {"decay", "weighting", "participation_window", "immediate_publish", "pacing"}),
        ("leases", {"window"}),
        ("work", set()),
        ("compression", set()),
        ("compression.up", set()),
        ("compression.guard", set()),
        ("compression.significance", set()),
    ],
)
def test_the_full_example_changes_every_field(part: str, carried_elsewhere: set[str]) -> None:
    """Otherwise the test above would pass although a new field is not carried."""
    path, _, index = part.partition("[")
    value: Any = attrgetter(path)(FULL)
    value = value[int(index.rstrip("]"))] if index else value
    same = {
        field.name
        for field in fields(value)
        if getattr(value, field.name)
        == (field.default if field.default_factory is MISSING else field.default_factory())
    }
    assert same == carried_elsewhere


def test_what_is_absent_takes_its_default() -> None:
    parameter = run_pb2.OuterParameter(name="w", shape=[2, 3], dtype=run_pb2.DTYPE_FLOAT32)
    config = config_from_pb(run_pb2.RunConfig(parameters=[parameter]))
    expected = RunConfig(parameters=(SPEC,), work=WorkSpec(evaluate_every=0))
    assert config == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slow_period": 2.5}, "'slow_period' is 2.5; it is a whole number"),
        ({"slow_period": math.inf}, "whole number"),
        ({"nesterov": 2.0}, "switch"),
        ({"levels": 1.0}, "no option 'levels'"),
    ],
)
def test_an_option_of_another_kind_is_refused(options: dict[str, float], message: str) -> None:
    wire = config_to_pb(RunConfig(parameters=(SPEC,)))
    wire.optimizer.options.update(options)
    with pytest.raises(ConfigurationError, match=message):
        config_from_pb(wire)


def test_levels_inside_of_levels_and_too_many_of_them_are_refused() -> None:
    wire = config_to_pb(RunConfig(parameters=(SPEC,)))
    level = wire.optimizer.levels.add(name="a", parameters=["w"])
    level.optimizer.levels.add(name="b", parameters=["w"])
    with pytest.raises(ConfigurationError, match="levels of its own"):
        config_from_pb(wire)
    wire.optimizer.ClearField("levels")
    for number in range(65):
        wire.optimizer.levels.add(name=f"l{number}", parameters=["w"])
    with pytest.raises(ConfigurationError, match="65 levels"):
        config_from_pb(wire)


def test_a_newer_client_tells_an_older_coordinator_nothing_that_it_does_not_use() -> None:
    assert set(config_to_pb(RunConfig(parameters=(SPEC,))).optimizer.options) == {
        "learning_rate", "momentum", "nesterov", "beta1", "beta2", "epsilon", "weight_decay",
    }  # fmt: skip


def test_a_simplex_is_carried() -> None:
    config = RunConfig(
        parameters=(replace(SPEC, simplex=True),), outer=OuterConfig(name="exponentiated_gradient")
    )
    assert config_from_pb(config_to_pb(config)) == config


def test_a_setting_that_the_contract_lacks_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="window"):
        config_to_pb(RunConfig(parameters=(SPEC,), leases=LeaseConfig(window=3)))


def test_a_number_beyond_its_field_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="cannot be sent"):
        config_to_pb(RunConfig(parameters=(SPEC,), work=WorkSpec(inner_steps=2**40)))


def test_more_parameters_than_allowed_are_refused_before_they_are_read() -> None:
    with pytest.raises(ConfigurationError, match="stack them"):
        config_from_pb(run_pb2.RunConfig(parameters=[run_pb2.OuterParameter()] * 100_001))


@given(st.floats(1e-300, 1e300))
@example(1e-6)
@example(0.1)
@example(0.3)
@example(1.0)
@example(5e-324)
def test_natural_bounds_of_logarithmic_parameters_round_trip(natural: float) -> None:
    """Stored, sent as natural, stored again: the same bits, whatever a logarithm rounds."""
    stored = math.log(natural)
    back = natural_bound(stored, "log")
    assert back is not None
    assert math.log(back) == stored


@given(st.integers(1, 999), st.integers(-12, 12))
def test_natural_bounds_come_back_as_a_person_wrote_them(digits: int, exponent: int) -> None:
    natural = float(f"{digits}e{exponent}")
    assert natural_bound(math.log(natural), "log") == natural


def test_bounds_beyond_all_numbers_are_none() -> None:
    assert natural_bound(1000.0, "log") is None
    assert natural_bound(-1000.0, "log") is None
    assert natural_bound(None, "log") is None
    assert natural_bound(-5.0, "linear") == -5.0


@given(st.floats(-700.0, 700.0))
def test_any_stored_bound_is_sent_as_closely_as_numbers_allow(stored: float) -> None:
    back = natural_bound(stored, "log")
    assert back is not None
    assert math.log(back) == pytest.approx(stored, rel=1e-15, abs=3e-16)
