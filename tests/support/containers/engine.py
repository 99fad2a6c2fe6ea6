"""The container engine's command line: one line of explanation when something fails, never a skipped test."""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[3]
BUILD_SECONDS: Final = 600.0
SUBNETS: Final = [ipaddress.ip_network(f"172.30.{number}.0/24") for number in range(60, 250)]


class EngineError(AssertionError):
    """The engine refused or could not; the message says what to do."""


def docker(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    standard_input: str = "",
    timeout_seconds: float = 60.0,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Runs ``docker ARGUMENTS`` at the root of the repository.

    Raises:
        EngineError: there is no engine, or, with ``check``, the command failed.
    """
    try:
        done = subprocess.run(
            ["docker", *arguments],
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
            input=standard_input,
        )
    except FileNotFoundError as error:
        raise EngineError("there is no `docker` on the PATH: install Docker Engine with Compose") from error
    if check and done.returncode:
        raise EngineError(f"docker {' '.join(arguments)}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done


def require_engine() -> None:
    """Raises an ``EngineError`` when no engine with Compose answers."""
    docker("compose", "version")
    if docker("info", check=False).returncode:
        raise EngineError("no container engine answers: start Docker, or set DOCKER_HOST")


def build(service: str, config: Mapping[str, Any]) -> float:
    """Builds the image of a service as its compose file says; the seconds that it took.

    The engine's own ``build`` does it, since Compose hands on to it anyway where it can.

    Raises:
        EngineError: no build, with the end of its output.
    """
    about = config["services"][service]["build"]
    arguments = [f"--build-arg={name}={value}" for name, value in about["args"].items() if value is not None]
    began = time.monotonic()
    try:
        docker(
            "build",
            f"--file={about['dockerfile']}",
            f"--tag={config['services'][service]['image']}",
            *arguments,
            about["context"],
            env={"DOCKER_BUILDKIT": "1"},
            timeout_seconds=BUILD_SECONDS,
        )
    except EngineError as error:
        base = about["args"]["BASE_IMAGE"]
        raise EngineError(
            f"the image of {service} was not built on {base}; where that image cannot be pulled, set "
            f"CHRONOS_BASE_IMAGE to one with Python 3.11 or later: {error}"
        ) from error
    return time.monotonic() - began


def inspect(kind: str, name: str) -> dict[str, Any]:
    """What the engine knows of an image, a container or a network."""
    (found,) = json.loads(docker(kind, "inspect", name).stdout)
    assert isinstance(found, dict)
    return found


def free_subnet() -> str:
    """A subnet that no network of the engine uses; not the first, which another process may just be taking."""
    names = docker("network", "ls", "--quiet").stdout.split()
    listed = json.loads(docker("network", "inspect", *names).stdout)
    taken = [
        ipaddress.ip_network(entry["Subnet"])
        for network in listed
        for entry in network["IPAM"]["Config"] or []
        if ":" not in entry["Subnet"]
    ]
    return str(secrets.choice([net for net in SUBNETS if not any(net.overlaps(other) for other in taken)]))
