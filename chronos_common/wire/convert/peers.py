"""Peer groups as messages."""

from __future__ import annotations

from chronos_common.fleet import Epoch, GroupConfig, GroupView, Peer
from chronos_common.pb.chronos.v1 import peers_pb2 as pb
from chronos_common.wire.convert import scalars


def peer_to_pb(peer: Peer) -> pb.Peer:
    """A member; its instance is a worker's incarnation."""
    return pb.Peer(worker_id=peer.name, incarnation=int(peer.instance), address=peer.address)


def peer_from_pb(peer: pb.Peer) -> Peer:
    """Raises ``InvalidRequestError`` for one that cannot be."""
    incarnation = scalars.count_from_pb(peer.incarnation, "peer.incarnation", least=1)
    return Peer(name=peer.worker_id, instance=str(incarnation), address=peer.address)


def epoch_to_pb(epoch: Epoch) -> pb.PeerEpoch:
    """An epoch."""
    members = [peer_to_pb(member) for member in epoch.members]
    return pb.PeerEpoch(number=epoch.number, members=members, since=epoch.since)


def epoch_from_pb(epoch: pb.PeerEpoch) -> Epoch:
    """Raises ``InvalidRequestError`` for one that cannot be."""
    return Epoch(
        number=scalars.count_from_pb(epoch.number, "epoch.number"),
        members=tuple(peer_from_pb(member) for member in epoch.members),
        since=scalars.count_from_pb(epoch.since, "epoch.since"),
    )


def view_to_pb(view: GroupView) -> pb.PeerGroup:
    """A group as its members see it."""
    return pb.PeerGroup(epoch=epoch_to_pb(view.epoch), forming=view.forming, revision=view.revision)


def view_from_pb(view: pb.PeerGroup) -> GroupView:
    """Raises ``InvalidRequestError`` for one that cannot be."""
    return GroupView(
        epoch=epoch_from_pb(view.epoch),
        forming=view.forming,
        revision=scalars.count_from_pb(view.revision, "revision"),
    )


def config_from_pb(request: pb.JoinGroupRequest) -> GroupConfig:
    """What a joiner wants of its group; raises ``ConfigurationError`` where that cannot work."""
    plain = GroupConfig()
    grace = plain.grace_seconds
    if request.HasField("grace"):
        grace = scalars.duration_from_pb(request.grace, "grace")
    return GroupConfig(
        first_members=request.first_members or plain.first_members,
        min_members=request.min_members or plain.min_members,
        grace_seconds=grace,
    )
