"""Runs with levels: exact sums through the round machine, quiet versions, weights by flushes, proofs by replay."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from chronos_common.codec import decode
from chronos_common.engine import (
    fold,
    start,
    to_parts,
    verify,
)
from chronos_common.engine.downlink import shares_of, step_master
from chronos_common.errors import ConfigurationError, CorruptStateError, DivergenceError
from chronos_common.outer import OuterConfig, TimescaleConfig, step_within
from chronos_common.tensors import digest
from chronos_common.versions import PARAMETER_DELTA
from tests.support.levels import levels, publications, replica_of, take
from tests.support.runs import Client, arrays, config, created

# --- the formula through the round machine ---------------------------------------------------------------


def test_a_level_flushes_the_sum_of_its_interval_at_its_own_versions() -> None:
    client = Client(config(quorum=1, outer=levels(3)))
    client.checkout("a")
    vectors, scalars = [], []
    for value in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0):
        client.commit("a", value)
        vectors.append(client.engine.state.master["vector"][0])
        scalars.append(float(client.engine.state.master["scalar"]))
    assert vectors == [0, 0, -7, -7, -7, -63, -63]
    assert scalars == [-1, -3, -7, -15, -31, -63, -127]
    assert client.engine.state.optimizer_state.slots["slow.gathered"]["vector"][0] == 64.0
    assert verify(client.events).clean


def test_levels_of_period_one_are_the_run_without_levels() -> None:
    runs = [
        Client(config(quorum=2, outer=OuterConfig())),
        Client(
            config(
                quorum=2,
                outer=OuterConfig(levels=(TimescaleConfig(name="fast", parameters=("v*",), period=1),)),
            )
        ),
    ]
    for client in runs:
        for worker in "ab":
            client.checkout(worker)
        for number in range(12):
            client.commit("ab"[number % 2], 1.0 / (1 + number), base=max(0, client.version - number % 2))
    flat, levelled = (client.engine.state for client in runs)
    assert flat.version == levelled.version == 6
    assert digest(flat.master) == digest(levelled.master)


def test_a_version_in_which_nothing_is_due_costs_nothing() -> None:
    client = Client(config(quorum=1, outer=levels(3, pattern="*")))
    client.checkout("a")
    replica = replica_of(client)
    for version in range(1, 7):
        client.commit("a", 1.0)
        answer, values = take(client, replica)
        assert answer.version == version
        assert bool(answer.parts) == (version % 3 == 0)
        assert values["vector"][0] == -(version // 3) * 3.0
    assert [event.payload is None for event in publications(client)] == [True, True, False] * 2
    assert verify(client.events).clean


def test_a_round_of_skips_flushes_what_is_due_and_ticks_what_is_not() -> None:
    client = Client(config(quorum=1, outer=levels(2)))
    client.checkout("a")
    client.commit("a", 1.0)
    client.commit("a", None)
    assert client.engine.state.master["vector"][0] == -1.0
    assert float(client.engine.state.master["scalar"]) == -1.0
    client.commit("a", None)
    client.commit("a", None)
    assert client.version == 4
    assert [event.payload is None for event in publications(client)] == [False, False, True, True]
    client.commit("a", 4.0)
    client.commit("a", 8.0)
    assert client.engine.state.master["vector"][0] == -13.0
    assert verify(client.events).clean


def test_parameter_deltas_gather_too() -> None:
    client = Client(config(quorum=1, kind=PARAMETER_DELTA, outer=levels(2)))
    client.checkout("a")
    client.commit("a", 1.0)
    client.commit("a", 2.0)
    assert client.engine.state.master["vector"][0] == 3.0


# --- staleness in flushes -------------------------------------------------------------------------------


def test_a_commit_weighs_in_each_level_by_the_flushes_since_its_base() -> None:
    client = Client(
        config(quorum=1, outer=levels(2), max_staleness=3, max_in_flight=4, immediate_publish=True)
    )
    for worker in "ab":
        client.checkout(worker)
    for _ in range(3):
        client.commit("b", 0.0)  # versions 1 to 3; "slow" flushes at 2
    answer = client.commit("a", 1.0, base=0)
    assert (answer.staleness, answer.weight) == (3, 0.125)
    commit = next(e for e in client.events if getattr(e, "worker_id", "") == "a" and hasattr(e, "seq"))
    assert commit.level_weights == {"base": 0.125, "slow": 0.5}  # type: ignore[union-attr]
    state = client.engine.state
    assert state.version == 4
    assert state.master["vector"][0] == -0.5
    assert float(state.master["scalar"]) == -0.125
    # mass: vector (1, -1) counts 0 whatever its weight, scalar 1
    assert state.account.ledger.applied == pytest.approx(0.125)
    assert state.account.ledger.discounted == pytest.approx(0.875)
    assert verify(client.events).clean


def test_a_commit_since_whose_base_a_level_has_not_moved_is_fresh_to_it() -> None:
    client = Client(
        config(quorum=1, outer=levels(9), max_staleness=3, max_in_flight=4, immediate_publish=True)
    )
    for worker in "ab":
        client.checkout(worker)
    for _ in range(2):
        client.commit("b", 0.0)
    client.commit("a", 1.0, base=0)
    gathered = client.engine.state.optimizer_state.slots["slow.gathered"]["vector"]
    np.testing.assert_array_equal(gathered, [1.0, -1.0])
    assert float(client.engine.state.master["scalar"]) == -0.25


def test_no_more_flushes_are_kept_than_a_commit_can_ask_for() -> None:
    client = Client(config(quorum=1, outer=levels(1), max_staleness=2))
    client.checkout("a")
    for _ in range(9):
        client.commit("a", 1.0)
    assert client.engine.state.flushes == {"slow": (8, 9), "base": (8, 9)}


def test_robust_merges_weigh_by_levels_too() -> None:
    client = Client(
        config(
            quorum=3,
            outer=levels(2),
            merge="median",
            max_staleness=2,
            max_in_flight=4,
            immediate_publish=True,
        )
    )
    for worker in "abc":
        client.checkout(worker)
    for worker in "abc":
        client.commit(worker, 0.0)
    for worker, base in (("a", 0), ("b", 1), ("c", 1)):
        client.commit(worker, 4.0, base=base)
    # "slow" has not flushed: weights 1, 1, 1; "base" has: .5, 1, 1
    state = client.engine.state
    assert state.version == 2
    assert state.master["vector"][0] == -4.0
    assert verify(client.events).clean


def test_a_journal_whose_weights_name_other_levels_is_refused() -> None:
    client = Client(config(quorum=1, outer=levels(2)))
    client.checkout("a")
    client.commit("a", 1.0)
    forged = [
        dataclasses.replace(e, level_weights={}) if hasattr(e, "level_weights") else e for e in client.events
    ]
    report = verify(forged)
    assert not report.clean
    assert "contradicts" in report.problem


def test_commits_without_levels_are_written_as_before() -> None:
    client = Client(config(quorum=1))
    client.checkout("a")
    client.commit("a", 1.0)
    texts = [to_parts(event)[1] for event in client.events]
    assert not any("level" in text or "flushes" in text for text in texts)


# --- what cannot work ------------------------------------------------------------------------------------


def test_a_level_without_parameters_is_refused_when_the_run_is_defined() -> None:
    with pytest.raises(ConfigurationError, match="'slow' has no parameter"):
        config(outer=levels(pattern="vecotr"))


def test_exponentiated_gradient_off_the_simplex_is_refused_when_the_run_is_defined() -> None:
    with pytest.raises(ConfigurationError, match="simplex"):
        config(outer=OuterConfig(name="exponentiated_gradient"))


def test_a_merged_update_beyond_the_floats_ends_the_run_and_leaves_its_state() -> None:
    client = Client(config(quorum=2, outer=levels(3), kind=PARAMETER_DELTA))
    for worker in "ab":
        client.checkout(worker)
    before = client.engine.state.optimizer_state.digest()
    huge = {"vector": np.full(2, 1.7e308), "scalar": np.float32(0.0).reshape(())}
    for _ in range(2):
        client.commit("a", huge)
    client.commit("b", huge)
    assert client.engine.state.status == "stopped"
    assert "not finite" in client.engine.state.reason
    assert client.engine.state.optimizer_state.digest() == before


def test_what_is_gathered_may_not_leave_the_floats() -> None:
    client = Client(config(quorum=1, outer=levels(3)))
    client.checkout("a")
    huge = {"vector": np.full(2, 1.7e308), "scalar": np.float32(0.0).reshape(())}
    client.commit("a", huge)
    client.commit("a", huge)
    assert client.engine.state.status == "stopped"
    assert client.version == 1


def test_in_one_process_and_in_the_engine_the_same_step_is_taken() -> None:
    run_config = config(quorum=1, outer=levels(2))
    state = start(created(run_config))
    step = step_within(
        state.optimizer, run_config.parameters, state.master, arrays(2.0), state.optimizer_state
    )
    same = step_master(
        state.optimizer,
        run_config.parameters,
        state.master,
        arrays(2.0),
        state.optimizer_state,
        guard=None,
        version=1,
    )
    assert digest(step.params) == digest(same.params)
    assert shares_of(state.optimizer, state.optimizer_state, step) == {"vector": 0.0, "scalar": 1.0}
    with pytest.raises(DivergenceError):
        step_master(
            state.optimizer,
            run_config.parameters,
            state.master,
            {**arrays(2.0), "scalar": np.asarray(np.inf, np.float32)},
            state.optimizer_state,
            guard=None,
            version=1,
        )


def test_a_forged_flush_is_found() -> None:
    client = Client(config(quorum=1, outer=levels(2)))
    client.checkout("a")
    client.commit("a", 1.0)
    client.commit("a", 2.0)
    state = start(client.events[0])  # type: ignore[arg-type]
    for event in client.events[1:-1]:
        state = fold(state, event)
    forged = dataclasses.replace(state, flushes={**state.flushes, "slow": (1,)})
    with pytest.raises(CorruptStateError, match="state_digest"):
        fold(forged, client.events[-1])
    assert decode(publications(client)[-1].payload or b"", specs=client.engine.config.specs)
