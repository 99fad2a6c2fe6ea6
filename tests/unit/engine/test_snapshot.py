"""Snapshots: whatever a run went through, a restored state is the state, and goes on as it would have."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronos_common.engine import (
    ACTIVE,
    CommitRecord,
    Event,
    RunEngine,
    RunSnapshot,
    RunState,
    VersionHistory,
    fold,
    from_snapshot,
    start,
    to_snapshot,
)
from chronos_common.engine.snapshot import REVISION
from chronos_common.errors import CorruptStateError
from chronos_common.outer import OPTIMIZERS, OuterConfig, TimescaleConfig
from chronos_common.outer.memory import MemoryConfig
from chronos_common.versions import PARAMETER_DELTA
from tests.support.runs import RUN, Client, compressed, config, created
from tests.support.states import bits

Journal = list[Event]

CONFIGS: dict[str, Callable[[], Any]] = {
    "sgd": lambda: config(quorum=2),
    "adam": lambda: config(quorum=1, outer=OuterConfig(name="adam", learning_rate=0.1)),
    "momentum": lambda: config(quorum=2, outer=OuterConfig(name="sgd", learning_rate=0.5, momentum=0.9)),
    "bounds": lambda: config(quorum=1, bounds=(-1.5, 1.5)),
    "deltas": lambda: config(quorum=2, kind=PARAMETER_DELTA),
    "participation": lambda: config(quorum=1, weighting="inverse_participation"),
    "median": lambda: config(quorum=2, merge="median"),
    "compressed": lambda: config(quorum=2, compression=compressed(keep_versions=3), size=48),
    "int8 down": lambda: config(
        quorum=1, outer=OuterConfig(name="adam", learning_rate=0.1), compression=compressed("int8"), size=48
    ),
    "memory": lambda: config(quorum=1, memory=MemoryConfig(max_entries=3, half_after=2)),
    "memory, projected": lambda: config(
        quorum=2, memory=MemoryConfig(max_entries=2, sketch_dimensions=4), compression=compressed(), size=48
    ),
    "ends": lambda: config(quorum=1, max_versions=3),
    **{
        f"optimiser {name}": lambda name=name: config(quorum=2, outer=OuterConfig(name=name, momentum=0.5))
        for name in OPTIMIZERS
        if name != "exponentiated_gradient"
    },
    "levels": lambda: config(quorum=1, outer=LEVELS),
    "levels, compressed": lambda: config(quorum=2, outer=LEVELS, compression=compressed(), size=48),
    "levels, memory": lambda: config(
        quorum=2,
        outer=LEVELS,
        memory=MemoryConfig(max_entries=3, half_after=2),
        compression=compressed(),
        size=48,
    ),
    "levels, deltas, median": lambda: config(quorum=2, outer=LEVELS, kind=PARAMETER_DELTA, merge="median"),
}
LEVELS = OuterConfig(
    levels=(
        TimescaleConfig(
            name="slow", parameters=("vector",), period=3, optimizer=OuterConfig(name="m3", slow_period=2)
        ),
        TimescaleConfig(name="adaptive", parameters=("scalar",), period=2, target_change=0.5),
    )
)

commits = st.tuples(
    st.sampled_from("abc"),
    st.one_of(st.none(), st.floats(-3.0, 3.0, width=32), st.just(-0.0)),
    st.sampled_from([1.0, 0.5, 0.25]),
    st.booleans(),
)


def journal_of(run_config: Any, steps: list[tuple[str, float | None, float, bool]], stop: bool) -> Journal:
    """The events of three workers' commits, on the newest version or on the one before, with what they measured."""
    client = Client(run_config)
    for worker in "abc":
        client.checkout(worker)
    for number, (worker, value, work, stale) in enumerate(steps):
        client.now += 1.0
        client.engine.tick(client.now)
        client.take()
        if client.engine.state.status != ACTIVE:
            break
        client.commit(
            worker,
            value,
            base=max(0, client.version - stale),
            work=work,
            metrics={"outer_loss": 1.0 / (number + 1), "diverged": 1.0} if number % 3 else {},
            timing={"compute": 0.1 * number},
        )
    if stop:
        client.engine.stop("enough")
        client.take()
    return client.events


def walk(events: Journal) -> list[tuple[RunState, VersionHistory]]:
    """State and history after every event."""
    state, history = start(events[0]), VersionHistory(kept_times=3)  # type: ignore[arg-type]
    found = [(state, history.copy())]
    for time, event in enumerate(events[1:], start=1):
        state = fold(state, event)
        history.observe(event, float(time))
        found.append((state, history.copy()))
    return found


