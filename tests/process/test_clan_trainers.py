"""Lightning and Hugging Face's Trainer train a clan: two ranks, one process, resumed, and refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chronos_common.runtime import child_environment

ROOT = Path(__file__).resolve().parents[2]
STEPS = 26

Outcomes = Callable[[str, int], list[Any]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    folder = tmp_path_factory.mktemp("trainers")
    finished = subprocess.run(
        [sys.executable, "-m", "tests.support.clan_trainers", str(folder)],
        cwd=ROOT,
        env=child_environment(threads=1),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr

    def read(name: str, ranks: int) -> list[Any]:
        paths = [folder / f"{name}-{ranks}-{rank}.json" for rank in range(ranks)]
        return [json.loads(path.read_text(encoding="utf-8")) for path in paths]

    return read


pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(300)]
CASES = ["lightning", "transformers"]


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_share_gradients_when_they_cooperate_and_end_with_the_same_weights(
    name: str, outcomes: Outcomes
) -> None:
    one, other = (found["whole"] for found in outcomes(name, 2))
    assert one["finished"]
    assert one["steps"] == STEPS
    assert one["rounds"] > 3
    assert one["lineage"] == other["lineage"]
    assert one["weights"] == other["weights"]
    phases = [phase for phase, _ in one["gradients"]]
    assert len(phases) == STEPS
    assert set(phases) == {"fan_out", "cooperative"}
    pairs = list(zip(one["gradients"], other["gradients"], strict=True))
    for place, ((phase, mine), (_, theirs)) in enumerate(pairs):
        # In Lightning members see the same samples while they fan out, and twice begin so with the same weights.
        same = phase == "cooperative" or (name == "lightning" and place in (0, 5))
        assert (mine == theirs) == same, place


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_a_checkpoint_holds_the_clan_and_training_goes_on_bit_for_bit(
    name: str, ranks: int, outcomes: Outcomes
) -> None:
    for found in outcomes(name, ranks):
        whole, again = found["whole"], found["again"]
        assert len(again["gradients"]) == STEPS // 2
        assert again["lineage"] == whole["lineage"]
        assert again["gradients"] == whole["gradients"][STEPS // 2 :]
        assert again["weights"] == whole["weights"]


@pytest.mark.parametrize("name", CASES)
def test_what_would_not_be_a_clans_training_is_refused(name: str, outcomes: Outcomes) -> None:
    expected = {"lightning": "val_loss", "transformers": "load_best_model_at_end"}
    for ranks in (1, 2):
        for found in outcomes(name, ranks):
            assert expected[name] in found["refused"]
