"""The demo's problem and its arms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from rich.console import Console

from chronos_common.cli.demo import arms
from chronos_common.cli.demo.arms import ARMS, accuracies, training_data
from chronos_common.cli.demo.demo import DemoConfig, curve, single_node
from chronos_common.cli.demo.hypercleaning import (
    LOGITS,
    START_LOGIT,
    TEST,
    TRAIN,
    VALIDATION,
    HyperCleaning,
    Split,
    f1_of,
    load_split,
)
from chronos_common.cli.progress import RunProgress
from chronos_common.engine.local import optimize
from chronos_common.errors import ConfigurationError
from chronos_common.outer import OuterConfig
from chronos_common.problem import load_problem


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def split() -> Split:
    return load_split(0.5, 10)


def quiet() -> RunProgress:
    return RunProgress(Console(stderr=True), quiet=True)


def test_the_split_has_its_sizes_and_no_sample_twice(split: Split) -> None:
    parts = [split.train, split.validation, split.test]
    assert [len(labels) for _, labels in parts] == [TRAIN, VALIDATION, TEST] == [800, 400, 597]
    everything = torch.cat([inputs for inputs, _ in parts])
    assert len(torch.unique(everything, dim=0)) == 1797
    assert float(everything.min()) == 0.0
    assert float(everything.max()) == 1.0


def test_labels_are_flipped_to_other_classes_evenly_and_nothing_else_changes() -> None:
    noisy, clean = load_split(0.5, 10), load_split(0.0, 10)
    assert bool(clean.clean.all())
    assert torch.equal(noisy.train[0], clean.train[0])
    assert torch.equal(noisy.test[1], clean.test[1])
    wrong = noisy.train[1] != clean.train[1]
    assert torch.equal(wrong, ~noisy.clean)
    assert abs(float(wrong.double().mean()) - 0.5) < 4 * math.sqrt(0.25 / TRAIN)
    shifts = (noisy.train[1] - clean.train[1])[wrong] % 10
    counts = torch.bincount(shifts, minlength=10)
    assert counts[0] == 0
    expected = float(wrong.sum()) / 9
    chi_squared = float(((counts[1:] - expected) ** 2 / expected).sum())
    assert chi_squared < 26.1  # the 0.1 % point of 8 degrees of freedom


def test_the_seed_and_the_noise_decide() -> None:
    assert torch.equal(load_split(0.3, 4).train[1], load_split.__wrapped__(0.3, 4).train[1])
    assert not torch.equal(load_split(0.3, 4).train[0], load_split(0.3, 5).train[0])
    assert bool((~load_split(1.0, 4).clean).all())


@pytest.mark.parametrize(("noise", "seed"), [(-0.1, 0), (1.1, 0), (0.5, -1), (math.nan, 0)])
def test_what_is_out_of_range_is_refused(noise: float, seed: int) -> None:
    with pytest.raises(ConfigurationError):
        load_split(noise, seed)


def test_workers_can_build_the_problem_by_name() -> None:
    work = DemoConfig(noise=0.25, seed=10).work()
    problem = load_problem(work.problem, work.problem_config, allow=[work.problem])
    assert isinstance(problem, HyperCleaning)
    assert torch.equal(problem.clean, load_split(0.25, 10).clean)


def test_f1_counts_clean_as_positive() -> None:
    clean = torch.tensor([True, True, True, False])
    assert f1_of(torch.tensor([1.0, 1.0, -1.0, 1.0]), clean) == pytest.approx(2 * 2 / (3 + 3))
    assert f1_of(torch.tensor([1.0, 1.0, 1.0, -1.0]), clean) == 1.0
    assert f1_of(torch.zeros(4), clean) == 0.0
    assert f1_of(torch.zeros(2), torch.tensor([False, False])) == 0.0


def test_outer_learning_rate_zero_is_the_uniform_arm(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arms, "RETRAIN_STEPS", 20)
    still = optimize(
        HyperCleaning(noise=0.5, seed=10),
        outer=OuterConfig(learning_rate=0.0),
        versions=2,
        inner_steps=2,
        evaluate_every=0,
    )
    assert torch.equal(still.outer[LOGITS], torch.full((TRAIN,), START_LOGIT, dtype=torch.float64))
    found = accuracies(split, {"control": still.outer[LOGITS]})
    assert found["control"] == found["uniform"]


def test_arms_train_on_what_they_say(split: Split) -> None:
    logits = torch.where(split.clean, 2.0, -2.0).double()
    data = training_data(split, dict.fromkeys(("control", "single_node", "chronos"), logits))
    assert list(data) == list(ARMS)
    sizes = {arm: len(labels) for arm, (_, labels, _) in data.items()}
    assert sizes["oracle"] == int(split.clean.sum())
    assert sizes["validation_only"] == VALIDATION
    assert sizes["chronos_plus_validation"] == TRAIN + VALIDATION
    assert torch.equal(data["chronos"][2], torch.sigmoid(logits))
    assert torch.equal(data["chronos_plus_validation"][2][TRAIN:], torch.ones(VALIDATION).double())
    assert bool((data["uniform"][2] == 0.5).all())


def test_arms_are_reproducible_and_the_oracle_beats_uniform_weights(split: Split) -> None:
    first, second = accuracies(split, {}), accuracies(split, {})
    assert first == second
    assert first["oracle"] > first["uniform"] + 0.05


def test_learning_finds_most_wrong_labels(split: Split) -> None:
    config = DemoConfig(noise=0.5, seed=10, versions=25)
    logits, learnt = single_node(config, quiet())
    assert f1_of(logits, split.clean) > 0.9
    assert learnt.outer_loss[-1] < 0.5 * learnt.outer_loss[0]
    assert list(learnt.versions) == list(range(1, 26))


def test_a_curve_leaves_out_versions_without_figures() -> None:
    whole = {"outer_loss": 1.0, "test_accuracy": 0.5}
    found = curve([(1, whole), (2, {"outer_loss": 0.9}), (3, whole)])
    assert list(found.versions) == [1, 3]


@pytest.mark.parametrize("changes", [{"noise": 2.0}, {"seed": -1}, {"workers": 0}, {"versions": 0}])
def test_a_demo_that_cannot_work_is_refused_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(changes))):
        DemoConfig(**changes)
