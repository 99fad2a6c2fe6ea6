"""Requests and answers of workers: checkouts, commits, heartbeats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from chronos_common.engine.views import (
    CheckoutAnswer,
    CheckoutQuery,
    CommitAnswer,
    CommitQuery,
    VersionPart,
)
from chronos_common.errors import InvalidRequestError, MalformedPayloadError
from chronos_common.pb.chronos.v1 import coordinator_pb2
from chronos_common.wire.convert import scalars

MAX_HELD_LEASES: Final = 10_000
"""Leases in one heartbeat."""

MAX_EXCEPT_RUNS: Final = 1000
"""Runs that a checkout may leave out."""

TIMES: Final = ("compute", "wait", "communication")
"""What a worker's time is split into."""


def checkout_query_to_pb(query: CheckoutQuery) -> coordinator_pb2.CheckoutVersionRequest:
    """A request for a version."""
    return coordinator_pb2.CheckoutVersionRequest(
        run_id=query.run_id,
        worker_id=query.worker_id,
        incarnation=query.incarnation,
        known=None if query.known is None else scalars.fragments_to_pb(query.known),
        min_version=query.min_version,
        wait=scalars.duration_to_pb(query.wait_seconds) if query.wait_seconds else None,
        except_runs=query.except_runs,
    )


def checkout_query_from_pb(
    message: coordinator_pb2.CheckoutVersionRequest, *, max_wait_seconds: float
) -> CheckoutQuery:
    """A request for a version.

    Raises:
        InvalidRequestError: a field out of range.
        UnknownVersionError: a fragment that the run does not have.
    """
    if len(message.except_runs) > MAX_EXCEPT_RUNS:
        raise InvalidRequestError(
            f"except_runs names {len(message.except_runs)} runs, {MAX_EXCEPT_RUNS} at most",
            field="except_runs",
        )
    return CheckoutQuery(
        run_id=scalars.name_from_pb(message.run_id, "run_id", optional=True),
        worker_id=scalars.name_from_pb(message.worker_id, "worker_id", optional=True),
        incarnation=scalars.count_from_pb(message.incarnation, "incarnation"),
        known=scalars.version_from_pb(message.known, "known") if message.known else None,
        min_version=scalars.count_from_pb(message.min_version, "min_version"),
        wait_seconds=scalars.duration_from_pb(message.wait, "wait", max_seconds=max_wait_seconds),
        except_runs=tuple(scalars.name_from_pb(run, "except_runs") for run in message.except_runs),
    )


def checkout_header_to_pb(answer: CheckoutAnswer) -> coordinator_pb2.CheckoutHeader:
    """The first message of a checkout."""
    return _header(answer, [(part.version, part.is_delta, len(part.payload)) for part in answer.parts])


def dense_header_bytes(answer: CheckoutAnswer) -> int:
    """Size of the header with which the same version would have been sent dense."""
    whole = replace(answer, not_modified=False)
    return _header(whole, [(answer.version, False, answer.dense_bytes)]).ByteSize()


def parts_from_pb(header: coordinator_pb2.CheckoutHeader, payload: bytes) -> tuple[VersionPart, ...]:
    """The payloads of a checkout, cut out of what was streamed.

    Raises:
        MalformedPayloadError: the parts are not what was streamed, or of a kind that this release lacks.
    """
    if sum(part.length for part in header.parts) != len(payload):
        raise MalformedPayloadError(
            f"a checkout of {len(payload)} bytes declares parts of another total; fetch it again",
            payload_bytes=len(payload),
        )
    parts, start = [], 0
    for part in header.parts:
        if part.kind not in (coordinator_pb2.PART_KIND_SNAPSHOT, coordinator_pb2.PART_KIND_DELTA):
            raise MalformedPayloadError(f"a checkout holds a part of unknown kind {part.kind}; upgrade")
        is_delta = part.kind == coordinator_pb2.PART_KIND_DELTA
        whole = part.length == len(payload)
        piece = payload if whole else payload[start : start + part.length]
        parts.append(VersionPart(version=part.version, is_delta=is_delta, payload=piece))
        start += part.length
    return tuple(parts)


def _header(answer: CheckoutAnswer, parts: Sequence[tuple[int, bool, int]]) -> coordinator_pb2.CheckoutHeader:
    index, count = answer.shard
    return coordinator_pb2.CheckoutHeader(
        run_id=answer.run_id,
        versions=scalars.fragments_to_pb(answer.version),
        digest=answer.digest,
        not_modified=answer.not_modified,
        payload_bytes=sum(length for _, _, length in parts),
        parts=[
            coordinator_pb2.PayloadPart(
                version=version,
                kind=coordinator_pb2.PART_KIND_DELTA if delta else coordinator_pb2.PART_KIND_SNAPSHOT,
                length=length,
            )
            for version, delta, length in parts
        ],
        work_time=scalars.duration_to_pb(max(0.0, answer.work_seconds)),
        shard=coordinator_pb2.Shard(index=index, count=count),
        last_applied=answer.last_applied,
        applied_by=answer.applied_by,
        work_share=answer.work_share if answer.work_share < 1.0 else 0.0,
        status=scalars.status_to_pb(answer.status),
    )


