"""One compose project of the repository's files: isolated by name, subnet and ports, removed at the end."""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.support.containers.engine import ROOT, docker, free_subnet, inspect

COORDINATOR: Final = "coordinator"
WORKER: Final = "worker"
UP_SECONDS: Final = 90.0
TAG: Final = f"test-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}"
"""One tag for each checkout: its images replace each other, and those of another are left alone."""


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Project:
    """``docker compose`` with its own project; a context manager that removes everything, volumes too.

    Args:
        files: further compose files, over ``docker-compose.yml``.
        variables: of the environment, over this process's.

    Attributes:
        address: ``host:port`` of the coordinator, from the host.
        up_seconds: how long the last :meth:`up` took.
    """

    def __init__(self, *files: Path | str, **variables: str) -> None:
        self.name = f"chronos-test-{secrets.token_hex(4)}"
        self.port = free_port()
        self.prometheus_port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.up_seconds = math.nan
        self._files = ["docker-compose.yml", *map(str, files)]
        self._env = {
            "CHRONOS_PORT": str(self.port),
            "CHRONOS_PROMETHEUS_PORT": str(self.prometheus_port),
            "CHRONOS_SUBNET": free_subnet(),
            **variables,
        }

    def compose(
        self, *arguments: str, timeout_seconds: float = UP_SECONDS, check: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs ``docker compose ARGUMENTS`` on the project, with further variables of the environment."""
        files = [f"--file={name}" for name in self._files]
        return docker(
            "compose",
            *files,
            f"--project-name={self.name}",
            *arguments,
            env={**self._env, **variables},
            timeout_seconds=timeout_seconds,
            check=check,
        )

    def config(self) -> dict[str, Any]:
        """The project as Compose understands it."""
        found = json.loads(self.compose("--profile=*", "config", "--format=json").stdout)
        assert isinstance(found, dict)
        return found

    def up(self, *services: str, workers: int = 3) -> None:
        """Returns when everything is healthy; :attr:`up_seconds` is then how long that took."""
        began = time.monotonic()
        scale = [f"--scale={WORKER}={workers}"] if not services or WORKER in services else []
        self.compose("up", "--wait", "--no-build", "--quiet-pull", *scale, *services)
        self.up_seconds = time.monotonic() - began

    def containers(self, service: str) -> list[str]:
        """Ids of the service's containers, running or not, in order of their number."""
        rows = self.compose("ps", "--all", "--format=json", service).stdout.splitlines()
        found = sorted((json.loads(row) for row in rows), key=lambda row: row["Name"])
        return [row["ID"] for row in found]

    def container(self, service: str) -> str:
        """Id of the service's only container."""
        (found,) = self.containers(service)
        return found

    def logs(self, container: str) -> str:
        """All that a container wrote, of every time that it was started."""
        done = docker("logs", container)
        return done.stdout + done.stderr

    def network(self, name: str = "chronos") -> str:
        """The engine's name of a network of the project."""
        return f"{self.name}_{name}"

    def aliases(self, container: str) -> Sequence[str]:
        """The names that a container answers to in the project's network."""
        networks = inspect("container", container)["NetworkSettings"]["Networks"]
        found: Sequence[str] = networks[self.network()]["Aliases"] or []
        return found

    def cli(self, *arguments: str, timeout_seconds: float = 400.0) -> subprocess.CompletedProcess[str]:
        """``docker compose run --rm cli ARGUMENTS``."""
        return self.compose(
            "run", "--rm", "--no-TTY", "cli", *arguments, timeout_seconds=timeout_seconds, check=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.compose(
            "--profile=*", "down", "--volumes", "--remove-orphans", "--timeout=2", timeout_seconds=120.0
        )
