"""``Worker``: one worker, in a process of its own or in a thread of somebody's script."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from chronos_common.errors import ChronosError, ConfigurationError
from chronos_common.metrics import WorkerMetrics
from chronos_common.prediction.machine import read_machine
from chronos_common.runtime import default_worker_id, get_logger, new_instance_id
from chronos_common.wire import ClientSecurity, CoordinatorClient, DeadlineConfig, WireLimits, run
from chronos_worker.client import Client
from chronos_worker.compute_thread import ComputeThread
from chronos_worker.config import WorkerConfig
from chronos_worker.devices import device_label, resolve_device, use_threads
from chronos_worker.lifecycle import Clock, Interrupted, Lifecycle, Sleep
from chronos_worker.loop import LoadTrainer, WorkLoop
from chronos_worker.membership import Membership
from chronos_worker.pace import TimeAccount
from chronos_worker.retry import Backoff, Retrier
from chronos_worker.sessions import Sessions
from chronos_worker.state_directory import StateDirectory
from chronos_worker.trainer import load_trainer

_log = get_logger(__name__)


class Worker:
    """Checks versions out of a coordinator, works on them and commits updates, until it is stopped.

    In a program with an event loop: ``await Worker(config).run()``. In a script, in a thread of its own::

        with Worker(WorkerConfig(run_id="mine", problems=("mylab.problems:*",))):
            ...

    It reconnects by itself for as long as it takes. Tensor operations of the whole process use
    ``config.threads`` threads while it works.

    Args:
        config: what to work on, for whom and how.
        deadlines: the deadline budget; the coordinator's should be the same.
        limits: what is sent and taken.
        security: TLS and the token; by default neither.
        metrics: what is reported; by default to nobody.
        on_registered: called in the worker's event loop once the coordinator knows it.
        connect: makes the client.
        load: makes the trainer of a run; by default through the allow-list of the configuration.
        clock: monotonic seconds.
        sleep: waits for so many seconds.
        rng: source of the jitter in pauses.
    """

    def __init__(
        self,
        config: WorkerConfig | None = None,
        *,
        deadlines: DeadlineConfig | None = None,
        limits: WireLimits | None = None,
        security: ClientSecurity | None = None,
        metrics: WorkerMetrics | None = None,
        on_registered: Callable[[], object] | None = None,
        connect: Callable[[], Client] | None = None,
        load: LoadTrainer | None = None,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self.config = WorkerConfig() if config is None else config
        self.worker_id = self.config.worker_id or default_worker_id()
        self._device = resolve_device(self.config.device)
        self._metrics = WorkerMetrics() if metrics is None else metrics
        self._on_registered = on_registered
        self._connect = connect or (
            lambda: CoordinatorClient(
                self.config.coordinator, deadlines=deadlines, limits=limits, security=security
            )
        )
        self._load: LoadTrainer = load or (
            lambda work: load_trainer(work, allow=self.config.problems, device=self._device, clock=clock)
        )
        self._clock = clock
        self._sleep = sleep
        self._rng = random.Random() if rng is None else rng
        self._instance_id = new_instance_id()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lifecycle: Lifecycle | None = None
        self._stop_asked = False
        self._lock = threading.Lock()
        self._compute: ComputeThread | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    # --- in an event loop ------------------------------------------------------------------------

    async def run(self) -> None:
        """Works until :meth:`stop`, or until the run named in the configuration is over.

        Raises:
            IncarnationSupersededError: another process has taken this worker's id.
            ProblemError, ConfigurationError, RefusalError: the run named in the configuration cannot be
                worked on here; the message says why and what to do.
            AccessError: the coordinator does not let this worker in, or cannot be trusted.
            UnreachableError: it has not answered once within ``config.connect_seconds``.
            StateDirectoryError: another process of this worker holds the state directory, or it cannot be
                written.
        """
        with self._state_directory() as directory:
            await self._run(directory)

    async def _run(self, directory: StateDirectory | None) -> None:
        lifecycle = Lifecycle(drain_seconds=self.config.drain_seconds, clock=self._clock, sleep=self._sleep)
        self._compute = ComputeThread(f"compute-{self.worker_id}", lambda: use_threads(self.config.threads))
        with self._lock:
            self._loop, self._lifecycle = asyncio.get_running_loop(), lifecycle
            if self._stop_asked:
                lifecycle.stop()
        try:
            async with self._connect() as client:
                await self._serve(client, lifecycle, self._compute, directory)
        finally:
            with self._lock:
                self._loop = self._lifecycle = None
            await lifecycle.close()
            self._compute.close()
        if lifecycle.error is not None:
            raise lifecycle.error

    @contextmanager
    def _state_directory(self) -> Iterator[StateDirectory | None]:
        if self.config.state_dir is None:
            yield None
            return
        directory = StateDirectory(self.config.state_dir, self.worker_id)
        directory.open()
        try:
            yield directory
        finally:
            directory.close()

    async def _serve(
        self,
        client: Client,
        lifecycle: Lifecycle,
        compute: ComputeThread,
        directory: StateDirectory | None,
    ) -> None:
        retrier = Retrier(self._backoff, self._metrics)
        membership = Membership(
            client,
            worker_id=self.worker_id,
            instance_id=self._instance_id,
            device=device_label(self._device),
            lifecycle=lifecycle,
            retrier=retrier,
            sleep=self._sleep,
            machine=None if self.config.machine is None else read_machine(self.config.machine),
        )
        loop = WorkLoop(
            self.config,
            client=client,
            membership=membership,
            lifecycle=lifecycle,
            thread=compute,
            load=self._load,
            sessions=Sessions(
                directory,
                thread=compute,
                metrics=self._metrics,
                clock=self._clock,
                theta_seconds=self.config.state_theta_seconds,
            ),
            retrier=retrier,
            backoff=self._backoff,
            account=TimeAccount(self._clock, self._metrics),
            metrics=self._metrics,
            clock=self._clock,
        )
        try:
            await lifecycle.unless_stopping(membership.join(self._clock, self.config.connect_seconds))
        except Interrupted:
            return
        if self._on_registered is not None:
            self._on_registered()
        beats = asyncio.create_task(membership.heartbeats(loop.holding, loop.run_ended))
        # Heartbeats end only when the worker is superseded; an unexpected error must not go unnoticed.
        beats.add_done_callback(lambda task: _end_with(task, lifecycle))
        try:
            await loop.run()
        finally:
            beats.cancel()
            await asyncio.gather(beats, return_exceptions=True)
            if lifecycle.error is None:
                await membership.leave("the worker stops")

    def _backoff(self) -> Backoff:
        return Backoff(
            rng=self._rng,
            sleep=self._sleep,
            first_seconds=self.config.retry_seconds,
            longest_seconds=self.config.max_retry_seconds,
        )

    def stop(self) -> None:
        """Asks the worker to finish what it is doing, return its lease and end; from any thread, at any time."""
        with self._lock:
            self._stop_asked = True
            if self._loop is not None and self._lifecycle is not None:
                self._loop.call_soon_threadsafe(self._lifecycle.stop)

    @property
    def busy(self) -> bool:
        """Whether tensor work is going on, perhaps some that the drain time did not wait for."""
        return self._compute is not None and self._compute.busy

    # --- in a thread -----------------------------------------------------------------------------

    def start(self) -> Self:
        """Runs in a thread of its own from now on.

        Raises:
            ConfigurationError: it has been started already.
        """
        if self._thread is not None:
            raise ConfigurationError(f"worker {self.worker_id!r} has been started already; make another one")
        self._thread = threading.Thread(target=self._run_in_thread, name=self.worker_id, daemon=True)
        self._thread.start()
        return self

    def join(self, timeout_seconds: float | None = None) -> bool:
        """Waits until the thread has ended; whether it has. Raises what :meth:`run` raised."""
        if self._thread is None:
            return True
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            return False
        error, self._error = self._error, None
        if error is not None:
            raise error
        return True

    def _run_in_thread(self) -> None:
        try:
            run(self.run())
        except BaseException as error:  # noqa: BLE001 - join() raises it
            if not isinstance(error, ChronosError):
                _log.exception("worker failed", worker=self.worker_id)
            self._error = error

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.join()


def _end_with(task: asyncio.Task[None], lifecycle: Lifecycle) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        lifecycle.fail(
            error if isinstance(error, ChronosError) else ChronosError(f"heartbeats failed: {error!r}")
        )