def commit_header_to_pb(run_id: str, query: CommitQuery) -> coordinator_pb2.CommitHeader:
    """The first message of a commit."""
    return coordinator_pb2.CommitHeader(
        run_id=run_id,
        worker_id=query.worker_id,
        incarnation=query.incarnation,
        seq=query.seq,
        prev_applied=query.prev_applied,
        base=scalars.fragments_to_pb(query.base),
        kind=scalars.kind_to_pb(query.kind),
        skip=query.payload is None,
        work=query.work,
        samples=query.samples,
        tasks=query.tasks,
        metrics=dict(query.metrics),
        timing=coordinator_pb2.Timing(**{f"{name}_seconds": query.timing.get(name, 0.0) for name in TIMES}),
        payload_bytes=0 if query.payload is None else len(query.payload),
        residual_lost=query.residual_lost,
    )


def commit_query_from_pb(header: coordinator_pb2.CommitHeader, payload: bytes | None) -> CommitQuery:
    """A commit; call it once without the payload, so that a bad header is refused before the upload.

    Raises:
        InvalidRequestError: a field out of range.
        NonFiniteError: a metric that is not finite.
        UnknownVersionError: a fragment that the run does not have.
    """
    if header.skip and header.payload_bytes:
        raise InvalidRequestError(
            "a skip carries no payload; leave payload_bytes at 0", field="payload_bytes"
        )
    if not (math.isfinite(header.work) and 0.0 < header.work <= 1.0):
        raise InvalidRequestError(
            f"work is {header.work}; it is the share of the assigned inner loop that was done, above 0 and at most 1",
            field="work",
        )
    return CommitQuery(
        worker_id=scalars.name_from_pb(header.worker_id, "worker_id"),
        incarnation=scalars.count_from_pb(header.incarnation, "incarnation"),
        seq=scalars.count_from_pb(header.seq, "seq", least=1),
        prev_applied=scalars.count_from_pb(header.prev_applied, "prev_applied"),
        base=scalars.version_from_pb(header.base, "base"),
        kind=scalars.kind_from_pb(header.kind),
        work=header.work,
        payload=None if header.skip else payload,
        samples=scalars.count_from_pb(header.samples, "samples"),
        tasks=header.tasks,
        metrics=scalars.metrics_from_pb(header.metrics),
        timing={name: _seconds(header.timing, f"{name}_seconds") for name in TIMES},
        residual_lost=header.residual_lost,
    )


def commit_answer_to_pb(answer: CommitAnswer) -> coordinator_pb2.CommitUpdateResponse:
    """What became of a commit."""
    return coordinator_pb2.CommitUpdateResponse(
        staleness=answer.staleness,
        weight=answer.weight,
        version=answer.version,
        duplicate=answer.duplicate,
        last_applied=answer.last_applied,
        status=scalars.status_to_pb(answer.status),
    )


def holding_to_pb(holding: Iterable[tuple[str, int]]) -> list[coordinator_pb2.HeldLease]:
    """Runs and base versions that a worker works on."""
    return [
        coordinator_pb2.HeldLease(run_id=run_id, base=scalars.fragments_to_pb(base))
        for run_id, base in holding
    ]


def holding_from_pb(messages: Sequence[coordinator_pb2.HeldLease]) -> list[tuple[str, int]]:
    """Runs and base versions that a worker works on.

    Raises:
        InvalidRequestError: too many, or a field out of range.
        UnknownVersionError: a fragment that the run does not have.
    """
    if len(messages) > MAX_HELD_LEASES:
        raise InvalidRequestError(f"{len(messages)} held leases; at most {MAX_HELD_LEASES}", field="holding")
    return [
        (
            scalars.name_from_pb(held.run_id, "holding.run_id"),
            scalars.version_from_pb(held.base, "holding.base"),
        )
        for held in messages
    ]


def _seconds(timing: coordinator_pb2.Timing, name: str) -> float:
    value: float = getattr(timing, name)
    if not (math.isfinite(value) and value >= 0.0):
        raise InvalidRequestError(
            f"timing.{name} is {value}; it must be 0 or more seconds", field=f"timing.{name}"
        )
    return value


def share_from_pb(share: float) -> float:
    """How much of the inner loop a checkout asks for; all of it from a coordinator that does not say.

    Raises:
        MalformedPayloadError: not a share.
    """
    if share == 0.0:
        return 1.0
    if not 0.0 < share <= 1.0:
        raise MalformedPayloadError(
            f"a checkout asks for {share} of the inner loop; upgrade one of the two sides"
        )
    return share
