"""The proof by replay: whatever happens to a journal before its last version is found."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chronos_common.codec import encode
from chronos_common.engine import (
    CommitRecord,
    Ended,
    Event,
    Joined,
    Published,
    RunState,
    from_parts,
    replay,
    state_digest,
    to_parts,
    verify,
)
from chronos_common.errors import CorruptStateError
from chronos_common.outer import OuterConfig
from tests.support.runs import Client, arrays, compressed, config

DOWN = ("identity", "topk10+int8")


def journal(*, ended: bool = True, down: str = "identity") -> list[Event]:
    """Two workers, five versions, stale, partial and skipped commits, metrics and timings."""
    small: dict[str, Any] = {} if down == "identity" else {"compression": compressed(down), "size": 48}
    client = Client(config(quorum=1, outer=OuterConfig(name="adam", learning_rate=0.5), **small))
    client.checkout("a")
    client.checkout("b")
    client.commit("a", 1.0, metrics={"loss": 0.5}, timing={"compute_seconds": 1.0})
    client.commit("b", 2.0, base=0, work=0.5, samples=7)
    client.commit("a", None)
    client.commit("b", 3.0, base=1)
    client.commit("a", 0.25)
    if ended:
        client.engine.stop("enough")
        client.take()
    return client.events


@pytest.mark.parametrize("down", DOWN)
def test_a_journal_replays_to_the_same_state(down: str) -> None:
    events = journal(down=down)
    report = verify(from_parts(*to_parts(event)) for event in events)
    assert (report.clean, report.problem, report.from_version) == (True, "", 0)
    assert (report.versions, report.entries) == (5, len(events))


@pytest.mark.parametrize("down", DOWN)
def test_every_prefix_replays_to_the_state_of_its_time(down: str) -> None:
    events = journal(down=down)
    seen: list[RunState] = []
    replay(events, observe=seen.append)
    for length in range(1, len(events) + 1):
        assert state_digest(replay(events[:length])) == state_digest(seen[length - 1])
    assert len({state_digest(state) for state in seen}) == len(events)


def test_replay_twice_gives_the_same_bits() -> None:
    first, second = replay(journal()), replay(journal())
    assert state_digest(first) == state_digest(second)
    assert first.snapshot == second.snapshot


last_version = max(i for i, event in enumerate(journal()) if isinstance(event, Published))


@pytest.mark.parametrize("down", DOWN)
@pytest.mark.parametrize("index", range(last_version))
def test_a_missing_entry_is_found(index: int, down: str) -> None:
    events = journal(down=down)
    del events[index]
    assert not verify(events).clean


@pytest.mark.parametrize("index", range(last_version + 1))
def test_a_doubled_entry_is_found(index: int) -> None:
    events = journal()
    events.insert(index, events[index])
    report = verify(events)
    assert not report.clean
    assert report.problem


@pytest.mark.parametrize("index", range(last_version))
def test_swapped_entries_are_found(index: int) -> None:
    events = journal()
    events[index], events[index + 1] = events[index + 1], events[index]
    assert not verify(events).clean


def edits(event: Event, size: int = 2) -> list[dict[str, Any]]:
    """Every field of an event, changed to another legal-looking value."""
    change: dict[type, Callable[[Any], Any]] = {
        str: lambda value: value + "x",
        int: lambda value: value + 1,
        bool: lambda value: not value,
        float: lambda value: value / 2,
        dict: lambda value: {**value, "x": 0.5},
        tuple: lambda value: value[:-1],
        bytes: lambda value: encode("identity", arrays(99.0, size)),
    }
    found = []
    for field in dataclasses.fields(event):
        value = getattr(event, field.name)
        if value is not None:
            found.append({field.name: change[type(value)](value)})
    return found


@pytest.mark.parametrize("down", DOWN)
@pytest.mark.parametrize("index", range(last_version + 1))
def test_an_edited_entry_is_found(index: int, down: str) -> None:
    for edit in edits(journal(down=down)[index], 2 if down == "identity" else 48):
        events = journal(down=down)
        events[index] = dataclasses.replace(events[index], **edit)
        assert not verify(events).clean, edit


@pytest.mark.parametrize("down", DOWN)
@pytest.mark.parametrize("index", range(last_version + 1))
def test_a_flipped_byte_is_found(index: int, down: str) -> None:
    original = journal(down=down)
    kind, meta, payload = to_parts(original[index])
    for place in range(0, len(payload or b""), 5):
        assert payload is not None
        broken = payload[:place] + bytes([payload[place] ^ 4]) + payload[place + 1 :]
        events = [*original]
        events[index] = from_parts(kind, meta, broken)
        assert not verify(events).clean, place


def test_a_payload_that_became_a_skip_is_found() -> None:
    events = journal()
    for index, event in enumerate(events):
        if isinstance(event, CommitRecord) and event.payload is not None:
            changed = [*events]
            changed[index] = dataclasses.replace(event, payload=None)
            assert not verify(changed).clean


def test_damaged_meta_is_a_finding_wherever_it_surfaces() -> None:
    parts = [to_parts(event) for event in journal()]

    def events(bad: int) -> list[tuple[str, str, bytes | None]]:
        kind, meta, payload = parts[bad]
        return [*parts[:bad], (kind, json.dumps({**json.loads(meta), "more": 1}), payload), *parts[bad + 1 :]]

    for bad in range(len(parts)):
        report = verify(from_parts(*entry) for entry in events(bad))
        assert not report.clean
        assert report.entries == bad


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        (Joined(worker_id="c"), "goes on after"),
        (Ended(status="stopped", reason="again"), "goes on after"),
        (journal()[0], "goes on after"),
    ],
)
def test_nothing_follows_the_end(extra: Event, problem: str) -> None:
    report = verify([*journal(), extra])
    assert not report.clean
    assert problem in report.problem


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        (journal()[0], "created twice"),
        (Joined(worker_id="a"), "joins twice"),
        (Ended(status="active", reason=""), "no way to end"),
        (
            CommitRecord(
                worker_id="z",
                incarnation=0,
                seq=1,
                prev_applied=0,
                base=5,
                work=1.0,
                staleness=0,
                weight=1.0,
                payload=None,
            ),
            "never joined",
        ),
    ],
)
def test_the_fold_names_what_contradicts(extra: Event, problem: str) -> None:
    with pytest.raises(CorruptStateError, match=problem):
        replay([*journal(ended=False), extra])


def test_a_journal_begins_with_its_creation() -> None:
    assert verify([]).problem == "the journal is empty"
    assert "does not begin" in verify(journal()[1:]).problem


def test_a_version_that_diverges_in_replay_is_corruption() -> None:
    client = Client(config(quorum=2, outer=OuterConfig(name="sgd", learning_rate=1e9)))
    client.checkout("a")
    client.checkout("b")
    client.commit("a", {**arrays(1.0), "vector": np.full(2, 1e308)})
    forged = Published(version=1, commits=(("a", 1),), payload=None, digest="", state_digest="")
    with pytest.raises(CorruptStateError, match="version 1: the outer step"):
        replay([*client.events, forged])
