"""Containers are killed, frozen and cut off in mid-run: the run finishes, and nothing is lost or doubled."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from chronos_common.cli.chaos import KILL, STOP, Blow
from chronos_common.cli.demo.demo import OUTER, DemoConfig, serve
from chronos_common.cli.progress import RunProgress
from tests.containers.conftest import WORKERS, Figures
from tests.support.acknowledged import lost_or_doubled
from tests.support.containers.project import COORDINATOR, Project
from tests.support.containers.victims import LINK, ComposeCluster

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

BLOWS = (
    (STOP, f"{LINK}worker 1"),
    (KILL, "worker 2"),
    (STOP, "worker 3"),
    (STOP, COORDINATOR),
    (KILL, COORDINATOR),
    (STOP, f"{LINK}{COORDINATOR}"),
)
"""Each fault once to each service."""
FIRST, EVERY, VERSIONS = 5, 10, 70


def test_a_run_outlives_a_cut_link_a_frozen_and_a_killed_container_of_each_service(
    cluster: Project, figures: Figures, tmp_path: Path
) -> None:
    victim = ComposeCluster(cluster)
    blows = [
        Blow(version=FIRST + EVERY * number, action=action, target=target)
        for number, (action, target) in enumerate(BLOWS)
    ]
    quiet = RunProgress(Console(stderr=True), quiet=True)
    config = DemoConfig(seed=7, workers=WORKERS, versions=VERSIONS)
    served = serve(victim, "faults", config, OUTER, quiet, blows=blows)  # raises unless the journal verifies
    assert served.view.version == VERSIONS
    assert len(served.moments) == len(blows)
    assert served.kills == {"coordinator": 1, "worker": 1}
    assert served.view.residuals_lost == 0, "the killed worker goes on from what it owed"
    figures.note("faults", "seconds of 70 versions with 6 faults", served.seconds)

    store = victim.copy_store(tmp_path / "store")
    found = lost_or_doubled(store, victim.worker_lines(), served.view.run_id, unheard=1 + WORKERS)
    figures.require("faults", "commits lost or doubled", found, "==", 0)

    verified = cluster.cli("verify", served.view.run_id)
    assert verified.returncode == 0, verified.stderr
    for name in (COORDINATOR, *(f"worker {number}" for number in range(1, WORKERS + 1))):
        victim.wait_healthy(name)
