"""Handlers of ``chronos.v1.PeerService``: convert, call, convert."""

from __future__ import annotations

from typing import Any, Protocol

import grpc

from chronos_common.fleet import Epoch, GroupConfig, GroupView, Peer
from chronos_common.pb.chronos.v1 import peers_pb2 as pb
from chronos_common.pb.chronos.v1.peers_pb2_grpc import (
    PeerServiceServicer,
    add_PeerServiceServicer_to_server,
)
from chronos_common.wire.admission import Admission
from chronos_common.wire.convert import peers as convert
from chronos_common.wire.convert import scalars
from chronos_common.wire.server import Service
from chronos_common.wire.transport import PEER_SERVICE

Context = grpc.aio.ServicerContext[Any, Any]


class PeerFacade(Protocol):
    """What the handlers need of a coordinator; every method raises ``ChronosError``."""

    async def join(self, name: str, peer: Peer, config: GroupConfig, known: Epoch | None) -> GroupView: ...

    async def watch(
        self, name: str, peer: Peer, revision: int, entered: int, wait_seconds: float
    ) -> GroupView: ...

    async def report(self, name: str, peer: Peer, epoch: int) -> GroupView: ...

    async def leave(self, name: str, peer: Peer) -> None: ...


def peer_service(facade: PeerFacade) -> Service:
    """The service, to be given to a :class:`chronos_common.wire.Server`."""

    def add_to(server: grpc.aio.Server, admission: Admission) -> None:
        add_PeerServiceServicer_to_server(PeerHandlers(facade), server)

    return Service(name=PEER_SERVICE, add_to=add_to)


class PeerHandlers(PeerServiceServicer):
    """One method for each RPC; see the contract for what they do."""

    def __init__(self, facade: PeerFacade) -> None:
        self._facade = facade

    async def JoinGroup(self, request: pb.JoinGroupRequest, context: Context) -> pb.JoinGroupResponse:  # noqa: N802
        known = convert.epoch_from_pb(request.known) if request.HasField("known") else None
        config = convert.config_from_pb(request)
        view = await self._facade.join(*_member(request), config, known)
        return pb.JoinGroupResponse(group=convert.view_to_pb(view))

    async def WatchGroup(self, request: pb.WatchGroupRequest, context: Context) -> pb.WatchGroupResponse:  # noqa: N802
        view = await self._facade.watch(
            *_member(request),
            scalars.count_from_pb(request.revision, "revision"),
            scalars.count_from_pb(request.entered, "entered"),
            scalars.duration_from_pb(request.wait, "wait"),
        )
        return pb.WatchGroupResponse(group=convert.view_to_pb(view))

    async def ReportFailure(  # noqa: N802
        self, request: pb.ReportFailureRequest, context: Context
    ) -> pb.ReportFailureResponse:
        epoch = scalars.count_from_pb(request.epoch, "epoch")
        view = await self._facade.report(*_member(request), epoch)
        return pb.ReportFailureResponse(group=convert.view_to_pb(view))

    async def LeaveGroup(self, request: pb.LeaveGroupRequest, context: Context) -> pb.LeaveGroupResponse:  # noqa: N802
        await self._facade.leave(*_member(request))
        return pb.LeaveGroupResponse()


def _member(request: Any) -> tuple[str, Peer]:
    return scalars.name_from_pb(request.group, "group"), convert.peer_from_pb(request.peer)
