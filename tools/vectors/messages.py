"""Serialised messages, refusals, and payloads cut into chunks."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from chronos_common import errors
from chronos_common.codec import encode
from chronos_common.pb.chronos.v1 import coordinator_pb2 as pb
from chronos_common.pb.chronos.v1 import run_pb2
from chronos_common.tensors import digest
from chronos_common.wire.chunks import chunk_messages
from chronos_common.wire.status import to_status
from tools.vectors.plain import ramp

CHUNKED_ELEMENTS = (0, 1, 262_132, 262_133, 600_000)
"""Of float32: no payload to speak of, a small one, one that fills a chunk, one of a chunk and 8 bytes, three chunks."""


def message_vectors() -> list[dict[str, Any]]:
    """Messages as fields that are set, and as bytes. At most one entry in a map: their order is not defined."""
    return [
        {
            "type": message.DESCRIPTOR.full_name,
            "fields": plain(message),
            "hex": message.SerializeToString(deterministic=True).hex(),
        }
        for message in _messages()
    ]


def plain(message: Message) -> dict[str, Any]:
    """The fields that are set: enums by name, bytes as base64."""
    return {field.name: _value(field, value) for field, value in message.ListFields()}


def _value(field: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if field.is_repeated:
        return [_single(field, item) for item in value]
    return _single(field, value)


def _single(field: Any, value: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return plain(value)
    if field.type == FieldDescriptor.TYPE_ENUM:
        return field.enum_type.values_by_number[value].name
    return base64.b64encode(value).decode() if field.type == FieldDescriptor.TYPE_BYTES else value


def _messages() -> list[Message]:
    start = {"u": np.array([0.0, 0.5])}
    payload = encode("identity", start)
    at = [pb.FragmentVersion(version=41)]
    parameter = run_pb2.OuterParameter(
        name="u", shape=[2], dtype=run_pb2.DTYPE_FLOAT64, scale=run_pb2.SCALE_LINEAR, lower=-1.5, upper=2.0
    )
    config = run_pb2.RunConfig(
        parameters=[parameter],
        optimizer=run_pb2.OuterOptimizer(name="sgd", options={"learning_rate": 0.5}),
        rounds=run_pb2.RoundPolicy(max_staleness=2, quorum=1, decay=0.5),
        work=run_pb2.WorkSpec(inner_steps=20, kind=run_pb2.UPDATE_KIND_HYPERGRADIENT),
        compression=run_pb2.Compression(up="identity", down="topk10+int8", keep_versions=7),
        max_versions=300,
    )
    checkout = pb.CheckoutVersionRequest(run_id="r", worker_id="w", incarnation=3, known=at, min_version=42)
    checkout.wait.seconds, checkout.wait.nanos = 5, 500_000_000
    part = pb.PayloadPart(version=42, kind=pb.PART_KIND_SNAPSHOT, length=len(payload))
    header = pb.CheckoutHeader(
        run_id="r",
        versions=[pb.FragmentVersion(version=42)],
        digest=digest(start),
        payload_bytes=len(payload),
        parts=[part],
        shard=pb.Shard(count=1),
        last_applied=7,
        status=run_pb2.RUN_STATUS_ACTIVE,
        applied_by=2,
    )
    header.work_time.seconds = 30
    commit = pb.CommitHeader(
        run_id="r",
        worker_id="w",
        incarnation=3,
        seq=300,
        prev_applied=299,
        base=at,
        kind=run_pb2.UPDATE_KIND_HYPERGRADIENT,
        work=0.75,
        samples=128,
        tasks=1,
        metrics={"outer_loss": 0.125},
        payload_bytes=len(payload),
    )
    return [
        pb.CreateRunRequest(run_id="r", config=config, initial_payload=payload),
        pb.RegisterWorkerRequest(worker_id="w", instance_id="0123456789abcdef", device="cpu"),
        pb.HeartbeatRequest(worker_id="w", incarnation=3, holding=[pb.HeldLease(run_id="r", base=at)]),
        checkout,
        pb.CheckoutVersionResponse(header=header, chunk=payload),
        pb.CommitUpdateRequest(header=commit, chunk=payload),
        pb.CommitUpdateResponse(
            staleness=1,
            weight=0.5,
            version=43,
            duplicate=True,
            last_applied=300,
            status=run_pb2.RUN_STATUS_ACTIVE,
        ),
    ]


def status_vectors() -> list[dict[str, Any]]:
    """Refusals as `grpc-status-details-bin` carries them, and what is in them."""
    refusals: list[errors.ChronosError] = [
        errors.ChainBrokenError("prev_applied is 3, the last applied commit is 4", last_applied=4),
        errors.InvalidRequestError("seq is 0; it must be 1 or more", field="seq"),
        errors.OverloadedError("10 calls are in flight; try again", max_calls=10),
        errors.NameMismatchError("the arrays do not match", missing="7"),
        errors.StaleCommitError("3 versions behind", weight=0.125),
    ]
    rows = []
    for error in refusals:
        status = to_status(error)
        details = cast("bytes", dict(status.trailing_metadata)["grpc-status-details-bin"])
        unavailable = isinstance(error, errors.UnavailableError)
        rows.append(
            {
                "code": status.code.name,
                "message": error.message,
                "reason": error.reason,
                "details": error.details,
                "fields": [error.details["field"]] if "field" in error.details else [],
                "retry_seconds": 0.5 if unavailable else None,
                "hex": details.hex(),
            }
        )
    return rows


def chunk_vectors() -> list[dict[str, Any]]:
    """Commits of one float32 array ``u``: value i is ((7919 i + 17) mod 1025) / 128 - 4; every message by its hash."""
    rows = []
    for elements in CHUNKED_ELEMENTS:
        payload = encode("identity", {"u": ramp(elements)})
        header = pb.CommitHeader(run_id="r", worker_id="w", seq=1, work=1.0, payload_bytes=len(payload))
        messages = [
            message.SerializeToString(deterministic=True)
            for message in chunk_messages(header, payload, pb.CommitUpdateRequest)
        ]
        rows.append(
            {
                "elements": elements,
                "header": plain(header),
                "payload_sha256": hashlib.sha256(payload).hexdigest(),
                "messages": [
                    {"bytes": len(message), "sha256": hashlib.sha256(message).hexdigest()}
                    for message in messages
                ],
            }
        )
    return rows
