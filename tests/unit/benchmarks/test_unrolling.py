"""What ``benchmarks.unrolling`` stands on: arms that compute the same, searches that spend the same, the picture."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.hyper import plot, search, unrolled
from benchmarks.hyper.cases import ridge


@pytest.fixture(autouse=True)
def no_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where none is installed; a module of None cannot be imported."""
    for name in ("boat_torch", "higher", "optuna", "torchopt"):
        monkeypatch.setitem(sys.modules, name, None)
    for module in unrolled.PEERS.values():
        monkeypatch.delitem(sys.modules, f"benchmarks.hyper.peers.{module}", raising=False)


def test_everybody_unrolls_the_same_loop() -> None:
    case = ridge(12)
    arms, missing = unrolled.peers(case, 30)
    assert set(missing) == {"boat", "higher", "torchopt"}
    traced, seconds = unrolled.compiled(case, 30, "aot_eager")
    assert seconds > 0.0
    arms |= {unrolled.OURS: unrolled.ours(case, 30), "traced": traced}
    errors = {name: case.error(arm()) for name, arm in arms.items()}
    assert errors["hypertorch-like"] > 1e-6
    for name, error in errors.items():
        assert error == pytest.approx(errors["hypertorch-like"], rel=1e-9), name


def test_each_search_spends_what_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inner loops: one for an evaluation, and what a hypergradient costs beside it."""
    monkeypatch.setattr(search, "INNER_STEPS", 3)
    noted = counted(monkeypatch)
    for name, loops in {"random search": 8, "unrolled": 2, "forward mode": 1, "evolution": 1}.items():
        noted.clear()
        found = search.ARMS[name](0, 8)
        assert len(noted) == loops, name
        assert found.validation == min(noted), name


def test_the_best_of_more_draws_is_no_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "INNER_STEPS", 3)
    few, many = search.random_search(1, 2), search.random_search(1, 12)
    assert many.validation < few.validation


def test_optuna_draws_within_the_bounds_or_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError):
        search.ARMS["optuna (TPE)"](0, 4)
    monkeypatch.setattr(search, "INNER_STEPS", 3)
    noted, asked = counted(monkeypatch), list[tuple[str, float, float]]()

    class Trial:
        def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
            assert log
            asked.append((name, low, high))
            return high if len(asked) < 3 else low

    class Study:
        def optimize(self, objective: Callable[[Trial], float], n_trials: int) -> None:
            for _ in range(n_trials):
                objective(Trial())

    monkeypatch.setitem(
        sys.modules,
        "optuna",
        SimpleNamespace(
            Trial=Trial,
            create_study=lambda sampler: Study(),
            samplers=SimpleNamespace(TPESampler=lambda seed: None),
            logging=SimpleNamespace(ERROR=0, set_verbosity=lambda level: None),
        ),
    )
    found = search.ARMS["optuna (TPE)"](0, 4)
    assert len(noted) == 4
    assert found.validation == min(noted)
    assert set(asked) == {(name, *bounds) for name, bounds in search.BOUNDS.items()}


def test_the_picture_has_a_curve_for_each_estimator(tmp_path: Path) -> None:
    rows = [
        {"part": "memory", "arm": arm, "inner steps": steps, "peak bytes": 1000 * steps}
        for arm in ("recompute", "implicit")
        for steps in (100, 10)
    ] + [{"part": "unrolled", "arm": "chronos"}]
    assert plot.curves(rows) == {name: [(10, 10_000), (100, 100_000)] for name in ("recompute", "implicit")}
    plot.draw(rows, tmp_path / "memory.svg")
    assert "<svg" in (tmp_path / "memory.svg").read_text()


def counted(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The validation losses that arms see, as they see them."""
    noted: list[float] = []
    note = search.Task.note

    def remember(task: search.Task, *arguments: object) -> float:
        noted.append(note(task, *arguments))  # type: ignore[arg-type]
        return noted[-1]

    monkeypatch.setattr(search.Task, "note", remember)
    return noted
