"""A worker that dies by SIGKILL, again and again, wherever the test says, over a state directory that outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from prometheus_client import CollectorRegistry

from chronos_common.engine import CommitRecord, RunConfig
from chronos_common.errors import ChronosError, PayloadError, RefusalError, UnavailableError
from chronos_common.metrics import WorkerMetrics
from chronos_worker import Worker, WorkerConfig
from chronos_worker.session import SessionState
from chronos_worker.state_directory import StateDirectory
from chronos_worker.state_file import Identity, unpack_outbox
from tests.support.fake_compute import FakeCompute
from tests.support.fake_coordinator import RUN, FakeCoordinator
from tests.support.fake_time import FakeTime
from tests.support.faulty_client import DELIVER, FaultyClient, Plan, always_deliver

BEFORE_WRITE, AFTER_WRITE, AFTER_SEND, AFTER_ANSWER = (
    "before write",
    "after write",
    "after send",
    "after answer",
)
DEATHS = (BEFORE_WRITE, AFTER_WRITE, AFTER_SEND, AFTER_ANSWER)
"""Moments of a commit at which the process ends."""

WORKER = "w"


class Mortal:
    """One worker through many processes.

    Args:
        folder: for the state directory.
        config: of the run.
        durable: whether the worker has a state directory.
    """

    def __init__(self, folder: Path, config: RunConfig, *, durable: bool = True) -> None:
        self.folder = folder / "state"
        self.time = FakeTime()
        self.coordinator = FakeCoordinator(self.time)
        self.coordinator.create(config=config)
        self.compute = FakeCompute()
        self.config: dict[str, Any] = {"state_dir": self.folder} if durable else {}
        self.registry = CollectorRegistry()

    def live(
        self,
        updates: int,
        death: str | None = None,
        plan: Plan = always_deliver,
        before: Callable[[], object] = lambda: None,
    ) -> FaultyClient:
        """One process: it commits so many updates and stops, or dies at the last of them.

        Args:
            updates: how many.
            death: one of :data:`DEATHS`, or ``None`` for a clean stop.
            plan: what the network does.
            before: called when the process has started.
        """
        life = _Life(self, updates, death, plan)
        before()
        asyncio.run(life.run())
        return life.client

    def kept(self) -> SessionState:
        """What the state directory holds for the run; fails when there is nothing."""
        content = self.directory.read(RUN, "outbox")
        assert content is not None
        view = self.coordinator.get_run(RUN)
        return unpack_outbox(content, Identity.of(WORKER, view), view.config.specs)

    @property
    def directory(self) -> StateDirectory:
        """The worker's directory, not locked."""
        return StateDirectory(self.folder, WORKER)

    @property
    def declared(self) -> list[int]:
        """Places in the journal, among this worker's commits, of those that declare a loss."""
        records = self.coordinator.records(WORKER)
        return [place for place, record in enumerate(records) if record.residual_lost]

    @property
    def records(self) -> list[CommitRecord]:
        """The worker's commits in the journal."""
        return self.coordinator.records(WORKER)


class _Life:
    def __init__(self, mortal: Mortal, updates: int, death: str | None, plan: Plan) -> None:
        self.mortal, self.updates, self.death = mortal, updates, death
        self.done = 0
        self.dead = threading.Event()
        self.image = mortal.folder.with_name("image")
        self.client = _MortalClient(self, mortal.coordinator, plan)
        mortal.registry = CollectorRegistry()
        self.worker = Worker(
            WorkerConfig(worker_id=WORKER, drain_seconds=500.0, **mortal.config),
            metrics=WorkerMetrics(mortal.registry),
            connect=lambda: self.client,
            load=mortal.compute.load(mortal.time),
            clock=mortal.time.clock,
            sleep=mortal.time.sleep,
            rng=random.Random(0),
        )

    async def run(self) -> None:
        self.loop, self.task = asyncio.get_running_loop(), asyncio.current_task()
        self.mortal.compute.before = self.before_update
        write = StateDirectory.write

        def writing(directory: StateDirectory, run_id: str, part: Any, content: bytes) -> None:
            if part == "outbox" and self.last and self.death == BEFORE_WRITE:
                self.die()
            write(directory, run_id, part, content)

        with mock.patch.object(StateDirectory, "write", writing):
            try:
                async with asyncio.timeout(60):
                    await self.worker.run()
            except asyncio.CancelledError:
                assert self.dead.is_set()
        if self.dead.is_set():
            self.bury()

    @property
    def last(self) -> bool:
        return self.done == self.updates

    def before_update(self, _number: int, _arguments: object) -> None:
        self.done += 1
        if self.last and self.death is None:
            self.worker.stop()

    def die(self) -> None:
        """From here on nothing that the process does has an effect: the disk is as it is now."""
        if self.dead.is_set():
            return
        self.dead.set()
        if self.mortal.folder.exists():
            shutil.copytree(self.mortal.folder, self.image)
        assert self.task is not None
        self.loop.call_soon_threadsafe(self.task.cancel)

    def bury(self) -> None:
        shutil.rmtree(self.mortal.folder, ignore_errors=True)
        if self.image.exists():
            self.image.rename(self.mortal.folder)


class _MortalClient(FaultyClient):
    def __init__(self, life: _Life, coordinator: FakeCoordinator, plan: Plan) -> None:
        super().__init__(coordinator, plan)
        self.life = life
        self.heard = False
        """The last commit has its answer."""

    async def _call(self, method: str, decide: Callable[[], Any]) -> Any:
        life = self.life
        if life.dead.is_set():
            raise UnavailableError("the process is dead")
        committing = method == "commit" and life.last
        if (committing and life.death == AFTER_WRITE) or (self.heard and life.death == AFTER_ANSWER):
            await self._die()
        if committing and life.death == AFTER_SEND:
            with contextlib.suppress(ChronosError):
                decide()
            await self._die()
        try:
            return await super()._call(method, decide)
        except (RefusalError, PayloadError):
            raise
        except ChronosError:
            committing = False
            raise
        finally:
            self.heard = self.heard or committing

    async def _die(self) -> None:
        self.life.die()
        await asyncio.Event().wait()


def first_then_deliver(*faults: tuple[str, str]) -> Plan:
    """The faults one after the other, each at the next call of its method; then everything is delivered."""
    left = list(faults)

    def plan(method: str) -> str:
        return left.pop(0)[1] if left and left[0][0] == method else DELIVER

    return plan
