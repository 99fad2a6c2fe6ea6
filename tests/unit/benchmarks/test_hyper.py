"""What ``benchmarks.hypergradient`` stands on: the truths, the reference, the counter, missing peers."""

from __future__ import annotations

import sys

import pytest
import torch

from benchmarks.hyper import arms, memory, reference
from benchmarks.hyper.cases import network, ridge, wide
from benchmarks.hyper.timing import interleaved, ratio
from chronos_common.hypergradient import make_estimator
from chronos_common.hypergradient.live_bytes import LiveBytes


@pytest.fixture
def no_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where none is installed; a module of None cannot be imported."""
    for name in ("betty", "boat_torch", "torchopt"):
        monkeypatch.setitem(sys.modules, name, None)
    for module in arms.CG_PEERS.values():
        monkeypatch.delitem(sys.modules, f"benchmarks.hyper.peers.{module}", raising=False)


def test_enough_steps_of_everybody_give_the_closed_form(no_peers: None) -> None:
    case = ridge(12)
    found, missing = arms.conjugate_gradient(case, 40)
    assert set(missing) == {"betty fixed", "betty released", "boat", "torchopt"}
    assert set(found) == {"reference", "chronos", "hypertorch-like"}
    for name, arm in found.items():
        if name != "hypertorch-like":  # it has no test for a residual of zero, and divides by it
            assert case.error(arm()) < 1e-9, name


def test_twenty_steps_of_everybody_have_the_same_error(no_peers: None) -> None:
    case = ridge(100)
    found, _ = arms.conjugate_gradient(case, 20)
    errors = {name: case.error(arm()) for name, arm in found.items()}
    assert errors["reference"] > 1e-6
    for name, error in errors.items():
        assert error == pytest.approx(errors["reference"], rel=1e-3), name


def test_the_truth_of_a_network_is_that_of_the_whole_hessian() -> None:
    case = network((4, 6, 3), samples=20, steps=2000)
    problem, trajectory = case.trajectory()
    exact = make_estimator("exact").compute_hypergradient(trajectory, problem)
    assert case.error(list(exact.gradient.values())) < 1e-6
    assert case.error(reference.hypergradient(case, steps=2)) > 1e-3


def test_live_bytes_are_those_that_live() -> None:
    with LiveBytes() as counter:
        a = torch.zeros(1000, dtype=torch.float64)
        assert counter.live == 8000
        view = a.view(10, 100)
        assert counter.live == 8000, "a view has no storage of its own"
        b = view + 1
        assert counter.live == counter.peak == 16_000
        del a, view
        assert counter.live == 8000
        b += 1
        assert counter.live == 8000
    assert counter.peak == 16_000


def test_memory_of_unrolling_grows_and_that_of_implicit_does_not() -> None:
    problem, _ = wide(2000, samples=20).trajectory()
    lengths = (10, 40, 160)
    slopes = {
        name: memory.slope(
            lengths, [memory.peak_bytes(problem, make_estimator(name), steps) for steps in lengths]
        )
        for name in ("implicit", "unrolled")
    }
    assert slopes["implicit"] < 0.05
    assert slopes["unrolled"] > 0.5


def test_everybody_has_as_many_turns() -> None:
    calls: list[str] = []
    seconds = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 5)
    assert {name: len(found) for name, found in seconds.items()} == {"a": 5, "b": 5}
    assert calls[:8] == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert ratio({"a": [1.0, 2.0, 9.0], "b": [2.0, 8.0, 9.0]}, "a", "b") == 0.5
