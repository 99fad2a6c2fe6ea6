"""What is in the images, and what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chronos_common.runtime.environment import MALLOC_TUNABLES
from tests.containers.conftest import TAG, Figures
from tests.support.containers.engine import docker, inspect
from tests.support.containers.project import COORDINATOR, WORKER, Project

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

MEGABYTE = 1e6
SERVICES = (COORDINATOR, WORKER)


def run(image: str, *command: str, read_only: bool = True, **options: str) -> str:
    """The output of a program in a container of the image, which may write nowhere but to its volume."""
    flags = [f"--{name}={value}" for name, value in options.items()]
    flags += ["--read-only"] if read_only else []
    return docker("run", "--rm", *flags, f"--entrypoint={command[0]}", image, *command[1:]).stdout


def about(image: str) -> dict[str, Any]:
    found: dict[str, Any] = inspect("image", image)["Config"]
    return found


def test_the_coordinator_is_small_and_has_no_torch(images: dict[str, str], figures: Figures) -> None:
    base = Project(CHRONOS_VERSION=TAG).config()["services"][COORDINATOR]["build"]["args"]["BASE_IMAGE"]
    ours = inspect("image", images[COORDINATOR])["Size"] - inspect("image", base)["Size"]
    assert ours > 50 * MEGABYTE, "NumPy and gRPC alone are more"
    figures.require("coordinator image", "MB above its base", ours / MEGABYTE, "<=", 250.0)
    script = (
        "from importlib.util import find_spec as f; print([n for n in ('torch', 'sklearn', 'pip') if f(n)])"
    )
    assert run(images[COORDINATOR], "python", "-c", script).strip() == "[]"


def test_torch_has_a_layer_of_its_own(images: dict[str, str]) -> None:
    history = docker(
        "history", "--human=false", "--no-trunc", "--format={{.Size}}\t{{.CreatedBy}}", images[WORKER]
    )
    layers = [line.split("\t", 1) for line in history.stdout.splitlines()]
    (torch,) = [int(size) for size, command in layers if "torch.txt" in command]
    (code,) = [int(size) for size, command in layers if "--no-deps" in command]
    assert torch > 100 * MEGABYTE
    assert code < 16 * MEGABYTE, "a change of the code alone must be a small layer"


@pytest.mark.parametrize("service", SERVICES)
def test_nobody_is_root_and_compiled_code_is_kept(images: dict[str, str], service: str) -> None:
    image = images[service]
    assert about(image)["User"] == "10001:10001"
    script = (
        "import os, json, chronos_common.wire as w, pathlib;"
        "print(json.dumps([os.getuid(), os.getgid(), os.path.exists(w.__cached__), os.access('/', os.W_OK)]))"
    )
    assert json.loads(run(image, "python", "-c", script)) == [10001, 10001, True, False]


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_says_what_it_is_and_how_it_is_asked(images: dict[str, str], service: str) -> None:
    config = about(images[service])
    labels = {name.rpartition(".")[2]: text for name, text in config["Labels"].items()}
    assert {"title", "description", "licenses", "version", "revision"} <= labels.keys()
    assert config["Healthcheck"]["Test"][:2] == ["CMD", "chronos-health"]
    assert list(config["Volumes"]) == ["/var/lib/chronos"]
    (tunables,) = [line for line in config["Env"] if line.startswith("GLIBC_TUNABLES=")]
    expected = ":".join(f"{name}={value}" for name, value in MALLOC_TUNABLES.items())
    assert tunables == f"GLIBC_TUNABLES={expected}"


@pytest.mark.parametrize("service", SERVICES)
def test_sigterm_stops_it_even_before_python_listens(images: dict[str, str], service: str) -> None:
    container = docker("run", "--detach", "--read-only", images[service]).stdout.strip()
    try:
        docker("stop", "--time=30", container)
        state = inspect("container", container)["State"]
        # 143: the signal came while Python was still importing; 137 would be SIGKILL, after the 30 s.
        assert state["ExitCode"] in (0, 143), docker("logs", container).stderr
    finally:
        docker("rm", "--force", "--volumes", container)
