"""Peer groups of a coordinator: keeps them in memory, and lets members wait for changes.

Nothing of it is durable. Numbers of epochs begin above every earlier coordinator's on the same store, by the store's
fencing epoch; and after a restart the members tell what they know, so that a group that lost nobody goes on in its
epoch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from chronos_common.errors import (
    DrainingError,
    InvalidRequestError,
    OverloadedError,
    PeerUnknownError,
)
from chronos_common.fleet import Epoch, Fleet, Group, GroupConfig, GroupView, Peer
from chronos_common.runtime import get_logger

MAX_GROUPS: Final = 1024
EPOCHS_PER_START: Final = 1 << 32

log = get_logger(__name__)


class PeerDesk:
    """Decides for all groups.

    Args:
        fleet: who lives.
        clock: monotonic seconds.
        max_wait_seconds: longest time that a call may wait; silence counts as death after twice as long or more.
    """

    def __init__(
        self, fleet: Callable[[], Fleet], clock: Callable[[], float], *, max_wait_seconds: float
    ) -> None:
        self._fleet = fleet
        self._clock = clock
        self._max_wait_seconds = max_wait_seconds
        self._groups: dict[str, Group] = {}
        self._changes: dict[str, asyncio.Event] = {}
        self._floor = self._started = 0
        self._draining = False

    def start(self, fencing_epoch: int) -> None:
        """Epochs from now on have numbers above those of all earlier coordinators of the store."""
        self._floor = self._started = fencing_epoch * EPOCHS_PER_START

    def drain(self) -> None:
        """Nobody waits any more."""
        self._draining = True
        for name in self._groups:
            self._changes.pop(name, asyncio.Event()).set()

    async def join(self, name: str, peer: Peer, config: GroupConfig, known: Epoch | None) -> GroupView:
        """Takes a process in.

        Raises:
            WorkerUnknownError, IncarnationSupersededError: it is not a registered worker's newest process.
            InvalidRequestError: the group has another configuration, or is full.
            OverloadedError: there are too many groups.
        """
        self._seen(peer)
        group = self._groups.get(name)
        if group is None:
            if len(self._groups) >= MAX_GROUPS:
                raise OverloadedError(f"{MAX_GROUPS} peer groups exist; try again when one has ended")
            group = Group(config=config, floor=self._floor)
        if group.config != config:
            raise InvalidRequestError(
                f"peer group {name!r} was begun with {group.config}; join it with the same, not {config}",
                group=name,
            )
        if known is not None and known.number > self._started:
            known = None  # decided here: what is left of it is known
        return self._keep(name, group.join(peer, self._clock(), known)).view

    async def watch(
        self, name: str, peer: Peer, revision: int, entered: int, wait_seconds: float
    ) -> GroupView:
        """The group once its revision is another than the one known, or after a wait.

        Raises:
            PeerUnknownError: the process is no candidate.
            WorkerUnknownError, IncarnationSupersededError: as :meth:`join`.
            DrainingError: the coordinator is shutting down.
        """
        self._seen(peer)
        ends = self._clock() + min(wait_seconds, self._max_wait_seconds)
        group = self._keep(name, self._of(name, peer).arrive(peer, self._clock(), entered))
        while group.revision == revision and (now := self._clock()) < ends:
            if self._draining:
                raise DrainingError("the coordinator is shutting down; watch again")
            until = ends if group.deadline is None else min(ends, group.deadline)
            change = self._changes.setdefault(name, asyncio.Event())
            try:
                async with asyncio.timeout(max(0.0, until - now)):
                    await change.wait()
            except TimeoutError:
                self._keep(name, self._of(name, peer).tick(self._clock()))
            group = self._of(name, peer)
        return group.view

    async def report(self, name: str, peer: Peer, epoch: int) -> GroupView:
        """A member says that the collectives of an epoch fail; raises as :meth:`watch`."""
        self._seen(peer)
        log.info("peers report a broken epoch", group=name, peer=peer.name, epoch=epoch)
        return self._keep(name, self._of(name, peer).report(peer, epoch, self._clock())).view

    async def leave(self, name: str, peer: Peer) -> None:
        """A process leaves; of a group that does not exist, too."""
        if name in self._groups:
            self._keep(name, self._groups[name].leave(peer, self._clock()))

    def gone(self, worker_id: str) -> None:
        """A worker's process is known to have ended, or has been silent for too long."""
        for name, group in tuple(self._groups.items()):
            for peer in group.candidates:
                if peer.name == worker_id:
                    group = self._keep(name, group.leave(peer, self._clock()))

    # --- parts -----------------------------------------------------------------------------------

    def _seen(self, peer: Peer) -> None:
        self._fleet().seen(peer.name, int(peer.instance), self._clock())

    def _of(self, name: str, peer: Peer) -> Group:
        group = self._groups.get(name)
        if group is None or peer not in group.candidates:
            raise PeerUnknownError(
                f"worker {peer.name!r} is no candidate of peer group {name!r}: it was taken for dead, or the "
                "coordinator was restarted; join again",
                group=name,
            )
        return group

    def _keep(self, name: str, after: Group) -> Group:
        before = self._groups.get(name)
        if after.epoch.number > max(self._floor, 0 if before is None else before.epoch.number):
            members = [member.name for member in after.epoch.members]
            log.info("peers form an epoch", group=name, epoch=after.epoch.number, members=members)
        self._groups[name] = after
        if before is None or before.revision != after.revision:
            self._changes.pop(name, asyncio.Event()).set()
        if not after.candidates:
            # A group of this name that begins later goes on counting.
            self._floor = max(self._floor, after.epoch.number)
            del self._groups[name]
        return after
