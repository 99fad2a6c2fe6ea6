"""A member's line to whoever keeps its group; what decides is ``chronos_common.fleet.groups``."""

from __future__ import annotations

from typing import Protocol

from chronos_common.fleet import Epoch, GroupView, Peer


class GroupLink(Protocol):
    """The calls of a member; blocking, and safe to be made from two threads.

    Every call proves that the member lives. Each raises ``UnavailableError`` when the keeper is away, and all
    but :meth:`join` ``PeerUnknownError`` when the group has given the member up: it must join again.
    """

    @property
    def heartbeat_seconds(self) -> float:
        """Longest time between two calls of a member that lives."""
        ...

    def open(self, address: str) -> Peer:
        """Begins; the member's identity. ``address`` is host:port of the store that it offers to others."""
        ...

    def join(self, known: Epoch | None) -> GroupView:
        """Asks to be taken in, standing in the epoch ``known``."""
        ...

    def watch(self, revision: int, entered: int, wait_seconds: float) -> GroupView:
        """The group, at once if its revision is not the one known, otherwise when it changes or after a wait."""
        ...

    def report(self, epoch: int) -> GroupView:
        """Says that the collectives of an epoch fail."""
        ...

    def leave(self) -> None:
        """Says goodbye."""
        ...

    def close(self) -> None:
        """Ends; nothing is called afterwards."""
        ...
