"""Data plans: definitions, how they stand, and shares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import MappingProxyType
from typing import Final

import numpy as np

from chronos_common.data.definition import DataPlanConfig
from chronos_common.data.plan import Indices, Kind, PlanConfig
from chronos_common.data.source import DealtShare
from chronos_common.data.views import DataView, MemberView
from chronos_common.errors import InvalidRequestError, MalformedPayloadError
from chronos_common.pb.chronos.v1 import data_pb2 as pb
from chronos_common.wire.convert import scalars
from chronos_common.wire.limits import CHUNK_BYTES

_KINDS: Final = MappingProxyType(
    {
        "static": pb.DATA_PLAN_KIND_STATIC,
        "dynamic": pb.DATA_PLAN_KIND_DYNAMIC,
        "guided": pb.DATA_PLAN_KIND_GUIDED,
    }
)
_KIND_NAMES: Final[MappingProxyType[int, Kind]] = MappingProxyType(
    {
        int(pb.DATA_PLAN_KIND_UNSPECIFIED): "dynamic",
        int(pb.DATA_PLAN_KIND_STATIC): "static",
        int(pb.DATA_PLAN_KIND_DYNAMIC): "dynamic",
        int(pb.DATA_PLAN_KIND_GUIDED): "guided",
    }
)
_TYPES: Final = MappingProxyType({"<f4": pb.SIZE_TYPE_FLOAT32, "<f8": pb.SIZE_TYPE_FLOAT64})
_TYPE_NAMES: Final = MappingProxyType({int(value): name for name, value in _TYPES.items()})
_WIDTHS: Final = (2, 4, 8)
DEFAULT_LOOKAHEAD: Final = 4


def plan_to_pb(config: DataPlanConfig) -> pb.DataPlan:
    """A definition."""
    plan = config.plan
    return pb.DataPlan(
        samples=config.samples,
        batch_size=plan.batch_size,
        kind=_KINDS[plan.kind],
        cost=plan.cost,
        randomness=plan.randomness,
        keep_order=not plan.shuffle,
        seed=plan.seed,
        drop_last=plan.drop_last,
        workers=config.workers,
        lookahead=config.lookahead,
        partitioned=config.partitioned,
    )


def plan_from_pb(message: pb.DataPlan) -> DataPlanConfig:
    """A definition; raises ``ConfigurationError`` where it cannot work."""
    if int(message.kind) not in _KIND_NAMES:
        raise InvalidRequestError(
            f"kind has the value {int(message.kind)}, which this release does not know", field="kind"
        )
    workers = message.workers or 1
    return DataPlanConfig(
        samples=message.samples,
        plan=PlanConfig(
            batch_size=message.batch_size,
            kind=_KIND_NAMES[int(message.kind)],
            cost=message.cost or "linear",
            randomness=message.randomness or "strict",
            shuffle=not message.keep_order,
            seed=message.seed,
            drop_last=message.drop_last,
            workers=workers,
        ),
        workers=workers,
        lookahead=message.lookahead or DEFAULT_LOOKAHEAD,
        partitioned=message.partitioned,
    )


def view_to_pb(view: DataView) -> pb.DataStatus:
    """How a plan stands."""
    return pb.DataStatus(
        plan_id=view.plan_id,
        plan=plan_to_pb(view.config),
        sized=view.sized,
        first_missing=view.first_missing,
        epoch=view.epoch,
        steps=view.config.steps,
        next_step=view.next_step,
        turns=view.turns,
        finished=view.finished,
        open=view.open,
        returned=view.returned,
        over=view.over,
        imbalance=view.imbalance,
        members=[
            pb.DataMember(
                worker_id=member.worker_id,
                incarnation=member.incarnation,
                rank=member.rank if member.rank >= 0 else None,
                node=member.node,
                alpha_seconds=member.alpha_seconds,
                beta_seconds=member.beta_seconds,
                finished=member.finished,
                open_shares=member.open_shares,
            )
            for member in view.members
        ],
    )


def view_from_pb(message: pb.DataStatus) -> DataView:
    """How a plan stands."""
    return DataView(
        plan_id=message.plan_id,
        config=plan_from_pb(message.plan),
        sized=message.sized,
        first_missing=message.first_missing,
        epoch=message.epoch,
        next_step=message.next_step,
        turns=message.turns,
        finished=message.finished,
        open=message.open,
        returned=message.returned,
        over=message.over,
        imbalance=message.imbalance if message.HasField("imbalance") else None,
        members=tuple(
            MemberView(
                worker_id=member.worker_id,
                incarnation=member.incarnation,
                rank=member.rank if member.HasField("rank") else -1,
                node=member.node,
                alpha_seconds=member.alpha_seconds,
                beta_seconds=member.beta_seconds,
                finished=member.finished,
                open_shares=member.open_shares,
            )
            for member in message.members
        ),
    )


def size_type_to_pb(number_type: str) -> pb.SizeType:
    """A number format, ``"<f4"`` or ``"<f8"``."""
    return _TYPES[number_type]


def size_type_from_pb(header: pb.SizesHeader) -> str:
    """The number format of an upload whose header is consistent.

    Raises:
        InvalidRequestError: no or an unknown format, no samples, or another number of bytes than the samples take.
    """
    name = scalars.enum_from_pb(_TYPE_NAMES, header.type, "type")
    scalars.count_from_pb(header.count, "count", least=1)
    scalars.count_from_pb(header.begin, "begin")
    if header.payload_bytes != header.count * np.dtype(name).itemsize:
        raise InvalidRequestError(
            f"{header.count} samples of {np.dtype(name).itemsize} bytes were announced with {header.payload_bytes} "
            "bytes; the two must agree",
            field="payload_bytes",
        )
    return name


def share_to_pb(share: DealtShare) -> Iterator[pb.StreamSharesResponse]:
    """A share as one message, or as several where its indices take more than a chunk."""
    width = _width(share.indices)
    packed = share.indices.astype(f"<u{width}").tobytes()
    for start in range(0, len(packed) or 1, CHUNK_BYTES):
        yield pb.StreamSharesResponse(
            epoch=share.epoch,
            step=share.step,
            part=share.part,
            turn=share.turn,
            indices=packed[start : start + CHUNK_BYTES],
            index_bytes=width,
            more=start + CHUNK_BYTES < len(packed),
            cost=share.cost,
            size=share.size,
            total_count=share.total_count,
            total_size=share.total_size,
            workers=share.workers,
        )


def share_from_pb(worker: str, messages: Iterable[pb.StreamSharesResponse]) -> DealtShare:
    """A share from all of its messages, in order. Raises ``MalformedPayloadError``."""
    pieces = list(messages)
    first = pieces[0]
    packed = b"".join(piece.indices for piece in pieces)
    if first.index_bytes not in _WIDTHS or len(packed) % first.index_bytes:
        raise MalformedPayloadError(
            f"{len(packed)} bytes are no indices of {first.index_bytes} bytes; the two ends do not fit"
        )
    return DealtShare(
        epoch=first.epoch,
        step=first.step,
        part=first.part,
        turn=first.turn,
        worker=worker,
        indices=np.frombuffer(packed, dtype=f"<u{first.index_bytes}").astype(np.int64),
        cost=first.cost,
        size=first.size,
        total_count=first.total_count,
        total_size=first.total_size,
        workers=first.workers,
    )


def _width(indices: Indices) -> int:
    """The narrowest that holds them; a random subset of a million samples has no pattern that would pay more."""
    largest = int(indices.max(initial=0))
    return next(width for width in _WIDTHS if largest < 1 << (8 * width - (width == 8)))
