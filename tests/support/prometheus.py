"""Prometheus and promtool: those on the PATH, or those of the image that ``docker-compose.yml`` starts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Final

IMAGE: Final = "prom/prometheus:v3.5.0"


class ToolMissingError(AssertionError):
    """Neither the program nor a container engine is there."""


def tool(name: str, folder: Path) -> list[str]:
    """The command that runs ``prometheus`` or ``promtool`` in a folder, which is all that it may read and write.

    Raises:
        ToolMissingError: it is not installed, and no container engine is.
    """
    if shutil.which(name):
        return [name]
    engine = shutil.which("docker")
    if engine is None:
        raise ToolMissingError(
            f"{name} is missing: install it (on Debian and Ubuntu, the package prometheus), or a container engine "
            "that runs the image named by CHRONOS_PROMETHEUS_IMAGE"
        )
    image = os.environ.get("CHRONOS_PROMETHEUS_IMAGE", IMAGE)
    mount, user = f"{folder}:{folder}", f"{os.getuid()}:{os.getgid()}"
    options = ["--rm", "--network=host", f"--user={user}", f"--volume={mount}", f"--workdir={folder}"]
    return [engine, "run", *options, f"--entrypoint={name}", image]


def promtool(*arguments: str, folder: Path) -> str:
    """What promtool says.

    Raises:
        AssertionError: it found a fault, or could not run.
    """
    command = [*tool("promtool", folder), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{said}"
    return said


def query(address: str, expression: str) -> list[dict[str, Any]]:
    """The result of an instant query to a server at ``host:port``: samples with ``metric`` and ``value``."""
    text = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"http://{address}/api/v1/query?{text}", timeout=10) as answer:
        document = json.load(answer)
    assert document["status"] == "success", document
    found: list[dict[str, Any]] = document["data"]["result"]
    return found
