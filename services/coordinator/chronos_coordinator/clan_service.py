"""Handlers of ``chronos.v1.ClanService``: convert, call, convert."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

import grpc

from chronos_common.clan.checking import ClanReport
from chronos_common.clan.definition import ClanDefinition
from chronos_common.clan.events import RoundClosed
from chronos_common.clan.history import RoundRecord
from chronos_common.clan.views import ClanView, FetchedRound, Place
from chronos_common.pb.chronos.v1 import clan_pb2 as pb
from chronos_common.pb.chronos.v1.clan_pb2_grpc import ClanServiceServicer, add_ClanServiceServicer_to_server
from chronos_common.wire.admission import Admission
from chronos_common.wire.chunks import require_admissible
from chronos_common.wire.convert import clan as convert
from chronos_common.wire.convert import scalars
from chronos_common.wire.deadlines import DeadlineConfig
from chronos_common.wire.limits import CHUNK_BYTES
from chronos_common.wire.server import Service
from chronos_common.wire.transport import CLAN_SERVICE

Context = grpc.aio.ServicerContext[Any, Any]


class ClanFacade(Protocol):
    """What the handlers need of a coordinator; every method raises ``ChronosError``."""

    async def create(self, clan_id: str, definition: ClanDefinition) -> ClanView: ...

    def describe(self, clan_id: str) -> ClanView: ...

    def clans(self) -> Sequence[str]: ...

    def watch(self, clan_id: str) -> AsyncIterator[ClanView]: ...

    async def history(self, clan_id: str, first_round: int) -> Sequence[RoundRecord]: ...

    async def join(
        self, clan_id: str, worker: str, incarnation: int, member: int | None, address: str
    ) -> Place: ...

    async def leave(self, clan_id: str, worker: str, incarnation: int) -> None: ...

    async def remove(self, clan_id: str, worker: str, incarnation: int, member: int, epoch: int) -> int: ...

    async def fetch(
        self, clan_id: str, worker: str, incarnation: int, wait_seconds: float
    ) -> FetchedRound: ...

    async def report(
        self, clan_id: str, worker: str, incarnation: int, number: int, fitness: float, genome_id: str
    ) -> bool: ...

    async def close(
        self, clan_id: str, worker: str, incarnation: int, number: int, wait_seconds: float
    ) -> RoundClosed: ...

    async def save(self, clan_id: str) -> bytes: ...

    async def restore(self, clan_id: str, state: bytes) -> ClanView: ...

    async def verify(self, clan_id: str) -> ClanReport: ...


def clan_service(facade: ClanFacade, *, deadlines: DeadlineConfig | None = None) -> Service:
    """The service, to be given to a :class:`chronos_common.wire.Server`."""
    budget = DeadlineConfig() if deadlines is None else deadlines

    def add_to(server: grpc.aio.Server, admission: Admission) -> None:
        add_ClanServiceServicer_to_server(ClanHandlers(facade, admission, budget), server)

    return Service(name=CLAN_SERVICE, add_to=add_to)


class ClanHandlers(ClanServiceServicer):
    """One method for each RPC; see the contract for what they do."""

    def __init__(self, facade: ClanFacade, admission: Admission, deadlines: DeadlineConfig) -> None:
        self._facade = facade
        self._admission = admission
        self._deadlines = deadlines

    async def CreateClan(self, request: pb.CreateClanRequest, context: Context) -> pb.CreateClanResponse:  # noqa: N802
        view = await self._facade.create(_clan_id(request), convert.definition_from_pb(request.definition))
        return pb.CreateClanResponse(status=convert.view_to_pb(view))

    async def DescribeClan(  # noqa: N802
        self, request: pb.DescribeClanRequest, context: Context
    ) -> pb.DescribeClanResponse:
        return pb.DescribeClanResponse(status=convert.view_to_pb(self._facade.describe(_clan_id(request))))

    async def ListClans(self, request: pb.ListClansRequest, context: Context) -> pb.ListClansResponse:  # noqa: N802
        return pb.ListClansResponse(clan_ids=self._facade.clans())

    async def WatchClan(  # noqa: N802
        self, request: pb.WatchClanRequest, context: Context
    ) -> AsyncIterator[pb.WatchClanResponse]:
        async for view in self._facade.watch(_clan_id(request)):
            yield pb.WatchClanResponse(status=convert.view_to_pb(view))

    async def ReadHistory(  # noqa: N802
        self, request: pb.ReadHistoryRequest, context: Context
    ) -> AsyncIterator[pb.ReadHistoryResponse]:
        first = scalars.count_from_pb(request.first_round, "first_round")
        for record in await self._facade.history(_clan_id(request), first):
            yield pb.ReadHistoryResponse(record=convert.record_to_pb(record))

    async def JoinClan(self, request: pb.JoinClanRequest, context: Context) -> pb.JoinClanResponse:  # noqa: N802
        member = request.member if request.HasField("member") else None
        address = scalars.text_from_pb(request.address, "address")
        place = await self._facade.join(_clan_id(request), *_process(request), member, address)
        return pb.JoinClanResponse(
            member=place.member, source=place.source, status=convert.view_to_pb(place.view)
        )

    async def LeaveClan(self, request: pb.LeaveClanRequest, context: Context) -> pb.LeaveClanResponse:  # noqa: N802
        await self._facade.leave(_clan_id(request), *_process(request))
        return pb.LeaveClanResponse()

    async def RemoveMember(  # noqa: N802
        self, request: pb.RemoveMemberRequest, context: Context
    ) -> pb.RemoveMemberResponse:
        epoch = await self._facade.remove(
            _clan_id(request), *_process(request), request.member, request.epoch
        )
        return pb.RemoveMemberResponse(epoch=epoch)

    async def FetchRound(self, request: pb.FetchRoundRequest, context: Context) -> pb.FetchRoundResponse:  # noqa: N802
        found = await self._facade.fetch(_clan_id(request), *_process(request), self._wait(request))
        return pb.FetchRoundResponse(round=convert.round_to_pb(found), epoch=found.epoch)

    async def ReportFitness(  # noqa: N802
        self, request: pb.ReportFitnessRequest, context: Context
    ) -> pb.ReportFitnessResponse:
        number = scalars.count_from_pb(request.round, "round")
        genome_id = scalars.name_from_pb(request.genome_id, "genome_id", optional=True)
        closed = await self._facade.report(
            _clan_id(request), *_process(request), number, request.fitness, genome_id
        )
        return pb.ReportFitnessResponse(closed=closed)

    async def CloseRound(self, request: pb.CloseRoundRequest, context: Context) -> pb.CloseRoundResponse:  # noqa: N802
        number = scalars.count_from_pb(request.round, "round")
        decision = await self._facade.close(
            _clan_id(request), *_process(request), number, self._wait(request)
        )
        return pb.CloseRoundResponse(decision=convert.decision_to_pb(decision))

    async def SaveClan(self, request: pb.SaveClanRequest, context: Context) -> pb.SaveClanResponse:  # noqa: N802
        state = await self._facade.save(_clan_id(request))
        require_admissible(len(state), self._admission.limits.max_message_bytes - CHUNK_BYTES)
        return pb.SaveClanResponse(state=state)

    async def RestoreClan(  # noqa: N802
        self, request: pb.RestoreClanRequest, context: Context
    ) -> pb.RestoreClanResponse:
        view = await self._facade.restore(_clan_id(request), request.state)
        return pb.RestoreClanResponse(status=convert.view_to_pb(view))

    async def VerifyClan(self, request: pb.VerifyClanRequest, context: Context) -> pb.VerifyClanResponse:  # noqa: N802
        return convert.report_to_pb(await self._facade.verify(_clan_id(request)))

    def _wait(self, request: Any) -> float:
        return scalars.duration_from_pb(request.wait, "wait", max_seconds=self._deadlines.max_wait_seconds)


def _clan_id(request: Any) -> str:
    return scalars.name_from_pb(request.clan_id, "clan_id")


def _process(request: Any) -> tuple[str, int]:
    worker_id = scalars.name_from_pb(request.worker_id, "worker_id")
    return worker_id, scalars.count_from_pb(request.incarnation, "incarnation")
