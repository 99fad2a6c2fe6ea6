"""Lost answers, a coordinator that dies, a second process of the same name, and input that is refused."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from chronos_common.wire import CoordinatorClient
from tests.clients.conftest import LocalCoordinator
from tests.support.foreign_clients import ForeignClient, finished
from tests.support.losing_proxy import losing_proxy
from tests.support.polling import poll_async

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]


def fresh(client: ForeignClient) -> str:
    return f"{client.language}-{uuid.uuid4().hex[:8]}"


async def test_a_commit_whose_answer_was_lost_is_sent_again_the_same(
    client: ForeignClient, address: str, python_client: CoordinatorClient, tmp_path: Path
) -> None:
    name = fresh(client)
    (tmp_path / "token").write_text("secret\n")
    async with losing_proxy(address) as (proxied, proxy):
        ended = await client.run(proxied, f"--run-id={name}", f"--token-file={tmp_path / 'token'}")
    assert (ended.status, ended.problem) == (0, "")
    outcome, view = ended.outcome, await python_client.get_run(name)
    # Every commit came twice, the same in every byte, and counted once.
    assert proxy.commits[0::2] == proxy.commits[1::2]
    assert len(set(proxy.commits)) == view.version == view.accepted
    assert outcome["duplicate"] == view.duplicate == view.version
    assert outcome["accepted"] == outcome["returned"] == 0
    assert proxy.authorizations == {"Bearer secret"}


async def test_the_run_goes_on_when_the_coordinator_was_killed_and_is_back(
    client: ForeignClient, local_coordinator: LocalCoordinator
) -> None:
    name, coordinator = fresh(client), local_coordinator
    flags = (f"--run-id={name}", "--pause-seconds=0.1", "--learning-rate=0.5", "--quiet")
    async with (
        CoordinatorClient(coordinator.address) as observer,
        client.running(coordinator.address, *flags) as process,
    ):

        async def at_work() -> bool:
            return any(run.run_id == name and run.version >= 3 for run in await observer.list_runs())

        await poll_async(at_work, "the third version", timeout_seconds=60.0)
        coordinator.kill()
        coordinator.start()
        ended = finished(process, *await process.communicate())
        view = await observer.get_run(name)
    assert (ended.status, ended.problem) == (0, "")
    assert ended.outcome["reached"]
    assert ended.outcome["verified"]
    assert view.version == view.accepted


async def test_a_second_process_of_the_same_worker_ends_the_first(
    client: ForeignClient, address: str, python_client: CoordinatorClient
) -> None:
    name = fresh(client)
    flags = (f"--run-id={name}", f"--worker-id=worker-{name}", "--pause-seconds=0.1", "--learning-rate=0.01")
    async with client.running(address, *flags) as process:

        async def at_work() -> bool:
            return any(run.run_id == name and run.version >= 1 for run in await python_client.list_runs())

        await poll_async(at_work, "the first version", timeout_seconds=60.0)
        await python_client.register(f"worker-{name}", "another process")
        ended = finished(process, *await process.communicate())
    await python_client.stop_run(name)
    assert ended.status == 1
    assert_one_line(ended.problem, "INCARNATION_SUPERSEDED")


@pytest.mark.parametrize(
    ("flags", "status", "told"),
    [
        (("--learning-rate=-1",), 1, "BAD_CONFIGURATION"),
        (("--run-id=a\tb",), 1, "INVALID_REQUEST (field run_id)"),
        (("--worker-id=",), 1, "INVALID_REQUEST (field worker_id)"),
        (("--dimensions=none",), 2, "dimensions"),
        (("--tolerance=-1",), 2, "--tolerance"),
        (("--no-such-option",), 2, "no-such-option"),
        (("--token-file=/no/such/file",), 2, "--token-file"),
        (("--tls-ca=/no/such/file",), 2, "--tls-ca"),
    ],
)
async def test_refused_input_ends_with_one_line(
    client: ForeignClient, address: str, flags: tuple[str, ...], status: int, told: str
) -> None:
    ended = await client.run(address, *flags)
    assert ended.status == status
    assert_one_line(ended.problem, told)


async def test_a_wrong_address_ends_with_one_line(client: ForeignClient) -> None:
    ended = await client.run("127.0.0.1:1", "--quiet")
    assert ended.status == 1
    assert_one_line(ended.problem, "check that it runs and that --coordinator is right")


async def test_help_names_every_option(client: ForeignClient, address: str) -> None:
    ended = await client.run(address, "--help")
    text = "\n".join(ended.lines)
    assert ended.status == 0
    for option in ("coordinator", "run-id", "dimensions", "tolerance", "tls-ca", "token-file"):
        assert option in text


def assert_one_line(problem: str, told: str) -> None:
    assert problem.startswith("chronos-client: ")
    assert problem.count("\n") == 1
    assert told in problem
