"""Elastic groups of peers: which members form which epoch, decided one event after the other.

An *epoch* is one composition of a group, with a number that only grows; members exchange tensors within one epoch.
Whoever may belong is a *candidate*, in order of seniority. Something that changes the candidates, or a report that
the epoch's collectives fail, begins the *forming* of the next epoch. Every candidate that answers while it goes on has
arrived; the epoch is decided as soon as all have, or when the time for it is over, without those that did not answer.
So the dead cost at most ``grace_seconds`` once their loss is reported, and at most the heartbeats' timeout otherwise.

Growth is orderly: an epoch grows into the next one only after all its members have entered it, and they finish their
step first. So while members enter an epoch, a newer one always means that the older is broken, and nobody is left
waiting in it for somebody who has moved on.

Pure: a group is a value, an event makes another, the clock is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from chronos_common.errors import ConfigurationError, InvalidRequestError, PeerUnknownError
from chronos_common.fleet.membership import require_name
from chronos_common.runtime import require_kinds

MAX_PEERS: Final = 1024


@dataclass(frozen=True, kw_only=True)
class GroupConfig:
    """What a group waits for.

    Attributes:
        first_members: members of the first epoch, before which nothing begins.
        min_members: fewest members of a later epoch; with fewer, the group waits for joiners.
        grace_seconds: how long a forming waits for candidates that do not answer.
    """

    first_members: int = 1
    min_members: int = 1
    grace_seconds: float = 0.3

    def __post_init__(self) -> None:
        require_kinds(self)
        if not 1 <= self.min_members <= self.first_members <= MAX_PEERS:
            raise ConfigurationError(
                f"min_members is {self.min_members} and first_members {self.first_members}; "
                f"1 <= min_members <= first_members <= {MAX_PEERS} must hold"
            )
        if not (math.isfinite(self.grace_seconds) and self.grace_seconds > 0.0):
            raise ConfigurationError(f"grace_seconds is {self.grace_seconds}; it must be finite and above 0")


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One process of a member.

    Attributes:
        name: stable name of the member.
        instance: which process of it.
        address: host:port of the store through which others find it, when it has rank 0.
    """

    name: str
    instance: str
    address: str

    def __post_init__(self) -> None:
        for field in ("name", "instance", "address"):
            require_name(getattr(self, field), field)


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One composition of a group. Number 0, without members, is before the first.

    Attributes:
        number: grows from epoch to epoch.
        members: a member's rank is its place.
        since: the oldest epoch that this one has grown out of without a loss. Collectives of epochs before it
            cannot be finished.
    """

    number: int = 0
    members: tuple[Peer, ...] = ()
    since: int = 0

    def rank(self, peer: Peer) -> int | None:
        """The peer's rank; ``None`` if it is not a member."""
        return next((rank for rank, member in enumerate(self.members) if _same(member, peer)), None)


@dataclass(frozen=True, kw_only=True)
class Forming:
    """An epoch that is being formed.

    Attributes:
        arrived: names of the candidates that have answered.
        closes: until when the others are awaited.
        broken: whether the collectives of the last epoch were reported to fail.
    """

    arrived: frozenset[str]
    closes: float
    broken: bool = False


