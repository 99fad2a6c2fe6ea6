"""The client for scripts and notebooks: the same methods, blocking.

It runs the asynchronous client on an event loop in a thread of its own, so that it also works where a loop
runs already, as in a notebook. A new method of the client needs one line here.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from chronos_common.wire.client import CoordinatorClient
from chronos_common.wire.deadlines import DeadlineConfig
from chronos_common.wire.limits import WireLimits
from chronos_common.wire.security import ClientSecurity

P = ParamSpec("P")
R = TypeVar("R")


class _Blocking(Generic[P, R]):
    """A method of the asynchronous client as one that blocks."""

    def __init__(self, method: Callable[Concatenate[CoordinatorClient, P], Coroutine[Any, Any, R]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, instance: SyncCoordinatorClient, owner: type[SyncCoordinatorClient]) -> Callable[P, R]:
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return instance.run(self._method(instance.asynchronous, *args, **kwargs))

        call.__doc__ = self.__doc__
        return call


class _Iterating(Generic[P, R]):
    """A stream of the asynchronous client as an ordinary iterator; leaving the loop early ends the call."""

    def __init__(self, method: Callable[Concatenate[CoordinatorClient, P], AsyncIterator[R]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(
        self, instance: SyncCoordinatorClient, owner: type[SyncCoordinatorClient]
    ) -> Callable[P, Iterator[R]]:
        def iterate(*args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
            stream: Any = self._method(instance.asynchronous, *args, **kwargs)
            try:
                while True:
                    try:
                        yield instance.run(stream.__anext__())
                    except StopAsyncIteration:
                        return
            finally:
                instance.run(stream.aclose())

        iterate.__doc__ = self.__doc__
        return iterate


class SyncCoordinatorClient:
    """Talks to one coordinator without ``async``; a context manager. Methods are those of ``CoordinatorClient``.

    Args:
        address: ``host:port``.
        deadlines: the deadline budget; the coordinator's should be the same.
        limits: what the client sends and takes.
        security: TLS and the token; by default neither.
    """

    def __init__(
        self,
        address: str,
        *,
        deadlines: DeadlineConfig | None = None,
        limits: WireLimits | None = None,
        security: ClientSecurity | None = None,
    ) -> None:
        self.instance_id = uuid.uuid4().hex
        """Names this process to the coordinator, whatever it takes part in."""
        self.asynchronous = CoordinatorClient(address, deadlines=deadlines, limits=limits, security=security)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=f"chronos-client-{address}", daemon=True)
        self._thread.start()

    wait_until_serving = _Blocking(CoordinatorClient.wait_until_serving)
    create_run = _Blocking(CoordinatorClient.create_run)
    get_run = _Blocking(CoordinatorClient.get_run)
    list_runs = _Blocking(CoordinatorClient.list_runs)
    stop_run = _Blocking(CoordinatorClient.stop_run)
    verify_run = _Blocking(CoordinatorClient.verify_run)
    watch_run = _Iterating(CoordinatorClient.watch_run)
    register = _Blocking(CoordinatorClient.register)
    heartbeat = _Blocking(CoordinatorClient.heartbeat)
    deregister = _Blocking(CoordinatorClient.deregister)
    checkout = _Blocking(CoordinatorClient.checkout)
    commit = _Blocking(CoordinatorClient.commit)
    report_metrics = _Blocking(CoordinatorClient.report_metrics)
    query_metrics = _Blocking(CoordinatorClient.query_metrics)
    describe_memory = _Blocking(CoordinatorClient.describe_memory)
    store_memory = _Blocking(CoordinatorClient.store_memory)
    forbid_region = _Blocking(CoordinatorClient.forbid_region)
    retrieve_similar = _Blocking(CoordinatorClient.retrieve_similar)
    predict_gradient = _Blocking(CoordinatorClient.predict_gradient)
    find_warm_starts = _Blocking(CoordinatorClient.find_warm_starts)
    join_group = _Blocking(CoordinatorClient.join_group)
    watch_group = _Blocking(CoordinatorClient.watch_group)
    report_failure = _Blocking(CoordinatorClient.report_failure)
    leave_group = _Blocking(CoordinatorClient.leave_group)

    create_data_plan = _Blocking(CoordinatorClient.create_data_plan)
    describe_data = _Blocking(CoordinatorClient.describe_data)
    list_data_plans = _Blocking(CoordinatorClient.list_data_plans)
    upload_sizes = _Blocking(CoordinatorClient.upload_sizes)
    join_data = _Blocking(CoordinatorClient.join_data)
    leave_data = _Blocking(CoordinatorClient.leave_data)
    stream_shares = _Iterating(CoordinatorClient.stream_shares)
    finish_shares = _Blocking(CoordinatorClient.finish_shares)
    save_data = _Blocking(CoordinatorClient.save_data)
    restore_data = _Blocking(CoordinatorClient.restore_data)

    create_clan = _Blocking(CoordinatorClient.create_clan)
    describe_clan = _Blocking(CoordinatorClient.describe_clan)
    list_clans = _Blocking(CoordinatorClient.list_clans)
    watch_clan = _Iterating(CoordinatorClient.watch_clan)
    clan_history = _Blocking(CoordinatorClient.clan_history)
    join_clan = _Blocking(CoordinatorClient.join_clan)
    leave_clan = _Blocking(CoordinatorClient.leave_clan)
    remove_member = _Blocking(CoordinatorClient.remove_member)
    fetch_round = _Blocking(CoordinatorClient.fetch_round)
    report_fitness = _Blocking(CoordinatorClient.report_fitness)
    close_round = _Blocking(CoordinatorClient.close_round)
    save_clan = _Blocking(CoordinatorClient.save_clan)
    restore_clan = _Blocking(CoordinatorClient.restore_clan)
    verify_clan = _Blocking(CoordinatorClient.verify_clan)

    list_devices = _Blocking(CoordinatorClient.list_devices)
    predict_training = _Blocking(CoordinatorClient.predict_training)
    report_steps = _Blocking(CoordinatorClient.report_steps)
    report_training = _Blocking(CoordinatorClient.report_training)

    def spawn(self, work: Coroutine[Any, Any, R]) -> Future[R]:
        """Lets a coroutine run on the client's loop meanwhile."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Runs a coroutine on the client's loop and returns its result; an interrupt cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Closes the connection and ends the thread; again changes nothing."""
        if self._thread.is_alive():
            self.run(self.asynchronous.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
