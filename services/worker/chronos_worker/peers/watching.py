"""A member's knowledge of its group, kept by a thread of its own while the others compute and wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from chronos_common.errors import (
    ChronosError,
    PeersLostError,
    PeerUnknownError,
    UnavailableError,
    UnreachableError,
    WorkerUnknownError,
)
from chronos_common.fleet import Epoch, GroupView, Peer
from chronos_common.runtime import get_logger
from chronos_worker.peers.links import GroupLink

RETRY_SECONDS: Final = 0.05

_log = get_logger(__name__)


class Watcher:
    """Joins, proves that this member lives, and hears of epochs.

    The thread answers for the member while its step computes: only a process that is dead or stopped is silent.

    Args:
        link: to whoever keeps the group.
        address: host:port of the store that this member offers.
    """

    def __init__(self, link: GroupLink, address: str) -> None:
        self._link = link
        self.peer: Peer = link.open(address)
        self._changed = threading.Condition()
        self._view = GroupView(epoch=Epoch(), forming=False, revision=0)
        self._standing = Epoch()
        self._error: ChronosError | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"peers-{self.peer.name}", daemon=True)

    def start(self) -> None:
        """Joins; raises what the keeper refuses it for."""
        self._heard(self._link.join(None))
        self._thread.start()

    def next_epoch(self, after: int, seconds: float) -> Epoch:
        """The newest epoch above a number that this member belongs to, once there is one.

        Raises:
            UnreachableError: there was none for so long.
            ChronosError: the keeper does not take this member any more.
        """
        deadline = time.monotonic() + seconds

        def found() -> bool:
            epoch = self._view.epoch
            return self._error is not None or (epoch.number > after and epoch.rank(self.peer) is not None)

        with self._changed:
            if not self._changed.wait_for(found, timeout=deadline - time.monotonic()):
                raise UnreachableError(
                    f"no epoch after {after} for {seconds:g} s: too few members, or nobody who keeps the group",
                    after=after,
                )
            if self._error is not None:
                raise self._error
            return self._view.epoch

    def require(self, epoch: Epoch) -> None:
        """Raises ``PeersLostError`` if the collectives of an epoch cannot be finished any more."""
        newest = self._view.epoch
        if newest.since > epoch.number:
            raise PeersLostError(
                f"epoch {epoch.number} is over: {newest.number} has begun without all of its members",
                epoch=epoch.number,
            )

    def grown(self, epoch: Epoch) -> bool:
        """Whether there is a newer epoch, with more members."""
        return self._view.epoch.number > epoch.number

    def entered(self, epoch: Epoch) -> None:
        """This member has entered an epoch: it may grow once all have."""
        self._standing = epoch
        self._tell(lambda: self._link.watch(-1, epoch.number, 0.0))

    def report(self, epoch: Epoch) -> None:
        """The collectives of an epoch fail; who is alive forms the next one."""
        if self._standing.number <= epoch.number:
            self._standing = Epoch()  # not an epoch to be found in again
        self._tell(lambda: self._link.report(epoch.number))

    def close(self) -> None:
        """Leaves the group."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._thread.join()
        try:
            self._link.leave()
        except ChronosError as error:
            _log.debug("could not say goodbye to the group", peer=self.peer.name, problem=str(error))
        self._link.close()

    # --- the thread ------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._closing.is_set():
            try:
                seconds = self._link.heartbeat_seconds / 2
                self._heard(self._link.watch(self._view.revision, self._standing.number, seconds))
            except (PeerUnknownError, WorkerUnknownError):
                self._rejoin()
            except UnavailableError as error:
                _log.debug("the group's keeper is away", peer=self.peer.name, problem=str(error))
                self._closing.wait(RETRY_SECONDS)
            except ChronosError as error:
                self._failed(error)
                return

    def _rejoin(self) -> None:
        try:
            self._heard(self._link.join(self._standing if self._standing.number else None))
        except UnavailableError:
            self._closing.wait(RETRY_SECONDS)
        except ChronosError as error:
            self._failed(error)
            self._closing.set()

    def _tell(self, call: Callable[[], GroupView]) -> None:
        """A call whose message also travels with those of the thread, should it fail."""
        try:
            self._heard(call())
        except (UnavailableError, PeerUnknownError) as error:
            _log.debug("the group's keeper did not take a message", problem=str(error))

    def _heard(self, view: GroupView) -> None:
        with self._changed:
            older = view.epoch.number < self._view.epoch.number
            if older or (view.epoch == self._view.epoch and view.revision == self._view.revision):
                return
            self._view = view
            self._changed.notify_all()

    def _failed(self, error: ChronosError) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()
