"""Events survive the journal exactly, and nothing damaged leaves it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_common.engine import (
    CommitRecord,
    Created,
    Ended,
    Event,
    Joined,
    Published,
    Remembered,
    WarmStarted,
    from_parts,
    to_parts,
)
from chronos_common.errors import CorruptStateError

text = st.text(max_size=20)
count = st.integers(0, 2**64 - 1)
real = st.floats(allow_nan=False, allow_infinity=False)
payload = st.none() | st.binary(max_size=20)
numbers = st.dictionaries(text, real, max_size=3)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Created, config=text, payload=st.binary(max_size=20)),
    st.builds(Joined, worker_id=text),
    st.builds(
        CommitRecord,
        worker_id=text,
        incarnation=count,
        seq=count,
        prev_applied=count,
        base=count,
        work=real,
        staleness=count,
        weight=real,
        payload=payload,
        samples=count,
        tasks=count,
        metrics=numbers,
        timing=numbers,
        residual_lost=st.booleans(),
    ),
    st.builds(
        Published,
        version=count,
        commits=st.lists(st.tuples(text, count), max_size=3).map(tuple),
        payload=payload,
        digest=text,
        state_digest=text,
    ),
    st.builds(
        WarmStarted,
        run_id=text,
        version=count,
        steps=count,
        scalars=numbers,
        payload=st.binary(max_size=20),
    ),
    st.builds(
        Remembered,
        what=text,
        loss=real,
        radius=real,
        source=text,
        version=count,
        payload=st.binary(max_size=20),
    ),
    st.builds(Ended, status=text, reason=text),
)


@given(events)
def test_round_trip(event: Event) -> None:
    parts = to_parts(event)
    again = from_parts(*parts)
    assert again == event
    assert to_parts(again) == parts
    parts[1].encode("ascii")


@pytest.mark.parametrize("value", [5e-324, -0.0, 0.1, 1.7976931348623157e308, 2.0**-1074, 1 / 3])
def test_odd_floats_keep_every_bit(value: float) -> None:
    record = CommitRecord(
        worker_id="ü\ud800\x00",
        incarnation=1,
        seq=1,
        prev_applied=0,
        base=0,
        work=1.0,
        staleness=0,
        weight=value,
        payload=b"",
        metrics={"m\n": value},
    )
    again = from_parts(*to_parts(record))
    assert isinstance(again, CommitRecord)
    assert again.weight.hex() == value.hex()
    assert again.metrics["m\n"].hex() == value.hex()
    assert again.worker_id == record.worker_id
    assert again.payload == b""


def test_not_finite_numbers_are_not_journalled() -> None:
    with pytest.raises(ValueError, match="JSON"):
        to_parts(Joined(worker_id=float("nan")))  # type: ignore[arg-type]


GOOD = CommitRecord(
    worker_id="a",
    incarnation=1,
    seq=1,
    prev_applied=0,
    base=0,
    work=1.0,
    staleness=0,
    weight=1.0,
    payload=b"x",
)


@pytest.mark.parametrize(
    "change",
    [
        {"worker_id": 5},
        {"seq": "1"},
        {"seq": -1},
        {"seq": True},
        {"seq": 1.5},
        {"work": "1"},
        {"work": None},
        {"weight": [1.0]},
        {"metrics": [1]},
        {"metrics": {"a": "b"}},
        {"unknown": 1},
    ],
)
def test_damaged_fields_are_found(change: dict[str, Any]) -> None:
    kind, meta, payload = to_parts(GOOD)
    with pytest.raises(CorruptStateError, match="accepted"):
        from_parts(kind, json.dumps({**json.loads(meta), **change}), payload)


@pytest.mark.parametrize("meta", ["", "{", "[]", "null", "5", "{}", '{"worker_id":NaN}', "[" * 5000])
def test_damaged_text_is_found(meta: str) -> None:
    with pytest.raises(CorruptStateError):
        from_parts("joined", meta, None)


def test_infinite_numbers_are_found() -> None:
    kind, meta, payload = to_parts(GOOD)
    for bad in ("NaN", "Infinity"):
        with pytest.raises(CorruptStateError, match="weight"):
            from_parts(kind, meta.replace('"weight":1.0', f'"weight":{bad}'), payload)


def test_payloads_belong_to_kinds_that_have_one() -> None:
    with pytest.raises(CorruptStateError):
        from_parts(*to_parts(Joined(worker_id="a"))[:2], b"x")
    kind, meta, _ = to_parts(Created(config="{}", payload=b"x"))
    with pytest.raises(CorruptStateError, match="payload"):
        from_parts(kind, meta, None)


@pytest.mark.parametrize("commits", [5, [["a"]], [["a", "b"]], [[1, 2]], ["ab"]])
def test_damaged_lists_of_commits_are_found(commits: object) -> None:
    kind, meta, payload = to_parts(
        Published(version=1, commits=(("a", 1),), payload=None, digest="d", state_digest="s")
    )
    with pytest.raises(CorruptStateError):
        from_parts(kind, json.dumps({**json.loads(meta), "commits": commits}), payload)


def test_kinds_of_a_newer_release_are_named() -> None:
    with pytest.raises(CorruptStateError, match="unknown kind 'merged'"):
        from_parts("merged", "{}", None)
