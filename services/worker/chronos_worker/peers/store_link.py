"""Groups without a coordinator: the state lies in a store of ``torch.distributed``, changed by compare-and-set.

For plain ``torchrun`` and for tests. Every member applies its own events to the group and writes the result, if
nobody was faster; whoever sees the time for it decides an epoch, and takes those for dead whose heartbeats stop.
The store must outlive the members (``torchrun``'s does), and the clocks of their machines must agree to well within
the grace of the group.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from chronos_common.errors import ConfigurationError, PeerUnknownError, UnavailableError
from chronos_common.fleet import Epoch, FleetConfig, Forming, Group, GroupConfig, GroupView, Peer
from chronos_common.runtime import new_instance_id
from chronos_worker.peers.stores import Store

POLL_SECONDS: Final = 0.02
_STATE: Final = "state"


class StoreLink:
    """A member of the group that lies under a prefix of a store.

    Args:
        store: shared by all members; ``PrefixStore`` keeps several groups apart.
        name: stable name of the member.
        config: of the group; the same for all members.
        fleet: how often members prove that they live, and when silence counts as death.
        wall_clock: seconds that all members agree on.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        config: GroupConfig | None = None,
        fleet: FleetConfig | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._name = name
        self._config = GroupConfig() if config is None else config
        self._fleet = FleetConfig() if fleet is None else fleet
        self._wall_clock = wall_clock
        self._peer: Peer | None = None
        self._beats: dict[str, tuple[int, float]] = {}
        self._beaten = float("-inf")

    @property
    def heartbeat_seconds(self) -> float:
        return self._fleet.heartbeat_seconds

    def open(self, address: str) -> Peer:
        self._peer = Peer(name=self._name, instance=new_instance_id(), address=address)
        return self._peer

    def join(self, known: Epoch | None) -> GroupView:
        self._beat()
        return self._change(lambda group: group.join(self._me, self._wall_clock(), known)).view

    def watch(self, revision: int, entered: int, wait_seconds: float) -> GroupView:
        ends = time.monotonic() + wait_seconds
        first = True
        while True:
            self._beat()
            group = self._read()[1]
            self._require_candidate(group)
            if first or group.forming is not None:
                first = False
                group = self._change(lambda held: held.arrive(self._me, self._wall_clock(), entered))
            group = self._bury(group)
            if group.revision != revision or time.monotonic() >= ends:
                return group.view
            time.sleep(POLL_SECONDS)

    def report(self, epoch: int) -> GroupView:
        return self._change(lambda group: group.report(self._me, epoch, self._wall_clock())).view

    def leave(self) -> None:
        self._change(lambda group: group.leave(self._me, self._wall_clock()))

    def close(self) -> None:
        """Leaves the store to its owner."""

    @property
    def _me(self) -> Peer:
        if self._peer is None:
            raise ConfigurationError("the link has not been opened")
        return self._peer

    def _require_candidate(self, group: Group) -> None:
        if self._me not in group.candidates:
            raise PeerUnknownError(
                f"{self._name!r} is no candidate of its group any more; join again", name=self._name
            )

    # --- the group -------------------------------------------------------------------------------

    def _read(self) -> tuple[str, Group]:
        try:
            text = self._store.get(_STATE).decode() if self._store.check([_STATE]) else ""
        except RuntimeError as error:  # what c10d raises for a lost connection
            raise UnavailableError(f"the group's store cannot be reached: {error}") from error
        return text, _group(text, self._config) if text else Group(config=self._config)

    def _change(self, event: Callable[[Group], Group]) -> Group:
        while True:
            text, before = self._read()
            after = event(before)
            if after == before:
                return before
            wanted = _text(after)
            try:
                found = self._store.compare_set(_STATE, text, wanted).decode()
            except RuntimeError as error:
                raise UnavailableError(f"the group's store cannot be reached: {error}") from error
            if found == wanted:
                return after

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._beaten >= self._fleet.heartbeat_seconds / 2:
            self._beaten = now
            try:
                self._store.add(f"beat/{self._me.instance}", 1)
            except RuntimeError as error:
                raise UnavailableError(f"the group's store cannot be reached: {error}") from error

    def _bury(self, group: Group) -> Group:
        """The group without candidates whose heartbeats have stopped for too long by this member's clock."""
        now = time.monotonic()
        for peer in group.candidates:
            if peer == self._me:
                continue
            count, since = self._beats.get(peer.instance, (-1, now))
            if now - since < self._fleet.heartbeat_seconds / 2 and count >= 0:
                continue
            found = self._store.add(f"beat/{peer.instance}", 0)
            if found != count:
                self._beats[peer.instance] = (found, now)
            elif now - since >= self._fleet.timeout_seconds:
                del self._beats[peer.instance]
                group = self._change(partial(_without, peer, self._wall_clock))
        return group


def _without(peer: Peer, clock: Callable[[], float], group: Group) -> Group:
    return group.leave(peer, clock())


def _text(group: Group) -> str:
    parts = asdict(group)
    del parts["config"]
    parts["entered"] = sorted(group.entered)
    if group.forming is not None:
        parts["forming"]["arrived"] = sorted(group.forming.arrived)
    return json.dumps(parts, sort_keys=True)


def _group(text: str, config: GroupConfig) -> Group:
    parts: dict[str, Any] = json.loads(text)
    epoch, forming = parts["epoch"], parts["forming"]
    return Group(
        config=config,
        epoch=Epoch(**{**epoch, "members": tuple(Peer(**peer) for peer in epoch["members"])}),
        candidates=tuple(Peer(**peer) for peer in parts["candidates"]),
        forming=None if forming is None else Forming(**{**forming, "arrived": frozenset(forming["arrived"])}),
        entered=frozenset(parts["entered"]),
        revision=parts["revision"],
        floor=parts["floor"],
    )
