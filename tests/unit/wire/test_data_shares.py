"""Shares on the wire: every index arrives, and no message is above a chunk."""

from __future__ import annotations

import numpy as np
import pytest

from chronos_common.data.source import DealtShare
from chronos_common.errors import InvalidRequestError, MalformedPayloadError
from chronos_common.pb.chronos.v1 import data_pb2 as pb
from chronos_common.wire.convert.data import plan_from_pb, share_from_pb, share_to_pb, size_type_from_pb
from chronos_common.wire.limits import CHUNK_BYTES


def share(indices: list[int] | np.ndarray[tuple[int], np.dtype[np.int64]]) -> DealtShare:
    return DealtShare(
        epoch=1,
        step=2,
        part=3,
        turn=4,
        worker="w",
        indices=np.asarray(indices, dtype=np.int64),
        cost=0.5,
        size=1.5,
        total_count=10,
        total_size=20.0,
        workers=3,
    )


@pytest.mark.parametrize(
    ("indices", "width"), [([], 2), ([0, 65535], 2), ([65536], 4), ([2**32 - 1, 0], 4), ([2**40, 3], 8)]
)
def test_indices_take_as_few_bytes_as_they_need(indices: list[int], width: int) -> None:
    (message,) = share_to_pb(share(indices))
    assert (message.index_bytes, len(message.indices)) == (width, width * len(indices))
    again = share_from_pb("w", [message])
    assert again.indices.tolist() == indices
    assert (again.epoch, again.step, again.part, again.turn, again.workers) == (1, 2, 3, 4, 3)
    assert (again.cost, again.size, again.total_count, again.total_size) == (0.5, 1.5, 10, 20.0)


def test_a_large_share_is_several_messages_none_above_a_chunk() -> None:
    indices = np.random.default_rng(0).permutation(10_000_000)[:1_000_000]
    messages = list(share_to_pb(share(indices)))
    assert len(messages) == 4
    assert max(message.ByteSize() for message in messages) < CHUNK_BYTES + 1024
    assert max(len(message.indices) for message in messages) <= CHUNK_BYTES
    assert [message.more for message in messages] == [True, True, True, False]
    assert np.array_equal(share_from_pb("w", messages).indices, indices)


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(MalformedPayloadError):
        share_from_pb("w", [pb.StreamSharesResponse(indices=b"abc", index_bytes=2)])
    with pytest.raises(MalformedPayloadError):
        share_from_pb("w", [pb.StreamSharesResponse(indices=b"abc", index_bytes=3)])
    with pytest.raises(InvalidRequestError, match="kind"):
        plan_from_pb(pb.DataPlan(samples=4, batch_size=2, kind=9))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "header",
    [
        pb.SizesHeader(count=2, payload_bytes=16),
        pb.SizesHeader(count=2, payload_bytes=16, type=pb.SIZE_TYPE_FLOAT32),
        pb.SizesHeader(count=0, payload_bytes=0, type=pb.SIZE_TYPE_FLOAT32),
        pb.SizesHeader(count=2, payload_bytes=16, begin=2**63, type=pb.SIZE_TYPE_FLOAT64),
    ],
)
def test_an_upload_that_contradicts_itself_is_refused(header: pb.SizesHeader) -> None:
    with pytest.raises(InvalidRequestError):
        size_type_from_pb(header)
