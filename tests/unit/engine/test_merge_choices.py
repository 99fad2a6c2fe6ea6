"""Whole runs under every rule: the fold carries what the rules need, and replay decides nothing again."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from chronos_common.engine import (
    CommitRecord,
    Published,
    from_parts,
    replay,
    state_digest,
    to_parts,
    verify,
)
from chronos_common.errors import CorruptStateError
from chronos_common.versions import KINDS, STALENESS_RULES, RoundConfig
from tests.support.bias import Settled, settle
from tests.support.runs import LEASE_SECONDS, Client, config

CHOICES: dict[str, dict[str, Any]] = {
    "polynomial": {"staleness_rule": "polynomial", "staleness_rate": 1.0},
    "smooth_cutoff": {"staleness_rule": "smooth_cutoff"},
    "trimmed_mean": {"merge": "trimmed_mean", "trim": 0.2},
    "median": {"merge": "median"},
    "inverse_participation": {"weighting": "inverse_participation", "participation_window": 4},
    "grace": {"grace_seconds": 1.0},
}


def lively(kind: str = KINDS[0], **rounds: Any) -> Client:
    """Four workers, some versions, staleness up to the bound, skips and repeated work."""
    client = Client(config(kind=kind, quorum=2, **rounds))
    random = np.random.default_rng(0)
    for worker in "abcd":
        client.checkout(worker)
    for step in range(60):
        worker = "abcd"[int(random.choice(4, p=[0.5, 0.25, 0.15, 0.1]))]
        base = max(0, client.version - int(random.integers(0, 3)))
        client.commit(
            worker,
            None if step % 7 == 3 else float(random.standard_normal()),
            base=base,
            work=float(random.choice([1.0, 0.3])),
        )
        if step % 3:
            client.checkout(worker)
        client.now += 1.0
        client.engine.tick(client.now)
        client.take()
    return client


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("choice", CHOICES)
def test_replay_arrives_at_the_same_state_with_no_rule_at_hand(
    choice: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = lively(kind, **CHOICES[choice])
    assert client.version >= 5
    assert {e.staleness for e in client.events if isinstance(e, CommitRecord)} == {0, 1, 2}
    journal = [to_parts(event) for event in client.events]

    def unexpected(*_: object) -> float:
        raise AssertionError("replay weighs a commit again")

    monkeypatch.setattr(RoundConfig, "staleness_weight", unexpected)
    monkeypatch.setattr(RoundConfig, "__post_init__", lambda self: None)
    state = replay(from_parts(*parts) for parts in journal)
    assert state_digest(state) == state_digest(client.engine.state)
    assert state.rounds == client.engine.state.rounds
    assert verify(from_parts(*parts) for parts in journal).clean


def test_a_journalled_weight_that_the_rule_would_not_give_is_followed() -> None:
    """The last bit of ``exp`` may differ on the machine that replays: the journal's word counts."""
    client = Client(config(quorum=1, staleness_rule="smooth_cutoff"))
    client.checkout("a")
    client.commit("a")
    client.checkout("a")
    client.commit("a", base=0)
    recorded = client.events[:-1]
    last = recorded[-1]
    assert isinstance(last, CommitRecord)
    assert last.staleness == 1
    moved = dataclasses.replace(last, weight=float(np.nextafter(last.weight, 0.0)))
    state = replay([*recorded[:-1], moved])
    assert state.rounds.buffer[-1].weight == moved.weight
    with pytest.raises(CorruptStateError):
        replay([*recorded[:-1], moved, client.events[-1]])


def test_participation_is_part_of_the_state_that_digests_cover() -> None:
    state = lively(**CHOICES["inverse_participation"]).engine.state
    assert len(state.rounds.recent) == 3
    other = dataclasses.replace(state, rounds=dataclasses.replace(state.rounds, recent=()))
    assert state_digest(other) != state_digest(state)