def stored(walked: list[tuple[RunState, VersionHistory]], at: int) -> RunSnapshot:
    return to_snapshot(RUN, at + 1, *walked[at])


def told(history: VersionHistory) -> Any:
    return bits((history.open_commits, history.metrics, history.times, history.kept_times))


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=8, deadline=None)
@given(steps=st.lists(commits, min_size=1, max_size=12), stop=st.booleans())
def test_from_every_entry_on_a_restored_run_is_the_run(name: str, steps: Any, stop: bool) -> None:
    events = journal_of(CONFIGS[name](), steps, stop)
    walked = walk(events)
    for at in range(len(events)):
        snapshot = stored(walked, at)
        state, history = from_snapshot(RUN, snapshot)
        assert bits(state) == bits(walked[at][0])
        assert told(history) == told(walked[at][1])
        assert to_snapshot(RUN, at + 1, state, history) == snapshot
    for at in range(0, len(events), 4):
        state, history = from_snapshot(RUN, stored(walked, at))
        for time in range(at + 1, len(events)):
            state = fold(state, events[time])
            seen = walked[time - 1][1].copy().observe(events[time], float(time))
            assert history.observe(events[time], float(time)) == seen
            assert bits(state) == bits(walked[time][0])
        assert told(history) == told(walked[-1][1])


def mid_round() -> tuple[Journal, list[tuple[RunState, VersionHistory]]]:
    client = Client(config(quorum=2, compression=compressed(), size=48))
    for worker in "ab":
        client.checkout(worker)
    for value in (1.0, 2.0, -3.0):
        client.commit("a", value, metrics={"loss": value})
        client.commit("b", value)
    client.commit("a", 4.0, metrics={"loss": 9.0})
    return client.events, walk(client.events)


def test_a_restored_engine_gives_the_same_answers() -> None:
    _, walked = mid_round()
    state = walked[-1][0]
    restored, _ = from_snapshot(RUN, stored(walked, len(walked) - 1))
    answers = []
    for each in (state, restored):
        client = Client(config(quorum=2, compression=compressed(), size=48))
        client.engine = RunEngine(RUN, each)
        found: list[Any] = [client.checkout("b", known=known) for known in (None, 0, 2, 3)]
        repeated = each.rounds.chains["a"].last_applied
        found.append(client.commit("a", 4.0, seq=repeated, prev_applied=repeated - 1, base=3))
        found.append(client.commit("b", 5.0))
        found.append(client.checkout("a", known=2))
        answers.append((bits(found), bits(client.engine.state)))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_bit_of_every_number_survives(dtype: str) -> None:
    run_config = config(quorum=1, outer=OuterConfig(name="sgd", learning_rate=1.0, momentum=0.5))
    client = Client(run_config)
    client.checkout("a")
    odd = np.array([-0.0, 5e-324])
    client.commit("a", {"vector": odd, "scalar": np.asarray(-0.0, dtype=np.float32)})
    state, history = walk(client.events)[-1]
    tiny = {"vector": odd, "scalar": np.asarray(np.float32(1e-45))}
    state = dataclasses.replace(state, master=tiny, published=tiny)
    restored, _ = from_snapshot(RUN, to_snapshot(RUN, 4, state, history))
    assert bits(restored.master) == bits(tiny)
    assert bits(restored.published) == bits(tiny)
    assert bits(restored.optimizer_state) == bits(state.optimizer_state)


def test_numbers_beyond_the_finite_are_kept() -> None:
    """A ledger may overflow, and a lag be infinite: neither may keep a run from being restored."""
    _, walked = mid_round()
    state, history = walked[-1]
    assert state.guard is not None
    state = dataclasses.replace(
        state,
        guard=dataclasses.replace(state.guard, ratio=float("inf")),
        account=dataclasses.replace(state.account, open_mass=float("-inf"), open_applied=float("nan")),
    )
    restored, _ = from_snapshot(RUN, to_snapshot(RUN, 4, state, history))
    assert bits(restored) == bits(state)


def test_equal_zeros_of_other_sign_are_not_taken_for_each_other() -> None:
    state, history = walk([created(config())])[-1]
    negative = {"vector": np.array([-0.0, 0.0]), "scalar": np.asarray(0.0, np.float32)}
    state = dataclasses.replace(state, published=negative)
    restored, _ = from_snapshot(RUN, to_snapshot(RUN, 1, state, history))
    assert bits(restored.published) == bits(negative)
    assert bits(restored.master) == bits(state.master)
    assert restored.snapshot == state.snapshot


