"""Chaos: what a seed plans, and that every blow falls once and is undone."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_common.cli.chaos import KILL, STOP, Blow, Chaos, plan
from chronos_common.errors import ConfigurationError, ProcessError


class Cluster:
    """Notes what is done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.broken = False
        self.checks = 0
        self.struck = threading.Event()
        self.may_restart = threading.Event()
        self.may_restart.set()

    def kill(self, name: str) -> None:
        self.done.append(f"kill {name}")
        self.struck.set()

    def restart(self, name: str) -> None:
        assert self.may_restart.wait(5.0)
        if self.broken:
            raise ProcessError(f"{name} does not start", name=name)
        self.done.append(f"restart {name}")

    def pause(self, name: str) -> None:
        self.done.append(f"pause {name}")
        self.struck.set()

    def resume(self, name: str) -> None:
        self.done.append(f"resume {name}")

    def check(self) -> None:
        self.checks += 1


@given(st.integers(0, 10_000), st.integers(2, 8), st.integers(6, 500))
def test_a_plan_strikes_the_coordinator_and_two_workers_in_the_middle(
    seed: int, workers: int, versions: int
) -> None:
    blows = plan(seed, versions=versions, workers=workers)
    assert blows == plan(seed, versions=versions, workers=workers)
    assert [blow.version for blow in blows] == sorted(blow.version for blow in blows)
    assert 1 <= blows[0].version <= blows[-1].version < versions
    assert [blow.action for blow in blows].count(STOP) == 1
    targets = [blow.target for blow in blows]
    assert len(set(targets)) == 3
    assert "coordinator" in targets
    assert set(targets) <= {"coordinator", *(f"worker {n}" for n in range(1, workers + 1))}


def test_seeds_differ() -> None:
    assert len({plan(seed, versions=120, workers=3) for seed in range(20)}) > 15


@pytest.mark.parametrize(("versions", "workers"), [(120, 1), (5, 3)])
def test_too_little_to_strike_is_refused(versions: int, workers: int) -> None:
    with pytest.raises(ConfigurationError, match="chaos needs 2 workers and 6 versions"):
        plan(0, versions=versions, workers=workers)


def test_a_blow_falls_once_when_its_version_is_out() -> None:
    cluster, now = Cluster(), [100.0]
    with Chaos(cluster, [Blow(version=3, action=KILL, target="worker 1")], clock=lambda: now[0]) as chaos:
        chaos.published(2)
        assert not chaos.moments
        now[0] = 104.0
        for version in (4, 5):
            chaos.published(version)
    assert cluster.done == ["kill worker 1", "restart worker 1"]
    [moment] = chaos.moments
    assert (moment.version, moment.seconds, moment.what) == (4, 4.0, "worker 1 killed")


def test_the_cluster_is_not_checked_while_something_is_done_to_it() -> None:
    cluster = Cluster()
    cluster.may_restart.clear()
    with Chaos(cluster, [Blow(version=1, action=KILL, target="coordinator")]) as chaos:
        chaos.check()
        chaos.published(1)
        assert cluster.struck.wait(5.0)
        chaos.check()
        assert cluster.checks == 1
        cluster.may_restart.set()
    chaos.check()
    assert cluster.checks == 2


def test_what_does_not_come_back_is_said() -> None:
    cluster = Cluster()
    cluster.broken = True
    with Chaos(cluster, [Blow(version=1, action=KILL, target="coordinator")]) as chaos:
        chaos.published(1)
    with pytest.raises(ProcessError, match="coordinator does not start"):
        chaos.check()


def test_nobody_stays_stopped_when_the_run_is_over() -> None:
    cluster = Cluster()
    with Chaos(cluster, [Blow(version=1, action=STOP, target="worker 2")], stop_seconds=3600.0) as chaos:
        chaos.published(1)
        assert cluster.struck.wait(5.0)
        assert cluster.done == ["pause worker 2"]
    assert cluster.done == ["pause worker 2", "resume worker 2"]
    assert chaos.moments[0].what == "worker 2 stopped"
