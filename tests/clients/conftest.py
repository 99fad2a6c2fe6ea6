"""A coordinator for clients in other languages: the one that is named, or a process of this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from chronos_common.runtime import ManagedProcess, child_environment
from chronos_common.wire import CoordinatorClient
from tests.support.containers.engine import build
from tests.support.containers.project import COORDINATOR, TAG, Project
from tests.support.coordinator_process import free_port
from tests.support.foreign_clients import LANGUAGES, ForeignClient, foreign_client

ADDRESS_VARIABLE = "CHRONOS_TEST_COORDINATOR"
CONTAINER = "container"
"""In place of an address: the image of the coordinator, built and started."""


class LocalCoordinator:
    """A coordinator process with its default settings, on a port and a store that outlive it."""

    def __init__(self, store: Path) -> None:
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        flags = (f"--port={port}", f"--store-path={store}", "--metrics-port=none", "--log-format=json")
        argv = [sys.executable, "-m", "chronos_coordinator", *flags]
        self.process = ManagedProcess(argv, name="coordinator", env=child_environment(threads=1))

    def start(self) -> None:
        """Returns when it serves."""
        self.process.start()
        self.process.wait_ready(30.0)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()


@pytest.fixture
def local_coordinator(tmp_path: Path) -> Iterator[LocalCoordinator]:
    """One of the test's own, which it may kill."""
    coordinator = LocalCoordinator(tmp_path / "store")
    coordinator.start()
    yield coordinator
    coordinator.process.stop()


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address in ``CHRONOS_TEST_COORDINATOR``, a container's if that says so, or that of a process."""
    given = os.environ.get(ADDRESS_VARIABLE)
    if given == CONTAINER:
        with Project(CHRONOS_VERSION=TAG) as project:
            build(COORDINATOR, project.config())
            project.up(COORDINATOR)
            yield project.address
        return
    if given:
        yield given
        return
    coordinator = LocalCoordinator(tmp_path_factory.mktemp("clients") / "store")
    coordinator.start()
    yield coordinator.address
    coordinator.process.stop()


@pytest.fixture
async def python_client(address: str) -> AsyncIterator[CoordinatorClient]:
    """What looks at the same coordinator from outside."""
    async with CoordinatorClient(address) as client:
        yield client


@pytest.fixture(params=LANGUAGES)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> ForeignClient:
    """Each of the clients; it can read the test's own folder."""
    return foreign_client(request.param, tmp_path)