@dataclass(frozen=True, kw_only=True)
class GroupView:
    """What a member is told: the last epoch decided, whether another is being formed, and the revision."""

    epoch: Epoch
    forming: bool
    revision: int


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group as a value; every method returns the next one, or itself when nothing changes.

    Attributes:
        config: what it waits for.
        epoch: the last one decided.
        candidates: who may belong, in order of seniority.
        forming: the next epoch on its way, if any.
        entered: names of the members that have entered the last epoch.
        revision: grows with everything that members have to hear of.
        floor: epochs decided here have larger numbers.
    """

    config: GroupConfig
    epoch: Epoch = Epoch()
    candidates: tuple[Peer, ...] = ()
    forming: Forming | None = None
    entered: frozenset[str] = frozenset()
    revision: int = 0
    floor: int = 0

    # --- events ----------------------------------------------------------------------------------

    def join(self, peer: Peer, now: float, known: Epoch | None = None) -> Group:
        """A process asks to be taken in; an older one of its name is dead.

        Args:
            peer: who.
            now: seconds of the clock.
            known: the epoch in which it stands. A group that lost its memory (its keeper restarted) takes the
                newest that it is told of for its own, so that nobody is disturbed.

        Raises:
            InvalidRequestError: the group is full.
        """
        group = self._restored(known, now)
        if peer in group.candidates:
            return group.arrive(peer, now)
        others = tuple(other for other in group.candidates if other.name != peer.name)
        if len(others) >= MAX_PEERS:
            raise InvalidRequestError(f"the group has {MAX_PEERS} members already, and takes no more")
        # Only the newest process of a name may count as arrived.
        return replace(group, candidates=(*others, peer))._form(now, arrived={peer.name})

    def leave(self, peer: Peer, now: float) -> Group:
        """A process says goodbye, or is known to be dead; one that is no candidate changes nothing."""
        if not any(_same(peer, other) for other in self.candidates):
            return self
        others = tuple(other for other in self.candidates if not _same(peer, other))
        return replace(self, candidates=others)._form(now)

    def report(self, peer: Peer, epoch: int, now: float) -> Group:
        """A member says that the collectives of an epoch fail; raises as :meth:`arrive`."""
        self._require_candidate(peer)
        if epoch != self.epoch.number or self.epoch.rank(peer) is None:
            return self.arrive(peer, now)
        return self._form(now, arrived={peer.name}, broken=True)

    def arrive(self, peer: Peer, now: float, entered: int = 0) -> Group:
        """A candidate has answered.

        Args:
            peer: who.
            now: seconds of the clock.
            entered: the last epoch that it has entered.

        Raises:
            PeerUnknownError: it is no candidate: it was taken for dead, or never joined.
        """
        self._require_candidate(peer)
        group = self
        if entered == self.epoch.number and peer.name not in self.entered:
            group = replace(group, entered=group.entered | {peer.name})
        if group.forming is not None and peer.name not in group.forming.arrived:
            forming = replace(group.forming, arrived=group.forming.arrived | {peer.name})
            group = replace(group, forming=forming)
        return group.tick(now)

    def tick(self, now: float) -> Group:
        """Decides the epoch that is being formed, if it is time."""
        forming = self.forming
        if forming is None:
            return self
        missing = [peer for peer in self.candidates if peer.name not in forming.arrived]
        if missing and now < forming.closes:
            return self
        living = tuple(peer for peer in self.candidates if peer.name in forming.arrived)
        group = replace(self, candidates=living, revision=self.revision + bool(missing))
        number = max(self.epoch.number, self.floor) + 1
        members = _by_seniority(living, self.epoch)
        epoch = Epoch(number=number, members=members, since=number)
        if self.epoch.number and not forming.broken and not lost(self.epoch, epoch):
            if not all(member.name in self.entered for member in self.epoch.members):
                return group
            epoch = replace(epoch, since=self.epoch.since)
        if len(living) < self._needed:
            return group
        return replace(group, epoch=epoch, forming=None, entered=frozenset(), revision=group.revision + 1)

    @property
    def deadline(self) -> float | None:
        """When :meth:`tick` would decide without another event; ``None`` if it would not."""
        forming = self.forming
        if forming is None or all(peer.name in forming.arrived for peer in self.candidates):
            return None
        return forming.closes

    @property
    def view(self) -> GroupView:
        """What members are told."""
        return GroupView(epoch=self.epoch, forming=self.forming is not None, revision=self.revision)

    # --- parts -----------------------------------------------------------------------------------

    @property
    def _needed(self) -> int:
        return self.config.min_members if self.epoch.number else self.config.first_members

    def _form(self, now: float, *, arrived: Iterable[str] = (), broken: bool = False) -> Group:
        before = self.forming
        answered = frozenset(arrived)
        closes = now + self.config.grace_seconds
        # Who answered before a report may be the one who has died: all are asked anew.
        if before is not None and (before.broken or not broken):
            awaited = {peer.name for peer in self.candidates} - answered - before.arrived
            # Those who are awaited gain no time by what others do.
            closes = before.closes if awaited else closes
            answered |= before.arrived & {peer.name for peer in self.candidates}
            broken = before.broken
        forming = Forming(arrived=answered, closes=closes, broken=broken)
        return replace(self, forming=forming, revision=self.revision + 1).tick(now)

    def _restored(self, known: Epoch | None, now: float) -> Group:
        decided_here = self.epoch.number > self.floor
        if known is None or decided_here or not self.epoch.number < known.number <= self.floor:
            return self
        names = {peer.name for peer in known.members}
        others = tuple(peer for peer in self.candidates if peer.name not in names)
        closes = now + self.config.grace_seconds
        return replace(
            self,
            epoch=known,
            candidates=(*known.members, *others),
            forming=None if self.forming is None else replace(self.forming, closes=closes),
            entered=frozenset(),
            revision=self.revision + 1,
        )

    def _require_candidate(self, peer: Peer) -> None:
        if not any(_same(peer, other) for other in self.candidates):
            raise PeerUnknownError(
                f"process {peer.instance!r} of {peer.name!r} is not among the candidates of this group: it was "
                "taken for dead, or has not joined; join again",
                name=peer.name,
            )


def lost(before: Epoch, after: Epoch) -> bool:
    """Whether a member of one epoch is missing in another: collectives of the first cannot be finished."""
    return any(after.rank(member) is None for member in before.members)


def _same(one: Peer, other: Peer) -> bool:
    return one.name == other.name and one.instance == other.instance


def _by_seniority(living: tuple[Peer, ...], before: Epoch) -> tuple[Peer, ...]:
    """Members of the epoch before first, in its order: rank 0 is one that knows the state, if any does."""
    ranks = {peer: rank for rank, peer in enumerate(before.members)}
    return tuple(sorted(living, key=lambda peer: ranks.get(peer, len(ranks))))
