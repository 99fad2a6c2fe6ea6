"""The worker against a coordinator in memory: what it does when all goes well, and when something does not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from chronos_common.engine import WorkSpec
from chronos_common.errors import (
    ChainBrokenError,
    ChronosError,
    ConfigurationError,
    DivergenceError,
    IncarnationSupersededError,
    InvalidRequestError,
    MalformedPayloadError,
    ProblemError,
    ProblemNotAllowedError,
    RunNotFoundError,
    UnavailableError,
    UnknownVersionError,
    WorkerNotMemberError,
)
from chronos_common.metrics import WorkerMetrics
from chronos_common.versions import PARAMETER_DELTA
from chronos_worker import Worker, WorkerConfig
from tests.support.fake_coordinator import (
    DELIVER,
    LONG_SECONDS,
    LOSE_ANSWER,
    LOSE_REQUEST,
    RUN,
    STALE,
    FakeClient,
    FakeCompute,
    FakeCoordinator,
    FakeTime,
    run_config,
)

DRAIN_SECONDS = 500.0


class Bench:
    """A worker under test with everything around it."""

    def __init__(self, plan: Callable[[str], str] | None = None, **config: Any) -> None:
        self.time = FakeTime()
        self.coordinator = FakeCoordinator(self.time)
        self.client = FakeClient(self.coordinator, plan) if plan else FakeClient(self.coordinator)
        self.compute = FakeCompute()
        self.registry = CollectorRegistry()
        settings: dict[str, Any] = {"worker_id": "w", "drain_seconds": DRAIN_SECONDS}
        self.worker = Worker(
            WorkerConfig(**(settings | config)),
            metrics=WorkerMetrics(self.registry),
            connect=lambda: self.client,
            load=self.compute.load(self.time),
            clock=self.time.clock,
            sleep=self.time.sleep,
            rng=random.Random(0),
        )

    def stop_at(self, updates: int) -> None:
        """The worker is asked to stop while it computes its n-th update, which it still commits."""

        def before(number: int, _arguments: Mapping[str, Any]) -> None:
            if number + 1 == updates:
                self.worker.stop()

        self.compute.before = before

    async def run(self) -> None:
        async with asyncio.timeout(60):
            await self.worker.run()

    async def run_updates(self, updates: int) -> None:
        self.stop_at(updates)
        await self.run()

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    @property
    def applied(self) -> list[float]:
        return list(self.coordinator.applied("w")[: self.compute.produced])


async def test_every_update_is_committed_once_and_the_lease_is_returned() -> None:
    bench = Bench()
    bench.coordinator.create()
    await bench.run_updates(3)
    assert bench.applied == [1.0, 1.0, 1.0]
    assert bench.coordinator.engines[RUN].state.version == 3
    assert bench.client.left == ["the worker stops"]
    assert bench.client.closed
    assert bench.value("chronos_worker_commits_total", outcome="accepted") == 3


async def test_a_commit_says_what_was_done() -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.compute.work = 0.25
    await bench.run_updates(1)
    [record] = bench.coordinator.records("w")
    assert (record.work, record.samples, record.tasks, record.base, record.seq) == (0.25, 7, 1, 0, 1)
    assert record.metrics == {"outer_loss": 0.5}  # what is not finite is left out
    assert set(record.timing) <= {"compute", "wait", "communication"}
    assert bench.value("chronos_worker_cut_short_total") == 1


async def test_the_inner_problem_goes_on_from_where_it_was() -> None:
    bench = Bench()
    bench.coordinator.create()
    await bench.run_updates(3)
    first, second, third = bench.compute.inputs
    assert first["carry"] is None
    assert second["carry"].next_step == 0
    assert (second["base_version"], third["base_version"]) == (1, 2)
    assert first["num_inner_steps"] == 10
    np.testing.assert_array_equal(second["stored"]["u"][:2], [-1.0, 0.0])


async def test_problems_are_evaluated_every_so_many_versions() -> None:
    bench = Bench()
    bench.coordinator.create(config=run_config(work=WorkSpec(problem="fake:Problem", evaluate_every=2)))
    await bench.run_updates(4)
    assert [arguments["evaluate"] for arguments in bench.compute.inputs] == [True, False, True, False]


async def test_an_unchanged_version_is_not_fetched_again_and_may_be_worked_on_again() -> None:
    bench = Bench()
    # A second member keeps the round open: one commit does not make a version.
    bench.coordinator.create(config=run_config(rounds=run_config().rounds.__class__(quorum=2)))
    bench.coordinator.register("other", "i")
    bench.coordinator.engines[RUN].checkout(_query("other"), bench.time.now)
    await bench.run_updates(2)
    assert [query.known for query in bench.client.checkouts] == [None, 0]
    assert [arguments["base_version"] for arguments in bench.compute.inputs] == [0, 0]
    assert bench.applied == [1.0, 1.0]


def _query(worker_id: str) -> Any:
    from chronos_common.engine import CheckoutQuery

    return CheckoutQuery(run_id=RUN, worker_id=worker_id, incarnation=1)


# --- the network and the coordinator -----------------------------------------------------------------------


@pytest.mark.parametrize("fault", [LOSE_REQUEST, LOSE_ANSWER])
@pytest.mark.parametrize("method", ["register", "checkout", "commit", "get_run"])
async def test_a_lost_message_costs_a_pause_and_nothing_else(fault: str, method: str) -> None:
    faults = [fault, fault]
    bench = Bench(lambda called: faults.pop() if called == method and faults else DELIVER)
    bench.coordinator.create()
    await bench.run_updates(3)
    assert bench.applied == [1.0, 1.0, 1.0]
    assert bench.value("chronos_worker_retries_total", reason="UNAVAILABLE") == 2
    pauses = [seconds for seconds in bench.time.slept if seconds < LONG_SECONDS]
    assert len(pauses) == 2
    assert 0.05 <= pauses[0] <= 0.1 <= pauses[1] <= 0.2


async def test_a_commit_whose_answer_was_lost_is_sent_again_as_it_was() -> None:
    faults = [LOSE_ANSWER]
    bench = Bench(lambda method: faults.pop() if method == "commit" and faults else DELIVER)
    bench.coordinator.create()
    await bench.run_updates(1)
    first, second = bench.client.commits
    assert first == second
    assert bench.value("chronos_worker_commits_total", outcome="duplicate") == 1


async def test_a_long_outage_is_waited_for_with_pauses_that_stay_bounded() -> None:
    left = 60
    bench = Bench(max_retry_seconds=2.0)
    bench.coordinator.create()

    def plan(method: str) -> str:
        nonlocal left
        if method == "commit" and left:
            left -= 1
            return LOSE_REQUEST
        return DELIVER

    bench.client.plan = plan
    await bench.run_updates(2)
    assert bench.applied == [1.0, 1.0]
    assert max(seconds for seconds in bench.time.slept if seconds < LONG_SECONDS) <= 2.0


async def test_a_restarted_coordinator_needs_no_registration() -> None:
    bench = Bench()
    bench.coordinator.create()

    def before(number: int, _arguments: Mapping[str, Any]) -> None:
        if number == 1:
            bench.coordinator.restart()
        if number == 2:
            bench.worker.stop()

    bench.compute.before = before
    await bench.run()
    assert bench.applied == [1.0, 1.0, 1.0]
    assert bench.client.calls["register"] == 1


@pytest.mark.parametrize("during", ["checkout", "commit"])
async def test_a_worker_that_was_forgotten_registers_again(during: str) -> None:
    bench = Bench()
    bench.coordinator.create()
    forgotten = False

    def plan(method: str) -> str:
        nonlocal forgotten
        if method == during and not forgotten and bench.compute.produced == 2:
            forgotten = True
            bench.coordinator.forget_workers()
        return DELIVER

    bench.client.plan = plan
    await bench.run_updates(3)
    assert bench.applied == [1.0, 1.0, 1.0]
    assert bench.client.calls["register"] == 2


async def test_a_new_incarnation_begins_with_a_clean_chain() -> None:
    bench = Bench()
    bench.coordinator.create()
    forget = bench.coordinator.forget_workers
    lost: list[str] = []

    def plan(method: str) -> str:
        if method == "commit" and bench.compute.produced == 2 and not lost:
            lost.append(method)
            forget()
            bench.coordinator.first_incarnation = 8
        return DELIVER

    bench.client.plan = plan
    await bench.run_updates(4)
    assert bench.applied == [1.0, 0.0, 1.0, 1.0]  # the second one's fate was open: it is declared lost
    assert {record.incarnation for record in bench.coordinator.records("w")} == {1, 8}


async def test_a_damaged_checkout_is_fetched_again_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.coordinator.create()
    checkout, damaged = bench.coordinator.checkout, 0

    def damage(query: Any) -> Any:
        nonlocal damaged
        result = checkout(query)
        if damaged < 2:
            damaged += 1
            object.__setattr__(result, "digest", "00" * 32)
        return result

    monkeypatch.setattr(bench.coordinator, "checkout", damage)
    await bench.run_updates(2)
    assert [query.known for query in bench.client.checkouts][:3] == [None, None, None]
    assert bench.applied == [1.0, 1.0]
    assert bench.value("chronos_worker_retries_total", reason="DIGEST_MISMATCH") == 2


async def test_a_version_that_is_called_unchanged_and_is_not_held_is_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    bench.coordinator.create()
    checkout, empty = bench.coordinator.checkout, 0

    def leave_out(query: Any) -> Any:
        nonlocal empty
        result = checkout(query)
        if not empty:
            empty += 1
            object.__setattr__(result, "payload", None)
        return result

    monkeypatch.setattr(bench.coordinator, "checkout", leave_out)
    await bench.run_updates(1)
    assert bench.applied == [1.0]
    assert [query.known for query in bench.client.checkouts] == [None, None]


async def test_a_checkout_that_nobody_lets_wait_is_not_asked_for_all_the_time() -> None:
    bench = Bench()
    running = asyncio.create_task(bench.run())
    await bench.client.until("checkout", 8)  # no run yet: the fake answers at once
    assert sum(seconds for seconds in bench.time.slept if seconds < LONG_SECONDS) > 1.0
    bench.coordinator.create()
    bench.stop_at(1)
    await running
    assert bench.applied == [1.0]


# --- refusals --------------------------------------------------------------------------------------------


async def test_a_stale_update_goes_with_the_next_one_at_its_decay() -> None:
    faults = [STALE]
    bench = Bench(lambda method: faults.pop() if method == "commit" and faults else DELIVER)
    bench.coordinator.create()
    await bench.run_updates(2)
    assert bench.applied == [0.125, 1.0]  # three versions behind: a half to the third
    assert bench.value("chronos_worker_commits_total", outcome="refused") == 1


async def test_the_time_of_a_refused_commit_goes_with_the_next_one() -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.errors["commit"] = [WorkerNotMemberError("join first")]

    def before(number: int, _arguments: Mapping[str, Any]) -> None:
        bench.time.now += 2.0
        if number == 2:
            bench.worker.stop()

    bench.compute.before = before
    await bench.run()
    computed = [record.timing["compute"] for record in bench.coordinator.records("w")]
    assert computed == pytest.approx([4.0, 2.0])
    assert bench.value("chronos_worker_seconds_total", activity="compute") == pytest.approx(6.0)


async def test_no_member_any_more_checks_out_again_and_keeps_the_update() -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.errors["commit"] = [WorkerNotMemberError("join first")]
    await bench.run_updates(2)
    assert bench.applied == [1.0, 1.0]


async def test_a_broken_chain_settles_what_it_tells_about() -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.errors["commit"] = [ChainBrokenError("another", last_applied=5, incarnation=1)]
    bench.stop_at(2)
    # The fake's chain really ends at 0, so that the next commits cannot be matched: the worker starts anew.
    bench.compute.before = lambda number, _arguments: bench.worker.stop() if number == 4 else None
    await bench.run()
    assert max(bench.applied) == 1.0
    assert sum(bench.applied) >= 2.0


@pytest.mark.parametrize(
    "error",
    [MalformedPayloadError("bad bytes"), InvalidRequestError("bad field"), UnknownVersionError("never was")],
)
async def test_one_unusable_update_does_not_stop_the_worker(error: ChronosError) -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.errors["commit"] = [error]
    await bench.run_updates(3)
    kept = 0.0 if isinstance(error, MalformedPayloadError) else 1.0
    assert bench.applied == [kept, 1.0, 1.0]
    assert bench.client.checkouts[1].known is None


async def test_updates_that_are_always_unusable_end_the_work_on_the_run() -> None:
    bench = Bench(run_id=RUN, max_failures=3)
    bench.coordinator.create()
    bench.client.errors["commit"] = [MalformedPayloadError("bad bytes")] * 3
    with pytest.raises(MalformedPayloadError):
        await bench.run()
    assert bench.client.calls["commit"] == 3
    assert bench.client.left[0].startswith("cannot work on run")


async def test_an_unknown_version_is_dropped() -> None:
    bench = Bench()
    bench.coordinator.create()

    def before(number: int, _arguments: Mapping[str, Any]) -> None:
        bench.client.errors["checkout"] = [UnknownVersionError("no such version")] if number == 0 else []
        if number == 1:
            bench.worker.stop()

    bench.compute.before = before
    await bench.run()
    assert bench.applied == [1.0, 1.0]
    assert [query.known for query in bench.client.checkouts] == [None, 0, None]


# --- superseding -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["checkout", "commit", "heartbeat"])
async def test_a_superseded_worker_stops_at_once_with_the_reason(where: str) -> None:
    bench = Bench()
    bench.coordinator.create()
    if where == "heartbeat":
        bench.client.gates["commit"] = asyncio.Event()
    running = asyncio.create_task(bench.run())
    if where == "heartbeat":
        await bench.client.until("commit", 1)
        bench.coordinator.register("w", "newer")
        bench.time.pass_long(LONG_SECONDS)
    else:
        bench.client.plan = lambda method: _supersede(bench) if method == where else DELIVER
    with pytest.raises(IncarnationSupersededError, match="newer process"):
        await running
    assert bench.client.left == []  # the name belongs to somebody else now


def _supersede(bench: Bench) -> str:
    if bench.coordinator.registrations["w"].instance_id != "newer":
        bench.coordinator.register("w", "newer")
    return DELIVER


# --- heartbeats ------------------------------------------------------------------------------------------


async def test_heartbeats_say_what_is_held_and_survive_an_outage() -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.gates["commit"] = asyncio.Event()
    running = asyncio.create_task(bench.run())
    await bench.client.until("commit", 1)
    bench.client.errors["heartbeat"] = [UnavailableError("away")]
    for count in (1, 2, 3):
        await bench.time.until_asleep(LONG_SECONDS)
        bench.time.pass_long(LONG_SECONDS)
        await bench.client.until("heartbeat", count)
    assert bench.client.holding == [[(RUN, 0)]] * 3
    bench.coordinator.forget_workers()
    await bench.time.until_asleep(LONG_SECONDS)
    bench.time.pass_long(LONG_SECONDS)
    await bench.client.until("register", 2)
    bench.stop_at(2)
    bench.client.gates["commit"].set()
    await running


@pytest.mark.parametrize("during", ["commit", "checkout"])
async def test_a_heartbeat_that_registers_anew_does_not_supersede_its_own_process(during: str) -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.gates[during] = asyncio.Event()
    running = asyncio.create_task(bench.run())
    await bench.client.until(during, 1)
    bench.coordinator.forget_workers()
    bench.coordinator.first_incarnation = 5
    await bench.time.until_asleep(LONG_SECONDS)
    bench.time.pass_long(LONG_SECONDS)
    await bench.client.until("register", 2)
    await bench.time.until_asleep(LONG_SECONDS)
    bench.stop_at(2)
    bench.client.gates[during].set()
    await running
    assert bench.coordinator.records("w")[-1].incarnation == 5
    assert bench.client.left == ["the worker stops"]


async def test_work_on_a_run_that_a_heartbeat_calls_ended_is_dropped() -> None:
    bench = Bench(run_id=RUN)
    bench.coordinator.create()
    bench.coordinator.ended_by_heartbeat = (RUN, "elsewhere")
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def before(_number: int, arguments: Mapping[str, Any]) -> None:
        loop.call_soon_threadsafe(bench.time.pass_long, LONG_SECONDS)
        while not arguments["should_stop"]():
            pass
        loop.call_soon_threadsafe(stopped.set)

    bench.compute.before = before
    await bench.run()
    assert stopped.is_set()
    assert bench.client.calls["commit"] == 0


async def test_heartbeats_that_fail_in_an_unknown_way_end_the_worker() -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.gates["commit"] = asyncio.Event()
    bench.coordinator.ended_by_heartbeat = None  # type: ignore[assignment]
    running = asyncio.create_task(bench.run())
    await bench.client.until("commit", 1)
    bench.time.pass_long(LONG_SECONDS)
    with pytest.raises(ChronosError, match="heartbeats failed: TypeError"):
        await running


# --- runs ------------------------------------------------------------------------------------------------


async def test_the_worker_of_one_run_ends_with_it() -> None:
    bench = Bench(run_id=RUN)
    bench.coordinator.create(config=run_config(max_versions=2))
    await bench.run()
    assert bench.applied == [1.0, 1.0]
    assert bench.client.left == ["the worker stops"]


async def test_a_run_that_has_ended_already_ends_its_worker() -> None:
    bench = Bench(run_id=RUN)
    bench.coordinator.create()
    bench.coordinator.engines[RUN].stop("enough")
    await bench.run()
    assert bench.compute.produced == 0


async def test_a_run_stopped_at_work_refuses_the_commit_and_the_worker_looks_for_the_next() -> None:
    bench = Bench()
    bench.coordinator.create("first")

    def before(number: int, _arguments: Mapping[str, Any]) -> None:
        if number == 1:
            bench.coordinator.engines["first"].stop("enough")
            bench.coordinator.create("second")
        if number == 2:
            bench.worker.stop()

    bench.compute.before = before
    await bench.run()
    assert list(bench.coordinator.applied("w", "first")[:3]) == [1.0, 0.0, 0.0]
    assert list(bench.coordinator.applied("w", "second")[:3]) == [0.0, 0.0, 1.0]
    assert bench.compute.inputs[2]["carry"] is None


async def test_a_run_that_is_not_there_yet_is_waited_for() -> None:
    bench = Bench(run_id=RUN)
    running = asyncio.create_task(bench.run())
    await bench.client.until("checkout", 3)
    bench.coordinator.create(config=run_config(max_versions=1))
    await running
    assert bench.applied == [1.0]


async def test_a_run_that_vanishes_is_waited_for_too() -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.errors["commit"] = [RunNotFoundError("gone")]
    bench.client.errors["get_run"] = [RunNotFoundError("gone")]
    await bench.run_updates(2)
    assert bench.applied == [0.0, 1.0]


@pytest.mark.parametrize(
    "error",
    [
        ProblemNotAllowedError("not on the list", problem="x:Y"),
        ProblemError("broken"),
        ConfigurationError("no"),
    ],
)
async def test_a_run_that_cannot_be_worked_on_is_left_and_reported(error: ChronosError) -> None:
    bench = Bench(run_id=RUN)
    bench.coordinator.create()

    def refuse(_work: WorkSpec) -> Any:
        raise error

    bench.worker._load = refuse
    with pytest.raises(type(error)):
        await bench.run()
    assert bench.client.left[0] == f"cannot work on run {RUN}: {error.reason}"
    assert bench.coordinator.engines[RUN].presence.live == ()


async def test_without_a_run_of_its_own_the_worker_waits_instead_of_spinning() -> None:
    bench = Bench()
    bench.coordinator.create()
    load, refusals = bench.worker._load, 6

    def refuse(work: WorkSpec) -> Any:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise ProblemNotAllowedError("not on the list", problem="x:Y")
        return load(work)

    bench.worker._load = refuse
    await bench.run_updates(1)
    assert bench.applied == [1.0]
    pauses = [seconds for seconds in bench.time.slept if seconds < LONG_SECONDS]
    assert len(pauses) == 6
    assert pauses[-1] > 8 * pauses[0]


@pytest.mark.parametrize(
    "work",
    [WorkSpec(problem=""), WorkSpec(problem="fake:Problem", kind=PARAMETER_DELTA)],
    ids=["no problem", "delta"],
)
async def test_work_that_no_worker_of_this_kind_can_do_is_refused(work: WorkSpec) -> None:
    bench = Bench(run_id=RUN)
    bench.worker = Worker(
        bench.worker.config,
        connect=lambda: bench.client,
        clock=bench.time.clock,
        sleep=bench.time.sleep,
    )
    bench.coordinator.create(config=run_config(work=work))
    with pytest.raises(ConfigurationError):
        await bench.run()


async def test_the_allow_list_of_the_configuration_decides() -> None:
    bench = Bench(run_id=RUN)
    bench.worker = Worker(
        WorkerConfig(worker_id="w", run_id=RUN, problems=("mine.*",), drain_seconds=DRAIN_SECONDS),
        connect=lambda: bench.client,
        clock=bench.time.clock,
        sleep=bench.time.sleep,
    )
    bench.coordinator.create()
    with pytest.raises(ProblemNotAllowedError, match="'fake:Problem' is not on this worker's allow-list"):
        await bench.run()


# --- divergence ------------------------------------------------------------------------------------------


async def test_a_diverged_update_is_a_skip_and_starts_afresh() -> None:
    bench = Bench()
    bench.coordinator.create()

    def before(number: int, _arguments: Mapping[str, Any]) -> None:
        if number == 1:
            raise DivergenceError("not finite at step 3", step=3)
        if number == 3:
            bench.worker.stop()

    bench.compute.before = before
    await bench.run()
    assert bench.applied == [1.0, 1.0, 1.0]
    assert [record.payload is None for record in bench.coordinator.records("w")] == [
        False,
        True,
        False,
        False,
    ]
    assert [arguments["carry"] is None for arguments in bench.compute.inputs] == [True, False, True, False]
    assert bench.value("chronos_worker_diverged_total") == 1
    assert bench.value("chronos_worker_commits_total", outcome="skipped") == 1


async def test_an_update_that_is_not_finite_is_never_sent() -> None:
    bench = Bench(run_id=RUN, max_failures=2)
    bench.coordinator.create()
    bench.compute.produced = 0

    class Poisoned(FakeCompute):
        def __call__(self, *values: Any, **arguments: Any) -> Any:
            update = super().__call__(*values, **arguments)
            update.gradient["u"][0] = np.nan
            return update

    bench.worker._load = Poisoned().load(bench.time)
    with pytest.raises(ChronosError, match="not finite"):
        await bench.run()
    assert all(query.payload is None for query in bench.client.commits)
    assert len(bench.client.commits) == 1


async def test_a_problem_that_keeps_diverging_is_left() -> None:
    bench = Bench(run_id=RUN, max_failures=3)
    bench.coordinator.create()

    def before(_number: int, _arguments: Mapping[str, Any]) -> None:
        raise DivergenceError("never finite")

    bench.compute.before = before
    with pytest.raises(DivergenceError):
        await bench.run()
    assert len(bench.compute.inputs) == 3
    assert bench.client.left[0] == f"cannot work on run {RUN}: DIVERGED"


async def test_a_run_whose_problem_fails_is_left_with_a_pause_and_tried_again() -> None:
    bench = Bench()
    bench.coordinator.create()

    def before(number: int, _arguments: Mapping[str, Any]) -> None:
        if number < 2:
            raise OSError("the data is not mounted")
        bench.worker.stop()

    bench.compute.before = before
    await bench.run()
    assert bench.applied == [1.0]
    assert len(bench.client.left) == 3


async def test_an_exception_of_the_user_s_code_is_reported_with_its_type() -> None:
    bench = Bench(run_id=RUN)
    bench.coordinator.create()

    def before(_number: int, _arguments: Mapping[str, Any]) -> None:
        raise KeyError("images")

    bench.compute.before = before
    with pytest.raises(ProblemError, match="'fake:Problem' raised KeyError: 'images'"):
        await bench.run()


# --- stopping --------------------------------------------------------------------------------------------


async def test_stop_while_it_waits_ends_at_once() -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.gates["checkout"] = asyncio.Event()
    running = asyncio.create_task(bench.run())
    await bench.client.until("checkout", 1)
    bench.worker.stop()
    await running
    assert bench.client.left == ["the worker stops"]


async def test_stop_lets_the_commit_finish_within_the_drain_time() -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.gates["commit"] = asyncio.Event()
    running = asyncio.create_task(bench.run())
    await bench.client.until("commit", 1)
    bench.worker.stop()
    bench.client.gates["commit"].set()
    await running
    assert bench.applied == [1.0]


async def test_after_the_drain_time_the_work_is_abandoned_and_the_lease_returned() -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.gates["commit"] = asyncio.Event()
    running = asyncio.create_task(bench.run())
    await bench.client.until("commit", 1)
    bench.worker.stop()
    await bench.time.until_asleep(DRAIN_SECONDS)
    bench.time.pass_long(DRAIN_SECONDS)
    await running
    assert bench.applied == [0.0]
    assert bench.client.left == ["the worker stops"]


async def test_stop_during_the_inner_loop_cuts_it_before_the_drain_time_is_over() -> None:
    bench = Bench()
    bench.coordinator.create(config=run_config())
    asked: list[bool] = []

    def before(_number: int, arguments: Mapping[str, Any]) -> None:
        bench.worker.stop()
        while DRAIN_SECONDS not in bench.time.slept:
            pass
        asked.append(arguments["should_stop"]())
        bench.time.now += DRAIN_SECONDS
        asked.append(arguments["should_stop"]())

    bench.compute.before = before
    await bench.run()
    assert asked[-1] is True
    assert bench.applied == [1.0]


async def test_stop_before_the_start_and_before_the_registration() -> None:
    early = Bench()
    early.worker.stop()
    await early.run()
    waiting = Bench(lambda method: LOSE_REQUEST if method == "register" else DELIVER)
    running = asyncio.create_task(waiting.run())
    await waiting.client.until("register", 3)
    waiting.worker.stop()
    await running
    assert waiting.client.left == []


@pytest.mark.parametrize("error", [UnavailableError("away"), WorkerNotMemberError("who?")])
async def test_a_goodbye_that_fails_is_no_failure(error: ChronosError) -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.errors["deregister"] = [error]
    await bench.run_updates(1)
    assert bench.applied == [1.0]