def test_every_byte_of_a_snapshot_counts() -> None:
    _, walked = mid_round()
    snapshot = stored(walked, len(walked) - 1)
    for place in range(0, len(snapshot.payload), 7):
        broken = bytearray(snapshot.payload)
        broken[place] ^= 16
        with pytest.raises(CorruptStateError, match="checksum differs"):
            from_snapshot(RUN, dataclasses.replace(snapshot, payload=bytes(broken)))
    for place in range(0, len(snapshot.meta), 5):
        text = snapshot.meta[:place] + chr(ord(snapshot.meta[place]) ^ 1) + snapshot.meta[place + 1 :]
        if _means_the_same(text, snapshot.meta):
            continue
        with pytest.raises(CorruptStateError, match=f"run {RUN!r} at entry {snapshot.seq}"):
            from_snapshot(RUN, dataclasses.replace(snapshot, meta=text))
    for cut in (b"", snapshot.payload[:-1], snapshot.payload + b"\0"):
        with pytest.raises(CorruptStateError, match="checksum differs"):
            from_snapshot(RUN, dataclasses.replace(snapshot, payload=cut))


def _means_the_same(text: str, meta: str) -> bool:
    """A float's seventeenth digit may change without the float."""
    try:
        return bool(json.loads(text) == json.loads(meta))
    except ValueError:
        return False


@pytest.mark.parametrize("meta", ["", "[]", "{}", "null", '{"revision":1}', "[" * 100_000])
def test_what_is_no_snapshot_is_refused(meta: str) -> None:
    with pytest.raises(CorruptStateError, match="cannot be restored"):
        from_snapshot(RUN, RunSnapshot(seq=3, meta=meta, payload=b""))


def forged(snapshot: RunSnapshot, **changes: Any) -> RunSnapshot:
    """With a checksum that is right again."""
    from chronos_common.engine.snapshot import _checksum

    document = {**json.loads(snapshot.meta), **changes}
    del document["checksum"]
    document["checksum"] = _checksum(document, snapshot.payload)
    return dataclasses.replace(snapshot, meta=json.dumps(document))


def test_a_snapshot_of_elsewhere_is_refused() -> None:
    _, walked = mid_round()
    snapshot = stored(walked, len(walked) - 1)
    state = json.loads(snapshot.meta)["state"]
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        "newer format": ({"revision": REVISION + 1}, "this release reads"),
        "other entry": ({"seq": 3}, "belongs to"),
        "other run": ({"run_id": "another"}, "belongs to run 'another'"),
        "other digest": ({"state_digest": "0" * 64}, "another digest"),
        "other journal": ({"state": {**state, "journal": "0" * 64}}, "another digest"),
        "newer field": ({"state": {**state, "more": 1}}, "has no more"),
        "other kind": ({"state": {**state, "status": 1}}, "1 where"),
        "missing": (
            {"state": {name: value for name, value in state.items() if name != "journal"}},
            "missing",
        ),
        "no guard": ({"state": {**state, "guard": None}}, "density guard"),
        "a bad count": ({"state": {**state, "totals": {**state["totals"], "accepted": True}}}, "True where"),
        "no mapping": ({"state": {**state, "totals": []}}, "a list where"),
        "other slots": ({"slots": ["second_moment"]}, "second_moment"),
        "other config": ({"config": config().to_json()}, "cannot be restored"),
        "another event": ({"open": [{"record": '{"worker_id":"a"}', "payload": None}]}, "damaged record"),
        "sections": ({"sections": [["master", 3]]}, "do not fill"),
    }
    for changes, problem in wrong.values():
        with pytest.raises(CorruptStateError, match=problem):
            from_snapshot(RUN, forged(snapshot, **changes))
    assert from_snapshot(RUN, forged(snapshot))[0].journal == walked[-1][0].journal


def test_a_field_that_is_younger_than_a_snapshot_takes_its_default() -> None:
    _, walked = mid_round()
    snapshot = stored(walked, len(walked) - 1)
    state = json.loads(snapshot.meta)["state"]
    del state["account"]
    restored, _ = from_snapshot(RUN, forged(snapshot, state=state))
    assert restored.account.ledger.produced == 0.0


def test_a_history_of_another_state_is_a_defect() -> None:
    _, walked = mid_round()
    with pytest.raises(ValueError, match="has not observed"):
        to_snapshot(RUN, 9, walked[-1][0], VersionHistory())


def test_a_copied_history_stands_still() -> None:
    events, _ = mid_round()
    history = VersionHistory(kept_times=2)
    for time, event in enumerate(events[:-1]):
        history.observe(event, float(time))
    copy = history.copy()
    assert isinstance(events[-1], CommitRecord)
    history.observe(events[-1], 99.0)
    assert (len(copy.open_commits), len(history.open_commits)) == (0, 1)
    assert len(copy.times) == 2
