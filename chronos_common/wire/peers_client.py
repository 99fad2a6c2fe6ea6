"""The client's methods of peer groups; see :class:`chronos_common.wire.client.CoordinatorClient`."""

from __future__ import annotations

from chronos_common.fleet import Epoch, GroupConfig, GroupView, Peer
from chronos_common.pb.chronos.v1 import peers_pb2 as pb
from chronos_common.wire.convert import peers as convert
from chronos_common.wire.convert import scalars
from chronos_common.wire.transport import Transport


class PeersClient(Transport):
    """Joins groups and hears of their epochs.

    Every method raises ``WorkerUnknownError`` or ``IncarnationSupersededError`` unless the peer is a registered
    worker's newest process, and all but :meth:`join_group` ``PeerUnknownError`` when it is no candidate.
    """

    async def join_group(
        self, group: str, peer: Peer, *, config: GroupConfig, known: Epoch | None = None
    ) -> GroupView:
        """Asks to be taken in.

        Args:
            group: name of the group.
            peer: the process; its instance is the worker's incarnation.
            config: of the group, the same for all members.
            known: the epoch that the process stands in.

        Raises:
            InvalidRequestError: the group has another configuration.
            OverloadedError: there are too many groups.
        """
        request = pb.JoinGroupRequest(
            group=group,
            peer=convert.peer_to_pb(peer),
            first_members=config.first_members,
            min_members=config.min_members,
            grace=scalars.duration_to_pb(config.grace_seconds),
            known=None if known is None else convert.epoch_to_pb(known),
        )
        return convert.view_from_pb((await self.call(self.peers().JoinGroup, request)).group)

    async def watch_group(
        self, group: str, peer: Peer, *, revision: int, entered: int, wait_seconds: float
    ) -> GroupView:
        """The group, at once if it is not the one known, otherwise when it changes or after a wait."""
        request = pb.WatchGroupRequest(
            group=group,
            peer=convert.peer_to_pb(peer),
            revision=revision,
            entered=entered,
            wait=scalars.duration_to_pb(wait_seconds),
        )
        seconds = wait_seconds + self.deadlines.call_seconds
        return convert.view_from_pb((await self.call(self.peers().WatchGroup, request, seconds)).group)

    async def report_failure(self, group: str, peer: Peer, *, epoch: int) -> GroupView:
        """Says that the collectives of an epoch fail."""
        request = pb.ReportFailureRequest(group=group, peer=convert.peer_to_pb(peer), epoch=epoch)
        return convert.view_from_pb((await self.call(self.peers().ReportFailure, request)).group)

    async def leave_group(self, group: str, peer: Peer) -> None:
        """Leaves; one that is no member changes nothing."""
        await self.call(
            self.peers().LeaveGroup, pb.LeaveGroupRequest(group=group, peer=convert.peer_to_pb(peer))
        )
