from __future__ import annotations

import math
from typing import Any

import pytest

from chronos_common.engine import CheckoutAnswer, CheckoutQuery, CommitAnswer, CommitQuery, VersionPart
from chronos_common.errors import (
    InvalidRequestError,
    MalformedPayloadError,
    NonFiniteError,
    UnknownVersionError,
)
from chronos_common.pb.chronos.v1 import coordinator_pb2 as pb
from chronos_common.wire.convert import calls
from tests.support.parts import whole

COMMIT = CommitQuery(
    worker_id="worker-0",
    incarnation=2,
    seq=5,
    prev_applied=4,
    base=7,
    kind="parameter_delta",
    work=0.5,
    payload=b"abc",
    samples=64,
    tasks=3,
    metrics={"outer_loss": 0.25},
    timing={"compute": 1.5, "wait": 0.5, "communication": 0.25},
    residual_lost=True,
)


@pytest.mark.parametrize(
    "query",
    [
        CheckoutQuery(run_id=""),
        CheckoutQuery(
            run_id="run-1", worker_id="w", incarnation=2, known=0, min_version=3, wait_seconds=1.25
        ),
    ],
)
def test_checkouts_come_back_equal(query: CheckoutQuery) -> None:
    message = calls.checkout_query_to_pb(query)
    assert calls.checkout_query_from_pb(message, max_wait_seconds=10.0) == query


def test_a_checkout_that_waits_too_long_is_refused() -> None:
    message = calls.checkout_query_to_pb(CheckoutQuery(run_id="", wait_seconds=10.5))
    with pytest.raises(InvalidRequestError, match="at most 10 s"):
        calls.checkout_query_from_pb(message, max_wait_seconds=10.0)


@pytest.mark.parametrize("payload", [b"values", None])
def test_checkout_headers_say_what_follows(payload: bytes | None) -> None:
    answer = CheckoutAnswer(
        run_id="run-1",
        version=7,
        digest="ab",
        not_modified=payload is None,
        parts=whole(payload, 7),
        work_seconds=-0.001,
        shard=(1, 3),
        last_applied=4,
        applied_by=2,
        status="active",
        dense_bytes=6,
    )
    header = calls.checkout_header_to_pb(answer)
    assert (header.last_applied, header.applied_by) == (4, 2)
    assert header.payload_bytes == len(payload or b"")
    parts = [(part.version, part.kind, part.length) for part in header.parts]
    assert parts == ([] if payload is None else [(7, pb.PART_KIND_SNAPSHOT, 6)])
    assert header.work_time.ToTimedelta().total_seconds() == 0.0, "a lease that has just expired is over"
    assert (header.shard.index, header.shard.count) == (1, 3)


DELTAS = (
    VersionPart(version=6, is_delta=True, payload=b"one"),
    VersionPart(version=7, is_delta=True, payload=b"seven"),
)


def checkout_answer(parts: tuple[VersionPart, ...]) -> CheckoutAnswer:
    return CheckoutAnswer(
        run_id="run-1",
        version=7,
        digest="ab",
        not_modified=False,
        parts=parts,
        work_seconds=1.0,
        shard=(0, 1),
        last_applied=0,
        status="active",
        dense_bytes=1000,
    )


@pytest.mark.parametrize("parts", [(), whole(b"values", 7), DELTAS])
def test_parts_come_back_equal(parts: tuple[VersionPart, ...]) -> None:
    header = calls.checkout_header_to_pb(checkout_answer(parts))
    assert calls.parts_from_pb(header, b"".join(part.payload for part in parts)) == parts


def test_parts_that_are_not_what_was_streamed_are_refused() -> None:
    header = calls.checkout_header_to_pb(checkout_answer(DELTAS))
    with pytest.raises(MalformedPayloadError, match="another total"):
        calls.parts_from_pb(header, b"oneseve")
    header.parts[0].kind = 77  # type: ignore[assignment]
    with pytest.raises(MalformedPayloadError, match="unknown kind"):
        calls.parts_from_pb(header, b"oneseven")


def test_the_dense_header_is_that_of_a_snapshot() -> None:
    dense = calls.checkout_header_to_pb(checkout_answer(whole(bytes(1000), 7))).ByteSize()
    assert calls.dense_header_bytes(checkout_answer(DELTAS)) == dense


def test_commits_come_back_equal() -> None:
    header = calls.commit_header_to_pb("run-1", COMMIT)
    assert header.run_id == "run-1"
    assert calls.commit_query_from_pb(header, b"abc") == COMMIT


def test_a_skip_has_no_payload_whatever_arrives() -> None:
    skip = CommitQuery(**{**vars(COMMIT), "payload": None})
    header = calls.commit_header_to_pb("run-1", skip)
    assert header.skip
    assert calls.commit_query_from_pb(header, b"") == skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"work": math.nan}, InvalidRequestError),
        ({"work": 0.0}, InvalidRequestError),
        ({"metrics": {"m": math.inf}}, NonFiniteError),
        ({"timing": {"wait": math.nan}}, InvalidRequestError),
        ({"timing": {"wait": -1.0}}, InvalidRequestError),
        ({"worker_id": ""}, InvalidRequestError),
        ({"seq": 0}, InvalidRequestError),
    ],
)
def test_commits_that_are_refused(changes: dict[str, Any], expected: type[Exception]) -> None:
    header = calls.commit_header_to_pb("run-1", CommitQuery(**{**vars(COMMIT), **changes}))
    with pytest.raises(expected):
        calls.commit_query_from_pb(header, b"abc")


def test_commit_answers() -> None:
    answer = CommitAnswer(
        staleness=2, weight=0.25, version=9, duplicate=True, last_applied=5, status="finished"
    )
    message = calls.commit_answer_to_pb(answer)
    assert (message.staleness, message.weight, message.version) == (2, 0.25, 9)
    assert (message.duplicate, message.last_applied) == (True, 5)


def test_leases_come_back_equal() -> None:
    holding = [("run-1", 7), ("run-2", 0)]
    assert calls.holding_from_pb(calls.holding_to_pb(holding)) == holding
    with pytest.raises(InvalidRequestError):
        calls.holding_from_pb([pb.HeldLease()] * (calls.MAX_HELD_LEASES + 1))
    with pytest.raises(UnknownVersionError):
        calls.holding_from_pb([pb.HeldLease(run_id="r", base=[pb.FragmentVersion(fragment="x")])])
