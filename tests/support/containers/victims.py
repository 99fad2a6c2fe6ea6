"""A compose cluster as the victim of blows: SIGKILL, freezing, and cut network links of its containers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.support.containers.engine import docker, inspect
from tests.support.containers.project import COORDINATOR, WORKER, Project
from tests.support.polling import poll

LINK: Final = "link of "
"""A target ``"link of worker 2"`` that is paused is a network that is cut."""
HEALTHY_SECONDS: Final = 60.0


class ComposeCluster:
    """What ``chronos_common.cli`` calls a cluster, made of the containers of a project.

    Targets are ``"coordinator"`` and ``"worker N"``; each may have :data:`LINK` in front.
    """

    advice = "look at the containers' logs"

    def __init__(self, project: Project) -> None:
        self._project = project
        self.address = project.address
        workers = {
            f"worker {number}": name for number, name in enumerate(project.containers(WORKER), start=1)
        }
        self._containers = {COORDINATOR: project.container(COORDINATOR), **workers}
        self._aliases = {name: project.aliases(found) for name, found in self._containers.items()}
        self._killed = {"coordinator": 0, "worker": 0}

    @property
    def kills(self) -> Mapping[str, int]:
        """Containers that were killed, by kind."""
        return dict(self._killed)

    def wait_for_workers(self) -> None:
        """Compose has waited."""

    def check(self) -> None:
        """The tests look at the outcome."""

    def leave(self, run_id: str) -> None:
        """The project is removed soon."""

    def kill(self, name: str) -> None:
        """SIGKILL to every process of the container; it stays down."""
        docker("kill", "--signal=KILL", self._containers[name])
        self._killed[name.partition(" ")[0]] += 1

    def restart(self, name: str) -> None:
        """The container again, with its volumes; returns when it is healthy."""
        docker("start", self._containers[name])
        self.wait_healthy(name)

    def pause(self, name: str) -> None:
        """Freezes every process of the container, or takes it off the network."""
        if name.startswith(LINK):
            docker(
                "network", "disconnect", self._project.network(), self._containers[name.removeprefix(LINK)]
            )
            return

        def frozen() -> bool:
            return docker("pause", self._containers[name], check=False).returncode == 0

        # A kernel that is busy may refuse to freeze a container that is.
        poll(frozen, f"{name} is frozen")

    def resume(self, name: str) -> None:
        """Undoes :meth:`pause`."""
        if not name.startswith(LINK):
            docker("unpause", self._containers[name])
            return
        target = name.removeprefix(LINK)
        aliases = [f"--alias={alias}" for alias in self._aliases[target]]
        docker("network", "connect", *aliases, self._project.network(), self._containers[target])

    def wait_healthy(self, name: str) -> None:
        """Returns when the health check of the container passes.

        Raises:
            TimeoutError: it did not in time.
        """
        container = self._containers[name]

        def healthy() -> bool:
            return bool(inspect("container", container)["State"]["Health"]["Status"] == "healthy")

        poll(healthy, f"{name} is healthy", timeout_seconds=HEALTHY_SECONDS)

    def worker_lines(self) -> list[str]:
        """Everything that all workers wrote."""
        names = [name for name in self._containers if name != COORDINATOR]
        return [line for name in names for line in self._project.logs(self._containers[name]).splitlines()]

    def copy_store(self, destination: Path) -> Path:
        """The coordinator's directory as it is at one moment."""
        self.pause(COORDINATOR)
        try:
            docker("cp", f"{self._containers[COORDINATOR]}:/var/lib/chronos/.", str(destination))
        finally:
            self.resume(COORDINATOR)
        return destination
