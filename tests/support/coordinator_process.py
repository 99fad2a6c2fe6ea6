"""A real coordinator process on a directory and a port that outlive it."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from chronos_common.runtime import ManagedProcess, child_environment
from tests.support.clients import BUDGET, FLEET, MAX_PAYLOAD_BYTES

SNAPSHOT_ENTRIES = 20
"""Few, so that a process may die at any point of a snapshot, and starts from one."""


class CoordinatorProcess:
    """Starts, kills and starts again; each start serves what the one before had made durable.

    Args:
        store: directory of the store.
        port: to listen on; by default one that is free now, which stays the same over restarts.
    """

    def __init__(self, store: Path, *, port: int | None = None) -> None:
        self.store = store
        self.port = free_port() if port is None else port
        self.address = f"127.0.0.1:{self.port}"
        self.process = ManagedProcess(
            [sys.executable, "-m", "chronos_coordinator", *self._flags()],
            name="coordinator",
            env=child_environment(threads=1),
        )

    def start(self) -> CoordinatorProcess:
        """Returns when it serves."""
        self.process.start()
        assert self.process.wait_ready(30.0)["address"] == self.address
        return self

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def restart(self) -> None:
        """SIGKILL, and a new one in its place."""
        self.kill()
        self.start()

    def _flags(self) -> list[str]:
        return [
            f"--port={self.port}",
            f"--store-path={self.store}",
            f"--store-snapshot-entries={SNAPSHOT_ENTRIES}",
            f"--fleet-heartbeat-seconds={FLEET.heartbeat_seconds}",
            f"--fleet-timeout-seconds={FLEET.timeout_seconds}",
            f"--deadlines-budget-seconds={BUDGET.budget_seconds}",
            f"--limits-max-payload-bytes={MAX_PAYLOAD_BYTES}",
            "--metrics-port=none",
            "--log-format=json",
        ]


@contextlib.contextmanager
def coordinator_process(store: Path) -> Iterator[CoordinatorProcess]:
    """One that runs, and is stopped with SIGTERM at the end."""
    coordinator = CoordinatorProcess(store).start()
    try:
        yield coordinator
    finally:
        coordinator.process.stop()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
