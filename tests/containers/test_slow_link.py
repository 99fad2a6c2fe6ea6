"""100 ms and 10 Mbit/s between the workers and their coordinator: the demo finishes, and no deadline is missed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from chronos_common.codec import encode
from chronos_common.engine import RunConfig
from chronos_common.outer import OuterConfig, OuterSpec
from chronos_common.wire import DeadlineConfig, SyncCoordinatorClient
from tests.containers.conftest import TAG, WORKERS, Figures
from tests.support.containers.engine import SUBNETS, free_subnet
from tests.support.containers.project import COORDINATOR, WORKER, Project, free_port

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

RTT_SECONDS, BITS_PER_SECOND = 0.1, 10e6
VERSIONS = 20
LARGE = 1_000_000
"""float32 values: 4 MB, more than three seconds on this line."""
TROUBLE = ("call failed, asking again", "heartbeat failed", "the lease could not be returned and will expire")
OVERRIDE = Path(__file__).with_name("slow-link.yml")


@pytest.fixture(scope="module")
def far(images: dict[str, str]) -> Iterator[tuple[Project, str]]:
    """The cluster, and the address of its coordinator at the far end of the line."""
    near = free_subnet()
    beyond = next(str(net) for net in reversed(SUBNETS) if str(net) != near)
    port = free_port()
    variables = {
        "CHRONOS_VERSION": TAG,
        "CHRONOS_SUBNET": near,
        "LINK_RTT": f"{RTT_SECONDS:g}",
        "LINK_BITS": f"{BITS_PER_SECOND:g}",
        "LINK_SUBNET": beyond,
        "LINK_PORT": str(port),
    }
    with Project(OVERRIDE, **variables) as project:
        project.up(COORDINATOR, "link")
        create_large_run(project.address)  # before there are workers, who would check it out as well
        project.up(WORKER, workers=WORKERS)
        yield project, f"127.0.0.1:{port}"


def create_large_run(address: str) -> None:
    """A run that nobody works on, to check out."""
    definition = RunConfig(
        parameters=(OuterSpec(name="x", shape=(LARGE,), dtype="float32"),), outer=OuterConfig(name="sgd")
    )
    start = np.random.default_rng(0).standard_normal(LARGE).astype(np.float32)
    with SyncCoordinatorClient(address) as client:
        client.create_run(definition, encode("identity", {"x": start}), run_id="large")
        client.stop_run("large")


def test_the_line_is_as_slow_as_it_should_be_and_a_large_transfer_keeps_its_deadline(
    far: tuple[Project, str], figures: Figures
) -> None:
    deadlines = DeadlineConfig()
    with SyncCoordinatorClient(far[1], deadlines=deadlines) as remote:
        remote.list_runs()
        began = time.monotonic()
        remote.list_runs()
        call = time.monotonic() - began
        began = time.monotonic()
        checkout = remote.checkout("large")
        transfer = time.monotonic() - began
    assert checkout.snapshot is not None
    size = len(checkout.snapshot)
    figures.note("slow line", "ms of a small call", 1e3 * call)
    figures.note("slow line", "Mbit/s of a large checkout", 8e-6 * size / transfer)
    assert call >= RTT_SECONDS
    assert 8 * size / BITS_PER_SECOND <= transfer
    bound = deadlines.transfer_seconds(size)
    figures.require("slow line", "large checkout, share of its deadline", transfer / bound, "<=", 1.0)


def test_the_demo_finishes_and_every_call_is_answered_in_time(
    far: tuple[Project, str], figures: Figures
) -> None:
    project, _ = far
    done = project.cli("demo", "--versions", str(VERSIONS), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["versions"] == VERSIONS
    figures.note("slow line", "versions/s of the demo", VERSIONS / report["seconds"]["total"])
    logs = [project.logs(container) for container in project.containers(WORKER)]
    missed = [line for log in logs for line in log.splitlines() if any(text in line for text in TROUBLE)]
    figures.require("slow line", "calls that missed their deadline", len(missed), "==", 0)
