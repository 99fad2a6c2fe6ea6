"""A cluster whose processes are killed and stopped in mid-run: it finishes, and nothing is lost or doubled."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from rich.console import Console

from chronos_common.cli.cluster import ClusterConfig, LocalCluster
from chronos_common.cli.demo.arms import accuracies
from chronos_common.cli.demo.demo import OUTER, PROBLEM_PATH, DemoConfig, ServedRun, serve, single_node
from chronos_common.cli.demo.hypercleaning import load_split
from chronos_common.cli.progress import RunProgress
from tests.support.acknowledged import lost_or_doubled

pytestmark = [pytest.mark.process, pytest.mark.slow]

WORKERS = 3
REPETITIONS = int(os.environ.get("CHRONOS_TORTURE_SEEDS", "20"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    folder = tmp_path_factory.mktemp("chaos")
    config = ClusterConfig(
        store=folder / "data", logs=folder / "logs", workers=WORKERS, problems=(PROBLEM_PATH,)
    )
    with LocalCluster(config) as cluster:
        cluster.wait_for_workers()
        yield cluster


def torment(cluster: LocalCluster, config: DemoConfig) -> ServedRun:
    """One run under blows; ``serve`` raises unless it finishes and its journal verifies."""
    quiet = RunProgress(Console(stderr=True), quiet=True)
    return serve(cluster, "chronos", config, OUTER, quiet, blows=config.blows())


def check_histories(cluster: LocalCluster, run_id: str, *, kills: int) -> None:
    """What workers were told is what the journal says."""
    logs = sorted(cluster.config.logs.glob("worker-*.log"))
    lines = [line for path in logs for line in path.read_text().splitlines()]
    assert lost_or_doubled(cluster.config.store, lines, run_id, unheard=kills + WORKERS) == 0


def test_a_run_outlives_a_killed_coordinator_a_killed_worker_and_a_stopped_one(cluster: LocalCluster) -> None:
    config = DemoConfig(seed=100, workers=WORKERS, versions=40, chaos=True)
    served = torment(cluster, config)
    assert served.view.version == 40
    assert served.kills == {"coordinator": 1, "worker": 1}
    assert sorted(moment.what.split()[-1] for moment in served.moments) == ["killed", "killed", "stopped"]
    assert served.view.residuals_lost == 0, "the killed worker's successor went on from what it owed"
    check_histories(cluster, served.view.run_id, kills=1)


@pytest.mark.torture
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", range(101, 101 + REPETITIONS))
def test_chaos_loses_nothing_doubles_nothing_and_learns_as_well(cluster: LocalCluster, seed: int) -> None:
    config = DemoConfig(seed=seed, workers=WORKERS, versions=120, chaos=True)
    served = torment(cluster, config)
    assert served.view.version == 120
    assert served.view.residuals_lost == 0
    check_histories(cluster, served.view.run_id, kills=1)
    undisturbed, _ = single_node(config, RunProgress(Console(stderr=True), quiet=True))
    found = accuracies(load_split(config.noise, seed), {"chronos": served.logits, "single_node": undisturbed})
    assert abs(found["chronos"] - found["single_node"]) <= 0.01 + 1e-9
