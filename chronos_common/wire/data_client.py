"""The client's methods of data plans; see :class:`chronos_common.wire.client.CoordinatorClient`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from chronos_common.data.definition import DataPlanConfig
from chronos_common.data.source import DealtShare
from chronos_common.data.views import DataView
from chronos_common.errors import InvalidRequestError
from chronos_common.pb.chronos.v1 import data_pb2 as pb
from chronos_common.wire.chunks import chunk_messages, require_message
from chronos_common.wire.convert import data as convert
from chronos_common.wire.convert import scalars
from chronos_common.wire.transport import Transport

SLICE_SAMPLES: Final = 1 << 21
"""Samples of one upload: a larger slice is sent as several, so that neither side holds one large message stream."""


class DataPlanClient(Transport):
    """Creates data plans, feeds them with sizes, and takes shares. Unknown plans raise ``DataPlanNotFoundError``."""

    async def create_data_plan(self, plan_id: str, config: DataPlanConfig) -> DataView:
        """Creates a plan, or returns the one that has this id and definition.

        Raises:
            DataPlanExistsError: the id is taken by another definition.
            ConfigurationError: a definition that cannot work.
        """
        request = pb.CreateDataPlanRequest(plan_id=plan_id, plan=convert.plan_to_pb(config))
        return convert.view_from_pb((await self.call(self.data().CreateDataPlan, request)).status)

    async def describe_data(self, plan_id: str) -> DataView:
        """How a plan stands."""
        request = pb.DescribeDataRequest(plan_id=plan_id)
        return convert.view_from_pb((await self.call(self.data().DescribeData, request)).status)

    async def list_data_plans(self) -> list[DataView]:
        """All plans, by id."""
        answer = await self.call(self.data().ListDataPlans, pb.ListDataPlansRequest())
        return [convert.view_from_pb(status) for status in answer.plans]

    async def upload_sizes(self, plan_id: str, begin: int, sizes: ArrayLike, *, node: int = 0) -> int:
        """Tells the sizes of consecutive samples; how many of the plan's samples have one now.

        Args:
            plan_id: the plan.
            begin: the first sample.
            sizes: of the samples, (n,), finite and above 0; float32 is sent as such, everything else as float64.
            node: that holds these samples, of a partitioned data set.

        Raises:
            InvalidRequestError: sizes that cannot be, or samples that the plan does not have.
            SizesDisagreeError: somebody said otherwise before.
        """
        values = np.asarray(sizes)
        if values.ndim != 1 or not values.size or values.dtype.kind not in "iuf":
            raise InvalidRequestError(
                f"sizes have the shape {values.shape} and dtype {values.dtype}; give one number for each sample",
                field="sizes",
            )
        number_type = "<f4" if values.dtype == np.float32 else "<f8"
        sized = 0
        for start in range(0, len(values), SLICE_SAMPLES):
            piece = values[start : start + SLICE_SAMPLES].astype(number_type).tobytes()
            count = len(piece) // np.dtype(number_type).itemsize
            sized = await self._upload(plan_id, begin + start, count, piece, number_type, node)
        return sized

    async def join_data(
        self, plan_id: str, worker_id: str, incarnation: int, *, rank: int | None = None, node: int = 0
    ) -> DataView:
        """Makes a registered worker a member, from the next turn on.

        Raises:
            RankTakenError: another living member has the rank.
            WorkerUnknownError, IncarnationSupersededError: it must register, or was replaced.
        """
        request = pb.JoinDataRequest(
            plan_id=plan_id, worker_id=worker_id, incarnation=incarnation, rank=rank, node=node
        )
        return convert.view_from_pb((await self.call(self.data().JoinData, request)).status)

    async def leave_data(self, plan_id: str, worker_id: str, incarnation: int) -> None:
        """Ends a membership: what it held goes to the others."""
        request = pb.LeaveDataRequest(plan_id=plan_id, worker_id=worker_id, incarnation=incarnation)
        await self.call(self.data().LeaveData, request)

    async def stream_shares(
        self,
        plan_id: str,
        worker_id: str,
        incarnation: int,
        *,
        epoch: int,
        after_turn: int = 0,
        wait_seconds: float | None = None,
    ) -> AsyncIterator[DealtShare]:
        """A member's shares of an epoch, as they are dealt, until the epoch is over.

        Args:
            plan_id: the plan.
            worker_id: who.
            incarnation: which process of it.
            epoch: it begins when the one before is over.
            after_turn: the last turn that is known; 0 brings everything that the worker holds.
            wait_seconds: longest time without a share; ``None`` is as long as the stream lasts.

        Raises:
            WorkerNotMemberError: it takes no part (any more).
            EpochNotOverError: not the next epoch.
            WaitExpiredError: no share within the time.
            UnavailableError: the stream was cut; ask again from the last turn that came.
        """
        request = pb.StreamSharesRequest(
            plan_id=plan_id,
            worker_id=worker_id,
            incarnation=incarnation,
            epoch=epoch,
            after_turn=after_turn,
            wait=None if wait_seconds is None else scalars.duration_to_pb(wait_seconds),
        )
        pieces = []
        stream = self.stream(self.data().StreamShares, request, self.deadlines.watch_seconds)
        async with aclosing(stream) as messages:
            async for message in messages:
                pieces.append(message)
                if not message.more:
                    yield convert.share_from_pb(worker_id, pieces)
                    pieces = []

    async def finish_shares(
        self, plan_id: str, worker_id: str, incarnation: int, done: Sequence[tuple[int, float]]
    ) -> tuple[int, ...]:
        """Reports (turn, own compute seconds) of shares; the turns whose shares had gone to others.

        Raises:
            WorkerNotMemberError: it takes no part (any more).
            InvalidRequestError: seconds or a turn that cannot be; nothing has changed.
        """
        request = pb.FinishSharesRequest(
            plan_id=plan_id,
            worker_id=worker_id,
            incarnation=incarnation,
            shares=[pb.FinishedShare(turn=turn, seconds=seconds) for turn, seconds in done],
        )
        return tuple((await self.call(self.data().FinishShares, request)).lost)

    async def save_data(self, plan_id: str) -> bytes:
        """What a training checkpoint has to keep of a plan: what is not finished now will be dealt out again."""
        return bytes((await self.call(self.data().SaveData, pb.SaveDataRequest(plan_id=plan_id))).state)

    async def restore_data(self, plan_id: str, state: bytes) -> DataView:
        """Goes back to a checkpoint. Raises ``InvalidRequestError`` for one of another plan."""
        request = pb.RestoreDataRequest(plan_id=plan_id, state=state)
        require_message(request.ByteSize(), self.limits.max_message_bytes)
        return convert.view_from_pb((await self.call(self.data().RestoreData, request)).status)

    async def _upload(
        self, plan_id: str, begin: int, count: int, payload: bytes, number_type: str, node: int
    ) -> int:
        header = pb.SizesHeader(
            plan_id=plan_id,
            begin=begin,
            count=count,
            type=convert.size_type_to_pb(number_type),
            payload_bytes=len(payload),
            node=node,
        )

        def messages() -> Iterator[pb.UploadSizesRequest]:
            return chunk_messages(header, payload, pb.UploadSizesRequest)

        seconds = self.deadlines.transfer_seconds(len(payload))
        return int((await self.call(self.data().UploadSizes, messages(), seconds)).sized)
