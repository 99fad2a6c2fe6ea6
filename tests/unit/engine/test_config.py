from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chronos_common.codec import encode
from chronos_common.engine import CompressionConfig, Created, RunConfig, WorkSpec, start
from chronos_common.errors import ChronosError, ConfigurationError, NonFiniteError, PayloadError
from chronos_common.outer import OuterConfig, OuterSpec
from chronos_common.versions import LeaseConfig, RoundConfig
from tests.support.runs import arrays, config, created

SPEC = OuterSpec(name="λ", shape=(2, 0), dtype="float32", scale="log", lower=-0.1, upper=1 / 3)


def test_json_keeps_everything() -> None:
    full = RunConfig(
        parameters=(SPEC, OuterSpec(name="scalar", shape=(), dtype="float64")),
        outer=OuterConfig(name="adam", learning_rate=0.1 + 0.2),
        rounds=RoundConfig(max_staleness=1, quorum=3, decay=1 / 3),
        leases=LeaseConfig(initial_seconds=0.3, min_seconds=0.1),
        work=WorkSpec(problem="m:p", problem_config='{"a":1}', seed=2**64 - 1),
        compression=CompressionConfig(),
        max_versions=7,
    )
    again = RunConfig.from_json(full.to_json())
    assert again == full
    assert again.to_json() == full.to_json()
    assert [spec.name for spec in again.specs] == ["λ", "scalar"]


@pytest.mark.parametrize(
    "rounds",
    [
        RoundConfig(staleness_rule="polynomial", staleness_rate=1 / 3, grace_seconds=0.1 + 0.2),
        RoundConfig(staleness_rule="smooth_cutoff", merge="trimmed_mean", trim=0.3),
        RoundConfig(weighting="inverse_participation", participation_window=33),
    ],
)
def test_json_keeps_the_rules_of_rounds(rounds: RoundConfig) -> None:
    full = RunConfig(parameters=(SPEC,), rounds=rounds)
    assert RunConfig.from_json(full.to_json()) == full


def test_a_definition_of_before_there_was_a_choice_means_what_it_meant() -> None:
    parts = json.loads(config(quorum=2).to_json())
    old = {"decay": 0.5, "max_in_flight": 3, "max_local_work": 8.0, "max_staleness": 2, "quorum": 2}
    read = RunConfig.from_json(json.dumps({**parts, "rounds": old}))
    assert read == config(quorum=2)
    chosen = (read.rounds.staleness_rule, read.rounds.merge, read.rounds.weighting)
    assert chosen == ("exponential", "mean", "work")
    assert read.rounds.grace_seconds == 0.0


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: RunConfig(parameters=()), "at least one"),
        (lambda: RunConfig(parameters=(SPEC, SPEC)), "named twice: λ"),
        (lambda: RunConfig(parameters=(SPEC,), max_versions=-1), "max_versions"),
        (lambda: RunConfig(parameters=(SPEC,), outer=OuterConfig(name="magic")), "magic"),
        (
            lambda: RunConfig(
                parameters=(SPEC,),
                rounds=RoundConfig(grace_seconds=11.0),
                leases=LeaseConfig(initial_seconds=5.0, max_seconds=10.0),
            ),
            "grace_seconds is 11",
        ),
        (lambda: WorkSpec(kind="gradient"), "gradient"),
        (lambda: WorkSpec(inner_steps=0), "inner_steps"),
        (lambda: WorkSpec(evaluate_every=-1), "evaluate_every"),
        (lambda: WorkSpec(seed=-1), "seed"),
        (lambda: WorkSpec(seed=2**64), "seed"),
        (lambda: WorkSpec(problem_config="[]"), "problem_config"),
        (lambda: WorkSpec(estimator_config="{"), "estimator_config"),
        (lambda: CompressionConfig.named("zip", "int8"), "zip"),
        (lambda: CompressionConfig.named("int8", "zip"), "zip"),
    ],
)
def test_what_cannot_work_is_refused(make: Callable[[], object], names: str) -> None:
    with pytest.raises(ConfigurationError, match=names):
        make()


GOOD: dict[str, Any] = json.loads(config().to_json())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        json.dumps({**GOOD, "rounds": 5}),
        json.dumps({**GOOD, "rounds": {"speed": 1}}),
        json.dumps({**GOOD, "rounds": {"max_staleness": "2"}}),
        json.dumps({**GOOD, "rounds": {"staleness_rule": []}}),
        json.dumps({**GOOD, "rounds": {"merge": None}}),
        json.dumps({**GOOD, "rounds": {"weighting": "inverse_participation", "participation_window": "9"}}),
        json.dumps({**GOOD, "rounds": {"grace_seconds": "1"}}),
        json.dumps({**GOOD, "outer": []}),
        json.dumps({**GOOD, "parameters": [{}]}),
        json.dumps({**GOOD, "parameters": 5}),
        json.dumps({**GOOD, "work": {"problem_config": 5}}),
        json.dumps({**GOOD, "max_versions": None}),
    ],
)
def test_damaged_configurations_are_typed_errors(text: str) -> None:
    with pytest.raises(ChronosError):
        RunConfig.from_json(text)


def test_a_run_starts_at_its_initial_values() -> None:
    state = start(created(config(), 3.0))
    assert (state.version, state.status) == (0, "active")
    np.testing.assert_array_equal(state.master["vector"], [3.0, -3.0])
    assert state.snapshot == encode("identity", arrays(3.0))


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"vector": np.zeros(2)}, PayloadError),
        ({**arrays(0.0), "vector": np.zeros(3)}, PayloadError),
        ({**arrays(0.0), "vector": np.array([0.0, np.inf])}, NonFiniteError),
        ({**arrays(0.0), "vector": np.array([0.0, 1.5])}, ConfigurationError),
    ],
)
def test_initial_values_must_fit(values: dict[str, Any], error: type[ChronosError]) -> None:
    event = created(config(bounds=(-1.0, 1.0)))
    with pytest.raises(error):
        start(dataclasses.replace(event, payload=encode("identity", values)))
    with pytest.raises(PayloadError):
        start(Created(config=event.config, payload=b"garbage"))
