"""Generated histories of a whole cluster: whatever goes wrong, the promises hold.

The machine only picks what happens next; ``tests.support.cluster`` asserts the rules while it happens, and
``finish`` at the end of every history that the faults leave no trace. A test file names its pipelines and how many
histories it wants: a file is what one core gets.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from chronos_common.versions import KINDS, RoundConfig
from tests.support.cluster import Cluster, Process, run_config

STEPS = 30

index = st.integers(0, 63)
rounds = st.builds(
    lambda staleness, spare, quorum, decay, cap, grace: RoundConfig(
        max_staleness=staleness,
        max_in_flight=staleness + 1 + spare,
        quorum=quorum,
        decay=decay,
        max_local_work=cap,
        grace_seconds=grace,
    ),
    st.integers(0, 3),
    st.integers(0, 1),
    st.sampled_from([None, 1, 2, 3]),
    st.sampled_from([0.5, 1.0]),
    st.sampled_from([1.0, 2.0]),
    st.sampled_from([0.0, 0.0, 0.5, 1.5]),
)


class Histories(RuleBasedStateMachine):
    """A cluster under a network, processes, a store and a clock that misbehave."""

    pipelines: ClassVar[tuple[tuple[str, str], ...]]
    """Up and down; one of them for each history."""

    cluster: Cluster

    @initialize(
        rounds=rounds,
        kind=st.sampled_from(KINDS),
        max_versions=st.sampled_from([0, 0, 0, 3]),
        workers=st.integers(1, 4),
        which=index,
    )
    def begin(self, rounds: RoundConfig, kind: str, max_versions: int, workers: int, which: int) -> None:
        up, down = self.pipelines[which % len(self.pipelines)]
        config = run_config(rounds=rounds, kind=kind, max_versions=max_versions, up=up, down=down)
        self.cluster = Cluster(config)
        for number in range(workers):
            self.cluster.spawn(number)
        while self.cluster.wire:
            self.cluster.deliver(0)
        for process in self.cluster.processes:
            self.cluster.checkout(process)

    def pick(self, which: int) -> Process | None:
        able = self.cluster.able()
        return able[which % len(able)] if able else None

    # --- the network -----------------------------------------------------------------------------

    @precondition(lambda self: self.cluster.wire)
    @rule(which=index, flush=st.booleans())
    def deliver(self, which: int, flush: bool) -> None:
        self.cluster.deliver(which, flush=flush)

    @precondition(lambda self: self.cluster.wire)
    @rule(flush=st.booleans())
    def deliver_oldest(self, flush: bool) -> None:
        self.cluster.deliver(0, flush=flush)

    @precondition(lambda self: self.cluster.wire)
    @rule()
    def deliver_newest(self) -> None:
        self.cluster.deliver(-1)

    @precondition(lambda self: self.cluster.wire)
    @rule()
    def deliver_all(self) -> None:
        for _ in range(len(self.cluster.wire)):
            self.cluster.deliver(0)

    @precondition(lambda self: self.cluster.wire)
    @rule(which=index, flush=st.booleans())
    def repeat(self, which: int, flush: bool) -> None:
        self.cluster.deliver(which, repeat=True, flush=flush)

    @precondition(lambda self: self.cluster.wire)
    @rule(which=index)
    def lose(self, which: int) -> None:
        self.cluster.drop(which)

    # --- the work --------------------------------------------------------------------------------

    @rule(which=index, newer=st.booleans(), wait=st.sampled_from([0.0, 5.0]))
    def checkout(self, which: int, newer: bool, wait: float) -> None:
        process = self.pick(which)
        if process is not None:
            self.cluster.checkout(process, newer=newer, wait=wait)

    @rule(
        which=index,
        work=st.sampled_from([1.0, 1.0, 0.5, 0.25]),
        what=st.sampled_from(["update", "update", "update", "skip", "hold"]),
    )
    def commit(self, which: int, work: float, what: str) -> None:
        process = self.pick(which)
        if process is not None:
            self.cluster.commit(process, work=work, what=what)

    @rule(which=index, seq=index)
    def resend(self, which: int, seq: int) -> None:
        process = self.pick(which)
        if process is not None and process.outbox is not None and process.outbox.unresolved:
            unresolved = process.outbox.unresolved
            self.cluster.resend(process, unresolved[seq % len(unresolved)].seq)

    @rule(which=index)
    def heartbeat(self, which: int) -> None:
        living = [p for p in self.cluster.processes if p.alive and p.outbox is not None]
        if living:
            self.cluster.heartbeat(living[which % len(living)])

    # --- faults ----------------------------------------------------------------------------------

    @rule(which=index)
    def start_process(self, which: int) -> None:
        self.cluster.spawn(which)

    @rule(which=index)
    def register_again(self, which: int) -> None:
        process = self.pick(which)
        if process is not None:
            self.cluster.register(process)

    @rule(which=index, how=st.sampled_from(["kill", "hang", "wake", "fail"]))
    def break_process(self, which: int, how: str) -> None:
        living = [p for p in self.cluster.processes if p.alive]
        if not living:
            return
        process = living[which % len(living)]
        process.alive = how != "kill"
        process.hung = how == "hang" or (process.hung and how != "wake")
        process.failing = process.failing or how == "fail"

    @rule(which=index)
    def say_goodbye(self, which: int) -> None:
        process = self.pick(which)
        if process is not None:
            self.cluster.say_goodbye(process)

    @rule(ambiguous=st.booleans())
    def crash(self, ambiguous: bool) -> None:
        self.cluster.crash(ambiguous=ambiguous)

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0, 3.0, 8.0, 60.0]))
    def pass_time(self, seconds: float) -> None:
        self.cluster.pass_time(seconds)

    @rule()
    def flush(self) -> None:
        self.cluster.flush()

    def teardown(self) -> None:
        if hasattr(self, "cluster"):
            self.cluster.finish()


def many(machine: type[Histories], histories: int) -> Any:
    """The test case of so many histories of a machine; to be named ``Test...`` in a test file."""
    case: Any = pytest.mark.timeout(600)(pytest.mark.histories(pytest.mark.slow(machine.TestCase)))
    case.settings = settings(
        max_examples=histories,
        stateful_step_count=STEPS,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    return case
