"""A member's rounds from a coordinator, for training loops without ``async``.

A coordinator that is away makes a pause, no error: calls are repeated, and all of them may be. A task proves that the
process lives while the loop computes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from chronos_common.clan.definition import ClanDefinition
from chronos_common.clan.events import RoundClosed, RoundPlan
from chronos_common.clan.views import ClanView, Place
from chronos_common.errors import (
    ChronosError,
    InvalidRequestError,
    StoreError,
    UnavailableError,
    WaitExpiredError,
)
from chronos_common.runtime import get_logger
from chronos_common.wire.client import CoordinatorClient
from chronos_common.wire.sync import SyncCoordinatorClient

log = get_logger(__name__)

T = TypeVar("T")
WAIT_SECONDS: Final = 5.0
"""Of one call that waits for other members; it is repeated."""

MAX_PAUSE_SECONDS: Final = 0.2
"""Between two calls to a coordinator that is away: a whole clan waits for it."""


class CoordinatorRounds:
    """A member of a clan whose rounds a coordinator folds; a context manager.

    It satisfies the round keeper's interface of ``chronos_worker.clan``, so that the same training loop runs with a
    coordinator and without one. After ``WorkerNotMemberError`` (this process was silent for too long, or late) the
    loop calls :meth:`join`, and takes over the weights of the member that it names.

    Args:
        client: of the coordinator; it stays open when this one leaves, unless :meth:`connect` has made it.
        clan_id: the clan; who comes first creates it.
        definition: of the clan, the same for all members.
        worker_id: stable name of this worker.
        member: the place that it wants, such as its rank; ``None``: any.
        address: where other members reach it; may be empty.
        give_up_seconds: how long the coordinator may be away.
        seated: whether it takes a place at once; otherwise with the first :meth:`join`.

    Raises:
        ChronosError: as ``create_clan``, ``register`` and ``join_clan``.
    """

    def __init__(
        self,
        client: SyncCoordinatorClient,
        clan_id: str,
        definition: ClanDefinition,
        worker_id: str,
        *,
        member: int | None = None,
        address: str = "",
        give_up_seconds: float = 60.0,
        seated: bool = True,
    ) -> None:
        self._client = client
        self.clan_id = clan_id
        self.definition = definition
        self.worker_id = worker_id
        self._wanted, self._address = member, address
        self._give_up_seconds = give_up_seconds
        self._plan: RoundPlan | None = None
        self._error: ChronosError | None = None
        self.epoch = 0
        """Changes of the membership when the running round was fetched."""
        self._own_client = False
        view = self._patiently(lambda one: one.create_clan(clan_id, definition))
        self.finished = view.finished
        """Whether the last round has closed."""
        registered = self._patiently(lambda one: one.register(worker_id, client.instance_id))
        self._incarnation = registered.incarnation
        self._heartbeat_seconds = registered.heartbeat_seconds
        self._place: Place | None = None
        if seated:
            self.join()
        self._beating = client.spawn(self._beat())

    @classmethod
    def connect(
        cls, address: str, clan_id: str, definition: ClanDefinition, worker_id: str, **settings: Any
    ) -> CoordinatorRounds:
        """A member with a client of its own.

        Args:
            address: of the coordinator, ``host:port``.
            clan_id: as the class.
            definition: as the class.
            worker_id: as the class.
            settings: ``member``, ``address`` and ``give_up_seconds`` of the class, ``security`` and ``deadlines`` of
                the client.

        Raises:
            ChronosError: as the class.
        """
        options = {name: settings.pop(name) for name in ("security", "deadlines") if name in settings}
        client = SyncCoordinatorClient(address, **options)
        try:
            rounds = cls(client, clan_id, definition, worker_id, **settings)
        except BaseException:
            client.close()
            raise
        rounds._own_client = True
        return rounds

    # --- membership --------------------------------------------------------------------------------

    def join(self, *, anywhere: bool = False, address: str | None = None) -> Place:
        """Takes a place, once more after it was lost; the answer names the member whose weights to take over.

        Args:
            anywhere: any place will do, whichever it had asked for.
            address: where other members reach it now; by default as before.

        Raises:
            SeatTakenError: another living worker has the place.
            ClanFullError: no place is free.
        """
        self._address = self._address if address is None else address
        self._place = self._patiently(
            lambda one: one.join_clan(
                self.clan_id,
                self.worker_id,
                self._incarnation,
                member=None if anywhere else self._wanted,
                address=self._address,
            )
        )
        self._plan = None
        return self._place

    @property
    def place(self) -> Place:
        """Where it sits, and whose weights it had to take over.

        Raises:
            InvalidRequestError: it has not joined yet.
        """
        if self._place is None:
            raise InvalidRequestError(f"worker {self.worker_id!r} has no place yet; call join() first")
        return self._place

    @property
    def member(self) -> int:
        """Its place."""
        return self.place.member

    def view(self) -> ClanView:
        """How the clan stands: members, their addresses, and the epoch of the membership."""
        return self._patiently(lambda one: one.describe_clan(self.clan_id))

    def remove(self, member: int) -> int:
        """Says that a member cannot be reached, so that nobody waits for its heartbeat; the epoch now.

        Raises:
            WorkerNotMemberError: this process has lost its place; :meth:`join` again.
        """
        self.epoch = self._patiently(
            lambda one: one.remove_member(
                self.clan_id, self.worker_id, self._incarnation, member=member, epoch=self.epoch
            )
        )
        return self.epoch

    # --- rounds ------------------------------------------------------------------------------------

    def ready(self) -> bool:
        """Begins the next round if every member's place is taken, or finds one that runs; it waits for nobody.

        Raises:
            WorkerNotMemberError, UnavailableError: as :meth:`begin`.
        """
        places = self.definition.config.population_size

        async def ask(client: CoordinatorClient) -> bool:
            try:
                await client.fetch_round(self.clan_id, self.worker_id, self._incarnation, places=places)
            except WaitExpiredError:
                return False
            return True

        return self._patiently(ask)

    def begin(self) -> RoundPlan:
        """The plan of the next round, or of the one that runs; it waits for the other members.

        Raises:
            WorkerNotMemberError: this process has lost its place; :meth:`join` again.
            UnavailableError: the coordinator was away for too long.
        """
        found = self._patiently(
            lambda one: one.fetch_round(
                self.clan_id,
                self.worker_id,
                self._incarnation,
                places=self.definition.config.population_size,
                wait_seconds=WAIT_SECONDS,
            )
        )
        self._plan, self.epoch, self.finished = found.plan, found.epoch, found.finished
        return found.plan

    def close(self, fitness: float) -> RoundClosed:
        """Reports this member's validation loss, and returns the decision once all have reported.

        Raises:
            WorkerNotMemberError: this process has lost its place; :meth:`join` again.
            UnavailableError: the coordinator was away for too long.
            InvalidRequestError: no round was begun.
        """
        self.report(fitness)
        return self.closed()

    def report(self, fitness: float) -> None:
        """The first half of :meth:`close`: durable when it returns."""
        plan = self.running
        genome = plan.genomes[self.member]
        self._patiently(
            lambda one: one.report_fitness(
                self.clan_id,
                self.worker_id,
                self._incarnation,
                number=plan.round,
                fitness=fitness,
                genome_id="" if genome is None else genome.genome_id,
            )
        )

    def closed(self, number: int | None = None) -> RoundClosed:
        """The second half of :meth:`close`: it waits for the others.

        Args:
            number: of the round; by default of the one that was begun last.
        """
        number = self.running.round if number is None else number
        decision = self._patiently(
            lambda one: one.close_round(
                self.clan_id,
                self.worker_id,
                self._incarnation,
                number=number,
                wait_seconds=WAIT_SECONDS,
            )
        )
        self.finished = decision.finished
        return decision

    # --- checkpoints -------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """What a checkpoint needs: the clan's state, the same as without a coordinator."""
        parts: dict[str, Any] = json.loads(self._patiently(lambda one: one.save_clan(self.clan_id)))
        return parts

    def restore(self, parts: Mapping[str, Any]) -> None:
        """Back to what :meth:`to_json` said; every member may ask for it, and the first one is enough.

        Raises:
            InvalidRequestError: the state of another clan.
        """
        state = json.dumps(parts).encode()
        self.finished = self._patiently(lambda one: one.restore_clan(self.clan_id, state)).finished
        self._plan = None

    # --- life --------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Gives the place up: the others go on without this member. Again changes nothing."""
        if self._beating.cancelled():
            return
        self._beating.cancel()
        try:
            self._client.leave_clan(self.clan_id, self.worker_id, self._incarnation)
        except ChronosError as error:
            log.warning("worker could not leave its clan", clan=self.clan_id, error=str(error))
        finally:
            if self._own_client:
                self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    @property
    def running(self) -> RoundPlan:
        """The plan that :meth:`begin` returned last.

        Raises:
            InvalidRequestError: no round was begun since the last :meth:`join`.
        """
        if self._plan is None:
            raise InvalidRequestError("no round was begun; call begin() first, and again after join()")
        return self._plan

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            try:
                await self._client.asynchronous.heartbeat(self.worker_id, self._incarnation)
            except (UnavailableError, StoreError):
                continue
            except ChronosError as error:
                self._error = error
                return

    def _patiently(self, ask: Callable[[CoordinatorClient], Coroutine[Any, Any, T]]) -> T:
        return self._client.run(self._until_answered(ask))

    async def _until_answered(self, ask: Callable[[CoordinatorClient], Coroutine[Any, Any, T]]) -> T:
        client = self._client.asynchronous
        heard, pause = time.monotonic(), client.deadlines.reconnect_initial_seconds
        while True:
            if self._error is not None:
                raise self._error
            try:
                return await ask(client)
            except WaitExpiredError:
                heard, pause = time.monotonic(), client.deadlines.reconnect_initial_seconds
            except (UnavailableError, StoreError):
                if time.monotonic() - heard > self._give_up_seconds:
                    raise
                await asyncio.sleep(pause)
                pause = min(2 * pause, client.deadlines.reconnect_max_seconds, MAX_PAUSE_SECONDS)
