"""Members are the processes of an elastic peer group: they die, hang and come, and the others go on.

Everything that members do together is one step of the group, done by all that live or by none. A joiner takes over the
state of a member that waits at such a point, is told which point it is (``point``), and does what the others do there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from chronos_common.errors import PeersLostError, ProcessError
from chronos_common.fleet import Epoch
from chronos_common.wire import DeadlineConfig
from chronos_worker.clan.transport.base import MovedError, T
from chronos_worker.clan.transport.ordered import gathered, ordered_mean
from chronos_worker.peers import PeerConfig, PeerGroup, PeerState
from chronos_worker.peers.catching_up import ANYBODY
from chronos_worker.peers.collectives import Collectives
from chronos_worker.peers.links import GroupLink
from chronos_worker.peers.state import Snapshot


class Seat(Protocol):
    """A member's place in the clan, whoever keeps it."""

    @property
    def place(self) -> int:
        """Its number."""
        ...

    def take(self, address: str, lacking: bool) -> str:
        """Makes sure of the place; the name of the member whose state to take over, if one is lacking, or ``""``."""
        ...

    def keep_only(self, names: Sequence[str]) -> None:
        """Nobody but the members of these names can be reached."""
        ...


class Elastic:
    """One member's end of a peer group.

    Args:
        link: to whoever keeps the group.
        config: how tensors are exchanged; members are never taken for replicas.
        deadlines: the one budget that time limits follow from.
        device: where the tensors lie.
    """

    def __init__(
        self,
        link: GroupLink,
        *,
        config: PeerConfig,
        deadlines: DeadlineConfig | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self._group = PeerGroup(
            link, state=self, config=config, deadlines=deadlines, device=device, companion=self
        )
        self._device = torch.device(device)
        self._seat: Seat | None = None
        self._state: PeerState | None = None
        self._active: Collectives | None = None
        self._places: list[int] = []
        self._moved = False
        self.point = ""
        """Where the members meet next; for one that has moved, where it has to go on."""

    # --- membership ------------------------------------------------------------------------------

    def join(self, seat: Seat, state: PeerState, point: str) -> bool:
        """Joins; whether this member took over the state of another, and goes on at :attr:`point`.

        Raises:
            ChronosError: as ``PeerGroup.join`` and the seat.
        """
        self._seat, self._state, self.point = seat, state, point
        self._group.join()
        moved, self._moved = self._moved, False
        return moved

    def leave(self) -> None:
        """Leaves; the others go on."""
        self._group.leave()

    @property
    def senior(self) -> bool:
        """Whether this member speaks for all."""
        return self._group.rank == 0

    # --- the transport ---------------------------------------------------------------------------

    @property
    def rank(self) -> int:
        return self._seated().place

    @property
    def size(self) -> int:
        return self._group.size

    @property
    def share(self) -> int:
        return self._order().index(self._group.rank)

    def together(self, prepare: Callable[[], T], commit: Callable[[T], object], point: str) -> None:
        if self._active is not None:
            commit(prepare())
            return

        def attempt(collectives: Collectives) -> T:
            self._active = collectives
            try:
                return prepare()
            finally:
                self._active = None

        self.point = point
        self._group.transact(attempt, commit)
        if self._moved:
            self._moved = False
            raise MovedError

    def mean(self, flat: Tensor) -> None:
        if self._active is not None:
            ordered_mean(self._active, flat, self._order())
            return
        self.together(lambda: _tried(flat, self.mean), flat.copy_, "mean")

    def broadcast(self, flat: Tensor, source: int) -> None:
        if self._active is None:
            self.together(
                lambda: _tried(flat, lambda one: self.broadcast(one, source)), flat.copy_, "broadcast"
            )
            return
        if source not in self._places:
            raise ProcessError(f"member {source} is gone; the members are {sorted(self._places)}")
        self._active.wait(self._active.broadcast(flat, self._places.index(source)))

    def gather(self, value: float) -> list[float]:
        if self._active is not None:
            mine = torch.tensor([value], dtype=torch.float64, device=self._device)
            rows = gathered(self._active, mine)[:, 0].tolist()
            return [float(rows[rank]) for rank in self._order()]
        found: list[float] = []
        self.together(lambda: self.gather(value), found.extend, "gather")
        return found

    # --- for the group: the state, and who is who --------------------------------------------------

    def capture(self) -> Snapshot:
        tensors, values = self._held().capture()
        return tensors, {"point": self.point, "state": values}

    def restore(self, snapshot: Snapshot) -> None:
        tensors, values = snapshot
        self._held().restore((tensors, values["state"]))
        self.point, self._moved = str(values["point"]), True

    def introduce(self, epoch: Epoch, rank: int, lacking: bool) -> tuple[int, int]:
        seat = self._seated()
        names = [member.name for member in epoch.members]
        source = seat.take(epoch.members[rank].address, lacking)
        if rank == 0:
            seat.keep_only(names)
        return seat.place, names.index(source) if source in names else ANYBODY

    def met(self, numbers: Sequence[int]) -> None:
        self._places = list(numbers)

    # --- parts -----------------------------------------------------------------------------------

    def _order(self) -> list[int]:
        """Ranks by place: the same however the members came."""
        return sorted(range(len(self._places)), key=lambda rank: (self._places[rank], rank))

    def _seated(self) -> Seat:
        if self._seat is None:
            raise PeersLostError("this member has not joined its clan yet")
        return self._seat

    def _held(self) -> PeerState:
        if self._state is None:
            raise PeersLostError("this member has not joined its clan yet")
        return self._state


def _tried(flat: Tensor, collective: Callable[[Tensor], None]) -> Tensor:
    """What a collective makes of a vector, which stays as it is: it may have to be done again."""
    trial = flat.clone()
    collective(trial)
    return trial
