"""What is repeated while the coordinator is away, what is not, and how clients find it again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chronos_common.engine import MetricSample
from chronos_common.errors import (
    RunNotFoundError,
    StoreWriteError,
    UnavailableError,
)
from chronos_common.wire import CoordinatorClient, DeadlineConfig, Server
from tests.support.fake_facade import (
    BUDGET,
    FakeFacade,
    address_where_nobody_listens,
    initial_payload,
    run_config,
    run_view,
    server_for,
    version_record,
)

Call = Callable[[CoordinatorClient], Awaitable[Any]]

REPEATED: dict[str, Call] = {
    "create_run": lambda client: client.create_run(run_config(), initial_payload()),
    "run_view": lambda client: client.get_run("run-1"),
    "list_runs": lambda client: client.list_runs(),
    "stop_run": lambda client: client.stop_run("run-1"),
    "verify_run": lambda client: client.verify_run("run-1"),
    "register": lambda client: client.register("worker-0", "instance"),
    "heartbeat": lambda client: client.heartbeat("worker-0", 1),
    "query_metrics": lambda client: client.query_metrics("run-1"),
}

NOT_REPEATED: dict[str, Call] = {
    "commit": lambda client: client.commit(
        "run-1", worker_id="w", incarnation=1, seq=1, prev_applied=0, base=0, payload=b"abc"
    ),
    "checkout": lambda client: client.checkout("run-1"),
    "deregister": lambda client: client.deregister("worker-0", 1),
    "report_metrics": lambda client: client.report_metrics("run-1", [MetricSample(name="m", value=1.0)]),
}


@pytest.mark.parametrize("method", REPEATED)
async def test_idempotent_calls_are_repeated_until_they_succeed(
    client: CoordinatorClient, facade: FakeFacade, method: str
) -> None:
    facade.errors[method] = UnavailableError("not now")
    facade.failures_left[method] = 2
    await REPEATED[method](client)
    assert facade.calls[method] == 3


async def test_a_write_that_may_have_failed_is_repeated_too(
    client: CoordinatorClient, facade: FakeFacade
) -> None:
    facade.errors["register"] = StoreWriteError("disk full")
    facade.failures_left["register"] = 1
    await client.register("worker-0", "instance")
    assert facade.calls["register"] == 2


@pytest.mark.parametrize("method", NOT_REPEATED)
async def test_other_calls_are_made_once(client: CoordinatorClient, facade: FakeFacade, method: str) -> None:
    facade.errors[method] = UnavailableError("not now")
    with pytest.raises(UnavailableError, match="not now"):
        await NOT_REPEATED[method](client)
    assert facade.calls[method] == 1


async def test_refusals_are_not_repeated(client: CoordinatorClient, facade: FakeFacade) -> None:
    facade.errors["run_view"] = RunNotFoundError("no such run", run_id="run-1")
    with pytest.raises(RunNotFoundError):
        await client.get_run("run-1")
    assert facade.calls["run_view"] == 1


async def test_a_call_has_a_deadline(facade: FakeFacade, event_never: Any) -> None:
    facade.hold = event_never
    deadlines = DeadlineConfig(budget_seconds=0.2)
    async with (
        server_for(facade, deadlines=deadlines) as server,
        CoordinatorClient(server.address, deadlines=deadlines) as client,
    ):
        with pytest.raises(UnavailableError, match="did not answer in time"):
            await client.get_run("run-1")


async def test_a_client_finds_a_restarted_coordinator(facade: FakeFacade) -> None:
    first = server_for(facade)
    await first.start()
    async with CoordinatorClient(first.address, deadlines=BUDGET) as client:
        assert await client.get_run("run-1") == run_view("run-1")
        await first.stop()
        with pytest.raises(UnavailableError):
            await client.checkout("run-1")
        async with server_for(facade, port=first.port):
            await client.wait_until_serving(5.0)
            assert (await client.checkout("run-1")).snapshot == facade.payload
            assert await client.get_run("run-1") == run_view("run-1")


async def test_a_closed_client_opens_again(client: CoordinatorClient) -> None:
    await client.get_run("run-1")
    await client.close()
    await client.close()
    assert await client.get_run("run-1") == run_view("run-1")


async def test_a_watch_goes_on_after_a_restart(facade: FakeFacade) -> None:
    facade.records = [version_record(1), version_record(2)]
    first = server_for(facade)
    await first.start()
    seen: list[int] = []
    statuses: list[str] = []
    async with CoordinatorClient(first.address, deadlines=BUDGET) as client:
        second: Server | None = None
        async for update in client.watch_run("run-1"):
            statuses.append(update.status)
            if update.record is not None:
                seen.append(update.record.version)
            if seen == [1, 2] and second is None:
                await first.stop()
                facade.records += [version_record(3)]
                facade.final_status = "finished"
                second = server_for(facade, port=first.port)
                await second.start()
        assert second is not None
        await second.stop()
    assert seen == [1, 2, 3]
    assert statuses[-1] == "finished"


async def test_a_watch_tells_at_once_that_nobody_is_there() -> None:
    with address_where_nobody_listens() as address:
        async with CoordinatorClient(address, deadlines=BUDGET) as client:
            with pytest.raises(UnavailableError):
                await anext(aiter(client.watch_run("run-1")))


async def test_a_watch_gives_up_when_told_to(facade: FakeFacade) -> None:
    facade.records = [version_record(1)]
    server = server_for(facade)
    await server.start()
    async with CoordinatorClient(server.address, deadlines=BUDGET) as client:
        updates = client.watch_run("run-1", give_up_seconds=0.0)
        await anext(updates)
        await anext(updates)
        await server.stop()
        with pytest.raises(UnavailableError):
            await anext(updates)


async def test_a_watch_of_an_unknown_run(client: CoordinatorClient, facade: FakeFacade) -> None:
    facade.errors["run_view"] = RunNotFoundError("no such run")
    with pytest.raises(RunNotFoundError):
        await anext(aiter(client.watch_run("nobody")))


async def test_a_watch_yields_no_version_twice(client: CoordinatorClient, facade: FakeFacade) -> None:
    facade.records = [version_record(version) for version in (2, 1, 2, 3)]
    facade.final_status = "finished"
    updates = [update async for update in client.watch_run("run-1")]
    assert [update.record.version for update in updates if update.record is not None] == [2, 3]
