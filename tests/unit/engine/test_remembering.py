"""A run's memory as part of its fold: what it takes from the journal, and that a replay remembers the same."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from chronos_common.codec import encode
from chronos_common.engine import RunState, fold, start, state_digest, verify
from chronos_common.errors import (
    ChronosError,
    ConfigurationError,
    CorruptStateError,
    InvalidRequestError,
    MemoryOffError,
    NonFiniteError,
    RunNotActiveError,
    ShapeMismatchError,
)
from chronos_common.outer import OuterConfig, TimescaleConfig
from chronos_common.outer.memory import ContinuumMemory, MemoryConfig
from tests.support.runs import Client, arrays, config, created
from tests.support.states import bits


def remembering(**more: Any) -> Client:
    client = Client(config(quorum=1, memory=MemoryConfig(**more)))
    client.checkout("a")
    return client


def memory_of(client: Client) -> ContinuumMemory:
    memory = client.engine.state.memory
    assert memory is not None
    return memory


def replayed(client: Client) -> RunState:
    states: list[RunState] = []
    report = verify(client.events, observe=states.append)
    assert report.clean, report.problem
    return states[-1]


def test_each_version_leaves_what_was_measured_at_the_one_before() -> None:
    client = remembering()
    for loss in (3.0, 2.0):
        before = client.engine.state.published["vector"].tolist()
        client.commit("a", loss, metrics={"outer_loss": loss})
        (newest,) = memory_of(client).retrieve_similar(
            {"vector": np.array(before), "scalar": client.engine.state.published["scalar"]}, 1
        )[:1]
    entries = memory_of(client).entries
    assert [(entry.version, entry.loss) for entry in entries] == [(0, 3.0), (1, 2.0)]
    assert newest.values["vector"].tolist() == before
    assert newest.gradient["vector"].tolist() == [2.0, -2.0]
    assert bits(replayed(client)) == bits(client.engine.state)


def test_late_commits_are_remembered_at_the_version_that_they_were_computed_at() -> None:
    client = remembering()
    client.commit("a", 2.0)  # to [-2, 2], without a loss
    assert len(memory_of(client)) == 0
    client.checkout("b")
    client.commit("b", 3.0, base=0, metrics={"outer_loss": 7.0})
    (entry,) = memory_of(client).retrieve_similar(arrays(0.0))
    assert (entry.version, entry.loss, entry.distance) == (0, 7.0, 0.0)
    assert entry.gradient["vector"].tolist() == [3.0, -3.0]  # not decayed
    assert bits(replayed(client)) == bits(client.engine.state)


def test_a_round_leaves_an_entry_for_each_base_and_skips_do_not_thin_them_out() -> None:
    client = Client(config(quorum=3, memory=MemoryConfig()))
    for round_ in range(2):
        for worker in "abc":
            client.checkout(worker)
        client.commit("a", 1.0, base=0, metrics={"outer_loss": 1.0})
        client.commit("b", 2.0, metrics={"outer_loss": 2.0})
        client.commit("c", None)
        assert client.version == round_ + 1
    found = [(e.version, e.loss) for e in memory_of(client).entries]
    assert found == [(0, 1.5), (0, 1.0), (1, 2.0)]
    first, *_, last = memory_of(client).retrieve_similar(client.engine.state.published, 3)
    gradients = {(e.version, e.loss): e.gradient["vector"][0] for e in (first, last)}
    assert gradients.get((1, 2.0), 2.0) == 2.0
    assert gradients.get((0, 1.5), 1.5) == 1.5
    assert bits(replayed(client)) == bits(client.engine.state)


def test_the_digest_covers_what_the_memory_holds() -> None:
    client = remembering()
    client.commit("a", 1.0, metrics={"outer_loss": 1.0})
    at = next(i for i, event in enumerate(client.events) if type(event).__name__ == "CommitRecord")
    changed = list(client.events)
    changed[at] = type(changed[at])(**{**vars(changed[at]), "metrics": {"outer_loss": 2.0}})
    assert not verify(changed).clean
    state = client.engine.state
    assert state_digest(replace(state, memory=memory_of(client).forbid(arrays(1.0)))) != state_digest(state)


def test_a_late_skip_that_diverged_marks_where_it_worked() -> None:
    client = remembering()
    client.commit("a", 5.0)
    client.checkout("b")
    client.commit("b", None, base=0, metrics={"diverged": 1.0})
    regions = memory_of(client).regions
    assert regions.versions == (0,)
    assert regions.inside(memory_of(client).sketch.of(arrays(0.0))).tolist() == [True]


def test_a_skip_that_diverged_makes_a_place_that_later_steps_stay_out_of() -> None:
    client = remembering(forbidden_radius=1.0)
    client.commit("a", -3.0, metrics={"outer_loss": 1.0})  # to vector = [3, -3]
    client.commit("a", None, metrics={"diverged": 1.0})
    assert memory_of(client).regions.reasons == ("the inner problem of 'a' diverged",)
    client.commit("a", 3.0)  # out, back to 0
    assert client.engine.state.published["vector"].tolist() == [0.0, 0.0]
    client.commit("a", -3.0)  # there again: half of it
    assert client.engine.state.published["vector"].tolist() == [1.5, -1.5]
    assert memory_of(client).counts.shortened == 1
    assert bits(replayed(client)) == bits(client.engine.state)


def test_what_does_not_step_is_not_held_back_and_stays_to_the_bit() -> None:
    level = TimescaleConfig(name="slow", parameters=("vector",), period=2)
    outer = OuterConfig(name="sgd", learning_rate=1.0, levels=(level,))
    client = Client(config(quorum=1, outer=outer, memory=MemoryConfig(forbidden_radius=1.0)))
    client.checkout("a")
    tiny = 5e-324  # half of it is nothing
    client.commit("a", arrays(0.0))
    client.commit("a", arrays(0.0) | {"vector": np.full(2, -tiny)})
    client.engine.remember(arrays(4.0) | {"vector": np.zeros(2)}, None, radius=3.0)
    client.take()
    client.commit("a", -4.0)
    master = client.engine.state.master
    assert master["scalar"] == 1.0
    assert master["vector"].tolist() == [tiny, tiny]
    assert memory_of(client).counts.shortened == 1
    client.commit("a", arrays(0.0), metrics={"outer_loss": 1.0})
    assert [entry.version for entry in memory_of(client).entries] == [3]
    assert bits(replayed(client)) == bits(client.engine.state)


def test_a_run_without_a_memory_goes_where_it_failed() -> None:
    client = Client(config(quorum=1))
    client.checkout("a")
    for value in (-3.0, None, 3.0, -3.0):
        client.commit("a", value, metrics={"diverged": 1.0} if value is None else {})
    assert client.engine.state.published["vector"].tolist() == [3.0, -3.0]


def test_what_users_tell_is_journalled_and_replayed() -> None:
    client = remembering()
    client.engine.remember(arrays(5.0), arrays(2.0), loss=0.5, source="elsewhere")
    client.engine.remember(arrays(9.0), None, radius=0.5, source="burst")
    client.take()
    memory = memory_of(client)
    assert [(entry.loss, entry.source) for entry in memory.entries] == [(0.5, "elsewhere")]
    assert memory.regions.radii.tolist() == [0.5]
    assert bits(replayed(client)) == bits(client.engine.state)


HOSTILE: list[tuple[Any, Any, dict[str, Any], type[ChronosError]]] = [
    (arrays(math.nan), arrays(1.0), {}, NonFiniteError),
    (arrays(1.0), arrays(math.inf), {}, NonFiniteError),
    (arrays(1.0), arrays(1.0), {"loss": math.nan}, NonFiniteError),
    (arrays(1.0, size=7), arrays(1.0), {}, ShapeMismatchError),
    (arrays(1.0), None, {"radius": -1.0}, InvalidRequestError),
    (arrays(1.0), None, {"radius": math.inf}, InvalidRequestError),
    (arrays(math.nan), None, {}, NonFiniteError),
]


@pytest.mark.parametrize(("values", "gradient", "more", "error"), HOSTILE)
def test_what_cannot_be_remembered_is_refused_and_changes_nothing(
    values: Any, gradient: Any, more: dict[str, Any], error: type[ChronosError]
) -> None:
    client = remembering()
    client.take()
    before = bits(client.engine.state)
    with pytest.raises(error):
        client.engine.remember(values, gradient, **more)
    assert bits(client.engine.state) == before
    assert client.take() == ()


def test_runs_without_a_memory_and_ended_ones_refuse() -> None:
    with pytest.raises(MemoryOffError, match="--memory"):
        Client(config(quorum=1)).engine.remember(arrays(1.0), arrays(1.0))
    client = remembering()
    client.engine.stop("enough")
    with pytest.raises(RunNotActiveError):
        client.engine.remember(arrays(1.0), arrays(1.0))


def test_a_damaged_record_of_the_memory_does_not_pass_a_replay() -> None:
    client = remembering()
    client.engine.remember(arrays(5.0), arrays(2.0), loss=0.5)
    client.take()
    client.commit("a", 1.0, metrics={"outer_loss": 1.0})
    at = next(i for i, event in enumerate(client.events) if type(event).__name__ == "Remembered")
    others = {
        "payload": encode("identity", {"values/vector": np.zeros(2)}),
        "what": "rumour",
        "loss": 0.25,
    }
    for field, value in others.items():
        changed = list(client.events)
        changed[at] = type(changed[at])(**{**vars(changed[at]), field: value})
        assert not verify(changed).clean
    without = start(created(config(quorum=1)))
    with pytest.raises(CorruptStateError, match="without a memory"):
        fold(without, client.events[at])


def test_a_memory_changes_neither_definitions_nor_digests_of_runs_without_one() -> None:
    assert "memory" not in config().to_json()
    whole = config(memory=MemoryConfig(max_entries=7, forbidden="report"))
    assert type(whole).from_json(whole.to_json()) == whole


def test_a_budget_below_one_entry_is_refused_with_the_definition() -> None:
    with pytest.raises(ConfigurationError, match="max_bytes"):
        config(memory=MemoryConfig(max_bytes=10))
