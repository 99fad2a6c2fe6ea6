"""The worker's place in the fleet: its registration, and the heartbeats that keep it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from chronos_common.errors import (
    AccessError,
    ChronosError,
    IncarnationSupersededError,
    PayloadError,
    RefusalError,
    UnavailableError,
    UnreachableError,
    WorkerUnknownError,
)
from chronos_common.prediction.machine import Machine
from chronos_common.runtime import get_logger
from chronos_common.wire import RegisterResult
from chronos_worker.client import Client
from chronos_worker.lifecycle import Clock, Lifecycle, Sleep
from chronos_worker.retry import Retrier

Holding = Iterable[tuple[str, int]]

_log = get_logger(__name__)


class Membership:
    """One process of a worker, as the coordinator knows it.

    Args:
        client: the coordinator.
        worker_id: stable name.
        instance_id: random name of this process.
        device: for people and schedulers.
        machine: what `chronos probe` measured here, if it did.
        lifecycle: ended when a newer process takes the name.
        retrier: repeats what is not answered.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        client: Client,
        *,
        worker_id: str,
        instance_id: str,
        device: str,
        lifecycle: Lifecycle,
        retrier: Retrier,
        sleep: Sleep,
        machine: Machine | None = None,
    ) -> None:
        self.worker_id = worker_id
        self.incarnation = 0
        """Number of this process; 0 before the first registration."""
        self._client = client
        self._instance_id = instance_id
        self._device = device
        self._machine = machine
        self._lifecycle = lifecycle
        self._retrier = retrier
        self._sleep = sleep
        self._heartbeat_seconds = 1.0

    async def join(self, clock: Clock, connect_seconds: float | None) -> None:
        """Announces this process for the first time, when what does not work has never worked.

        Args:
            clock: monotonic seconds.
            connect_seconds: how long the coordinator may be away; ``None`` is for ever.

        Raises:
            UnreachableError: it was away for longer.
            AccessError: it does not let this worker in, or cannot be trusted. Later such answers are repeated
                like others: certificates and tokens are changed under way.
            RefusalError: it has no place for this worker.
        """
        began = clock()

        async def call() -> RegisterResult:
            try:
                return await self._register()
            except UnavailableError as error:
                if connect_seconds is None or clock() - began < connect_seconds:
                    raise
                raise UnreachableError(
                    f"{error} (tried for {connect_seconds:g} s, --connect-seconds)"
                ) from error

        self._registered(
            await self._retrier.answer("register", call, passing=(AccessError, UnreachableError))
        )

    async def register(self) -> None:
        """Announces this process again, when the coordinator has forgotten it."""
        self._registered(await self._retrier.answer("register", self._register))

    async def _register(self) -> RegisterResult:
        return await self._client.register(
            self.worker_id, self._instance_id, device=self._device, machine=self._machine
        )

    def _registered(self, answer: RegisterResult) -> None:
        self.incarnation = answer.incarnation
        self._heartbeat_seconds = answer.heartbeat_seconds
        _log.info("registered", worker=self.worker_id, incarnation=answer.incarnation, device=self._device)

    async def heartbeats(self, holding: Callable[[], Holding], on_ended: Callable[[str], object]) -> None:
        """Says that this process lives, for ever.

        Args:
            holding: what it works on now: (run, base version).
            on_ended: told a run among those that has ended.
        """
        answered = True
        while True:
            await self._sleep(self._heartbeat_seconds)
            try:
                ended = await self._client.heartbeat(self.worker_id, self.incarnation, holding=holding())
            except IncarnationSupersededError as error:
                self._lifecycle.fail(error)
                return
            except WorkerUnknownError:
                await self.register()
                continue
            except ChronosError as error:
                log = _log.warning if answered else _log.debug
                log("heartbeat failed", worker=self.worker_id, reason=error.reason, problem=str(error))
                answered = False
                continue
            if not answered:
                _log.info("heartbeat answered again", worker=self.worker_id)
            answered = True
            for run_id in ended:
                on_ended(run_id)

    async def leave(self, reason: str) -> None:
        """Says goodbye and returns the lease; a coordinator that does not hear it lets the lease expire."""
        try:
            await self._client.deregister(self.worker_id, self.incarnation, reason=reason)
        except (RefusalError, PayloadError) as error:
            _log.debug("the coordinator had let this worker go", worker=self.worker_id, problem=str(error))
        except ChronosError as error:
            _log.warning(
                "the lease could not be returned and will expire", worker=self.worker_id, problem=str(error)
            )
