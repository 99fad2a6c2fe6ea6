"""A member's rounds and its place, from a coordinator: what is lost while the process slept is taken again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from chronos_common.clan import RoundClosed, RoundPlan
from chronos_common.clan.definition import ClanDefinition
from chronos_common.errors import ClanFullError, SeatTakenError, WorkerNotMemberError
from chronos_common.runtime import get_logger
from chronos_common.wire import CoordinatorRounds, SyncCoordinatorClient
from chronos_worker.clan.connection import ClanConnection
from chronos_worker.clan.transport import Elastic
from chronos_worker.peers import CoordinatorLink, PeerConfig

_log = get_logger(__name__)

T = TypeVar("T")
PATIENT: Final = 10**9
"""A slow member is no reason to give a step up: the dead are found by their heartbeats."""


class Served:
    """The round keeper and the seat of one member.

    A member that was taken for dead while its process was stopped finds its place gone: it takes one again, and the
    group has it take over the state of a living member where it needs one.

    Args:
        connection: to the coordinator.
        definition: of the clan, the same for all members.

    Raises:
        ChronosError: as ``CoordinatorRounds``.
    """

    def __init__(self, connection: ClanConnection, definition: ClanDefinition) -> None:
        self.client = SyncCoordinatorClient(
            connection.address, deadlines=connection.deadlines, security=connection.security
        )
        try:
            self._rounds = CoordinatorRounds(
                self.client,
                connection.clan,
                definition,
                connection.worker,
                member=connection.member,
                give_up_seconds=connection.give_up_seconds,
                seated=False,
            )
            self._require_room(connection.worker)
            self.transport = Elastic(
                CoordinatorLink(
                    connection.address,
                    f"clan/{connection.clan}",
                    connection.worker,
                    deadlines=connection.deadlines,
                    client=self.client,
                ),
                config=PeerConfig(
                    replicas=False,
                    max_attempts=PATIENT,
                    host=connection.own_host,
                    patience_seconds=connection.patience_seconds,
                    give_up_seconds=connection.give_up_seconds,
                ),
                deadlines=connection.deadlines,
            )
        except BaseException:
            self.client.close()
            raise
        self._seated = self._left = False
        self._round = -1

    def _require_room(self, worker: str) -> None:
        """Who cannot have a place disturbs nobody."""
        view = self._rounds.view()
        if not view.finished and all(one.worker_id not in ("", worker) for one in view.members):
            raise ClanFullError(
                f"all {len(view.members)} places of the clan are taken; start fewer workers, or wait until one is gone",
                members=len(view.members),
            )

    # --- the seat ----------------------------------------------------------------------------------

    @property
    def place(self) -> int:
        return self._rounds.member

    def take(self, address: str, lacking: bool) -> str:
        if self._seated and not lacking:
            return ""
        self._join(address)
        place = self._rounds.place
        return "" if place.source is None else place.view.members[place.source].worker_id

    def keep_only(self, names: Sequence[str]) -> None:
        view = self._rounds.view()
        for one in view.members:
            if one.worker_id and one.worker_id not in names:
                _log.info("member of the clan is gone", member=one.member, worker=one.worker_id)
                self._rounds.epoch = view.epoch
                self._as_member(partial(self._rounds.remove, one.member))

    def ready(self) -> bool:
        """Whether the round runs; it begins when every place is taken."""
        return self._as_member(self._rounds.ready)

    def leave(self) -> None:
        """Gives up the place, then the group; again changes nothing."""
        if self._left:
            return
        self._left = True
        self._rounds.leave()
        self.transport.leave()
        self.client.close()

    # --- the round keeper --------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        return self._rounds.finished

    def begin(self) -> RoundPlan:
        plan = self._as_member(self._rounds.begin)
        self._round = plan.round
        return plan

    def close(self, fitness: float) -> RoundClosed:
        """As :meth:`close_round`, of the running round."""
        return self.close_round(self._rounds.running.round, fitness)

    def close_round(self, number: int, fitness: float) -> RoundClosed:
        """Reports, waits at a collective for all that live, and hears the decision.

        The collective is where a death is seen at once, and where newcomers are let in.

        Raises:
            MovedError: this member has fallen behind, and has moved on.
        """
        self._report(number, fitness)
        self.transport.together(lambda: self.transport.gather(0.0), _ignore, "report")
        return self._as_member(lambda: self._rounds.closed(number))

    def to_json(self) -> dict[str, Any]:
        return self._rounds.to_json()

    def restore(self, parts: Mapping[str, Any]) -> None:
        self._rounds.restore(parts)
        self._round = -1

    # --- parts -------------------------------------------------------------------------------------

    def _report(self, number: int, fitness: float) -> None:
        """A round that has closed without this member takes no report of it."""

        def report() -> None:
            if self._round != number:
                self._round = self._rounds.begin().round
            if self._round == number:
                self._rounds.report(fitness)

        self._as_member(report)

    def _as_member(self, ask: Callable[[], T]) -> T:
        """Asks as a member, a second time if this process had lost its place."""
        try:
            return ask()
        except WorkerNotMemberError:
            self._join()
            return ask()

    def _join(self, address: str | None = None) -> None:
        try:
            self._rounds.join(address=address)
        except SeatTakenError:
            if not self._seated:
                raise
            self._rounds.join(address=address, anywhere=True)
        self._seated, self._round = True, -1
        _log.info("member of a clan", clan=self._rounds.clan_id, member=self._rounds.member)


def _ignore(_: object) -> None:
    """The exchange itself is what counts."""
