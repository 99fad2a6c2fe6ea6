"""The clients in other languages, as commands; what they need and cannot find is a failure, never a skip."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / "examples" / "clients" / "node"
IMAGE = "chronos-clients:test"

LANGUAGES = ("node", "go", "cpp")
BUILD_SECONDS = 900


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How a client ended."""

    status: int
    lines: list[str]
    problem: str

    @property
    def outcome(self) -> dict[str, Any]:
        """The JSON object that it prints last."""
        assert self.lines, f"it printed nothing, and on stderr {self.problem!r}"
        outcome: dict[str, Any] = json.loads(self.lines[-1])
        return outcome


@dataclass(frozen=True, kw_only=True)
class ForeignClient:
    """One of the clients.

    Attributes:
        language: a key of ``LANGUAGES``.
        argv: the command without its flags.
    """

    language: str
    argv: tuple[str, ...]

    async def run(self, address: str, *flags: str, timeout_seconds: float = 90.0) -> Finished:
        """Runs it to its end."""
        async with self.running(address, *flags) as process, asyncio.timeout(timeout_seconds):
            out, err = await process.communicate()
        return finished(process, out, err)

    @asynccontextmanager
    async def running(self, address: str, *flags: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Starts it; it is killed at the end of the block if it still runs."""
        process = await asyncio.create_subprocess_exec(
            *self.argv,
            f"--coordinator={address}",
            *flags,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def finished(process: asyncio.subprocess.Process, out: bytes, err: bytes) -> Finished:
    """How a process ended that has."""
    assert process.returncode is not None
    return Finished(status=process.returncode, lines=out.decode().splitlines(), problem=err.decode())


def foreign_client(language: str, files: Path) -> ForeignClient:
    """The client in that language.

    Args:
        language: one of ``LANGUAGES``.
        files: a folder whose files it can read.
    """
    if language == "node":
        return ForeignClient(
            language=language, argv=(require("node"), str(node_package() / "src" / "main.js"))
        )
    user = f"--user={os.getuid()}:{os.getgid()}"  # a test's files are its user's alone
    command = ("run", "--rm", "--network=host", user, f"--volume={files}:{files}:ro")
    return ForeignClient(
        language=language, argv=(require("docker"), *command, clients_image(), f"chronos-client-{language}")
    )


def require(command: str) -> str:
    """The path of a command that must be there."""
    found = shutil.which(command)
    assert found is not None, (
        f"the clients' tests need {command!r} on the PATH; see examples/clients/README.md"
    )
    return found


def node_package() -> Path:
    """The Node client, whose packages must have been installed."""
    assert (NODE / "node_modules").is_dir(), "the Node client's packages are missing: run `make clients`"
    return NODE


@cache
def clients_image() -> str:
    """The image with the Go and the C++ client, built unless ``CHRONOS_CLIENTS_IMAGE`` names one."""
    given = os.environ.get("CHRONOS_CLIENTS_IMAGE")
    if given:
        return given
    base = os.environ.get("CHRONOS_BASE_IMAGE")
    build: Sequence[str] = (
        *(require("docker"), "build", "--quiet", "--network=host"),
        *(("--build-arg", f"BASE_IMAGE={base}") if base else ()),
        *("--file", "examples/clients/Dockerfile", "--tag", IMAGE, "."),
    )
    built = subprocess.run(
        build, cwd=ROOT, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    assert built.returncode == 0, f"the image of the Go and C++ clients was not built: {built.stderr[-4000:]}"
    return IMAGE
