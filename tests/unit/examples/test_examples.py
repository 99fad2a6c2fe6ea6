"""The examples that take longest, run in short as a user would run them, and what they are made of."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch

from examples import distillation, few_shot, long_tail, schedule

pytestmark = pytest.mark.numerical

ROOT = Path(few_shot.__file__).parent


def printed(
    name: str, *arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, list[float]]:
    """What ``python -m examples.NAME ARGUMENTS`` prints in tables: figures by the line's words before them."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    threads = torch.get_num_threads()
    try:
        runpy.run_path(str(ROOT / f"{name}.py"), run_name="__main__")
    finally:
        torch.set_num_threads(threads)
    rows: dict[str, list[float]] = {}
    for line in capsys.readouterr().out.splitlines():
        words = line.split("   (")[0].split()
        figures: list[float] = []
        while words and words[-1].replace(".", "", 1).replace("-", "", 1).isdigit():
            figures.insert(0, float(words.pop()))
        rows[" ".join(words)] = figures
    return rows


def test_a_learnt_schedule_beats_the_best_constants(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = printed("schedule", "10", monkeypatch=monkeypatch, capsys=capsys)
    losses = {name: figures[0] for name, figures in rows.items() if figures}
    assert losses["schedule, learnt"] < losses["constant, by a grid"]
    assert losses["schedule, learnt"] < losses["constant, learnt"]


def test_a_schedule_is_the_curve_through_its_knots() -> None:
    knots = torch.tensor([0.01, 1.0, 0.1])
    for time, value in ((0.0, 0.01), (0.25, 0.1), (0.5, 1.0), (0.75, 0.1**0.5), (1.0, 0.1), (2.0, 0.1)):
        assert schedule.at(knots, time).item() == pytest.approx(value, rel=1e-5)
    assert schedule.at(knots[:1], 0.7) == knots[0]


def test_learnt_weights_beat_equal_ones_on_a_long_tail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = printed("long_tail", "100", "20", monkeypatch=monkeypatch, capsys=capsys)
    accuracy = {name: figures[0] for name, figures in rows.items() if figures}
    assert len(accuracy) == 7
    assert accuracy["reweighted"] > accuracy["plain"] + 0.05
    assert accuracy["inverse_frequency"] > accuracy["plain"]


def test_the_long_tail_is_as_long_as_it_says_and_the_rest_is_apart_from_it() -> None:
    data = long_tail.long_tailed(100)
    counts = torch.bincount(data["train"][1])
    assert sorted(counts.tolist(), reverse=True) == [100, 60, 36, 22, 13, 8, 5, 3, 2, 1]
    assert torch.bincount(data["validation"][1]).tolist() == [10] * 10
    assert int(torch.bincount(data["test"][1]).min()) >= 60
    rows = [{tuple(x) for x in data[name][0].tolist()} for name in ("train", "validation", "test")]
    assert sum(map(len, rows)) - len(set().union(*rows)) <= 3, "digits has a few samples twice"
    weights = long_tail.inverse_frequency(data["train"][1])
    totals = torch.zeros(10).double().index_add(0, data["train"][1], weights)
    torch.testing.assert_close(totals, torch.ones(10).double())


def test_adapting_from_the_learnt_start_beats_adapting_from_a_random_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = printed("few_shot", "40", monkeypatch=monkeypatch, capsys=capsys)
    errors = {name: figures[-1] for name, figures in rows.items() if figures}
    steps = few_shot.INNER_STEPS
    assert errors[f"learnt start, {steps} steps"] < 0.75 * errors[f"random start, {steps} steps"]
    assert errors[f"learnt start, {steps} steps"] < 0.75 * errors["learnt start, before any step"]


def test_learnt_images_teach_more_than_as_many_real_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = printed("distillation", "1", "15", monkeypatch=monkeypatch, capsys=capsys)
    accuracy = {name.split(",")[0]: figures[0] for name, figures in rows.items() if name.endswith("steps")}
    assert accuracy["learnt images"] > accuracy["real images"] + 0.08


def test_real_images_are_of_the_training_set_and_in_the_order_of_the_labels() -> None:
    x, y = distillation.digits()
    labels = {
        tuple(row): label for row, label in zip(x[: distillation.REAL].tolist(), y.tolist(), strict=False)
    }
    chosen = [labels[tuple(row)] for row in distillation.real_images(2, seed=3).tolist()]
    assert chosen == [digit for digit in range(10) for _ in range(2)]


def test_three_levels_lower_the_upper_loss(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = printed("three_levels", "3", monkeypatch=monkeypatch, capsys=capsys)
    first = next(float(name.split()[2]) for name in rows if name.startswith("upper loss"))
    last = next(figures[-1] for name, figures in rows.items() if name.startswith("upper loss"))
    assert last < first