@pytest.mark.parametrize("choice", ["trimmed_mean", "median"])
def test_one_wild_worker_does_not_carry_a_robust_run_away(choice: str) -> None:
    runs = {}
    for name, rounds in (("mean", {}), (choice, CHOICES[choice])):
        client = Client(config(quorum=4, max_staleness=0, max_in_flight=1, **rounds))
        for _ in range(3):
            for worker in "abcd":
                client.checkout(worker)
            for worker, value in zip("abcd", (1.0, 1.0, 1.0, -1e9), strict=True):
                client.commit(worker, value)
        assert client.version == 3
        runs[name] = float(client.engine.state.master["scalar"])
    assert runs["mean"] > 1e8
    assert runs[choice] == pytest.approx(-3.0)


def test_values_beyond_the_finite_end_a_robust_run_as_any_other() -> None:
    client = Client(config(kind=KINDS[1], quorum=3, merge="median"))
    for worker in "abc":
        client.checkout(worker)
    most = {"vector": np.full(2, 1.7e308), "scalar": np.asarray(0.0, np.float32)}
    for worker in "ab":
        for _ in range(2):
            client.commit(worker, most)
    client.commit("c", 1.0)
    assert client.engine.state.status == "stopped"
    assert "not finite" in client.engine.state.reason


# --- grace in the engine ---------------------------------------------------------------------------------


def test_the_engine_publishes_when_the_grace_is_over_and_says_when_to_look() -> None:
    client = Client(config(quorum=1, grace_seconds=2.0))
    client.checkout("a")
    client.checkout("b")
    client.commit("a")
    assert client.version == 0
    assert client.engine.presence.next_event(0.0) == 2.0
    client.now = 2.0
    client.engine.tick(2.0)
    assert client.version == 1
    assert client.engine.presence.next_event(2.0) == LEASE_SECONDS
    client.now = 5.0
    client.commit("a")
    assert client.version == 1, "a grace of its own for every version"
    client.commit("b")
    assert client.version == 2


# --- bias ------------------------------------------------------------------------------------------------

SEEDS = range(3)


def errors(paces: list[float], seconds: float = 2400.0, **rounds: Any) -> list[Settled]:
    return [settle(RoundConfig(**rounds), paces=paces, seconds=seconds, seed=seed) for seed in SEEDS]


def mean_error(runs: list[Settled]) -> float:
    return float(np.mean([run.tail_error for run in runs]))


@pytest.mark.histories
@pytest.mark.slow
@pytest.mark.parametrize("paces", [[1.0, 4.0, 4.0, 4.0], [1.0, 1.0, 1.0, 4.0]], ids=["one fast", "one slow"])
@pytest.mark.parametrize(("decay", "left"), [(0.5, 0.7), (1.0, 0.35)])
def test_inverse_participation_takes_most_of_the_bias_towards_the_fast(
    paces: list[float], decay: float, left: float
) -> None:
    plain = errors(paces, decay=decay)
    inverse = errors(paces, decay=decay, weighting="inverse_participation")
    assert mean_error(inverse) < left * mean_error(plain)
    assert all(run.refused == 0 for run in (*plain, *inverse))
    for before, after in zip(plain, inverse, strict=True):
        assert before.versions == after.versions, "it changes what versions hold, not when they come"
        assert min(after.weights) / max(after.weights) > 1.5 * min(before.weights) / max(before.weights)


@pytest.mark.histories
def test_equals_settle_alike_whatever_the_weighting() -> None:
    plain = mean_error(errors([1.0] * 4, seconds=1500.0))
    inverse = mean_error(errors([1.0] * 4, seconds=1500.0, weighting="inverse_participation"))
    assert inverse == pytest.approx(plain, rel=0.2)


def test_a_biased_run_replays_to_the_bit() -> None:
    run = settle(RoundConfig(weighting="inverse_participation"), paces=[1.0, 4.0, 2.0], seconds=300.0)
    assert sum(isinstance(event, Published) for event in run.events) >= 10
    state = replay(from_parts(*to_parts(event)) for event in run.events)
    assert state.master["u"].tobytes() == run.engine.state.master["u"].tobytes()


def test_every_rule_is_in_some_choice() -> None:
    named = {"exponential", *(choice.get("staleness_rule") for choice in CHOICES.values())} - {None}
    assert named == set(STALENESS_RULES)
    assert json.loads(config().to_json())["rounds"]["staleness_rule"] == "exponential"
