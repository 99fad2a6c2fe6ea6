"""A served plan's state: ranks, speeds, imbalance, and the same bits after a restart."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from chronos_common.data import PlanConfig
from chronos_common.data.dealing import Dealer
from chronos_common.data.definition import DataPlanConfig
from chronos_common.data.events import from_parts, to_parts
from chronos_common.data.job import LEAST_SECONDS, MOST_SECONDS, DataJob
from chronos_common.data.slices import LEAST_SIZE, MOST_SIZE
from chronos_common.data.turns import indices_to_text
from chronos_common.errors import CorruptStateError, InvalidRequestError, RankTakenError, WorkerNotMemberError

CONFIG = DataPlanConfig(samples=40, plan=PlanConfig(batch_size=8), lookahead=2)
DEALER = Dealer(np.linspace(1.0, 4.0, 40), CONFIG.plan)


def deal(job: DataJob, dealer: Dealer = DEALER) -> None:
    while (event := job.plan_next(dealer)) is not None:
        job.deal(event)


def make(*workers: str) -> DataJob:
    job = DataJob(CONFIG)
    for rank, worker in enumerate(workers):
        job.join(worker, 1, rank)
    deal(job)
    return job


def step(job: DataJob, paces: dict[str, float]) -> None:
    for worker, pace in paces.items():
        share = job.ledger.shares(worker)[0]
        assert job.finish(worker, 1, [(share.turn, pace * max(share.cost, 1e-9))]) == []
    deal(job)


def test_the_fast_take_more_once_they_are_known_and_balance_follows() -> None:
    job = make("a", "b")
    assert job.imbalance is None
    first = {worker: job.ledger.shares(worker)[0].cost for worker in "ab"}
    assert first["a"] == pytest.approx(first["b"], rel=0.2)
    step(job, {"a": 1.0, "b": 3.0})
    assert job.imbalance == pytest.approx(1.5, rel=0.1)
    step(job, {"a": 1.0, "b": 3.0})
    last = {worker: job.ledger.shares(worker)[0].cost for worker in "ab"}
    assert last["a"] == pytest.approx(3 * last["b"], rel=0.25)
    assert job.finished["a"] + job.finished["b"] == 16


def test_replay_gives_the_same_state() -> None:
    job, again = make("a", "b", "c"), DataJob(CONFIG)
    events = job.take_events()
    step(job, {"a": 1.0, "b": 2.0, "c": 1.5})
    job.leave("c", 1)
    deal(job)
    events += job.take_events()
    half = DataJob.restore(json.loads(json.dumps(job.state())))
    for event in events:
        again.apply(from_parts(*to_parts(event)))
    assert again.state() == job.state() == half.state()
    assert job.take_events() == []


def test_a_rank_has_one_living_worker() -> None:
    job = make("a")
    with pytest.raises(RankTakenError, match="'a'"):
        job.join("b", 1, 0)
    job.leave("a", 1)
    job.join("b", 1, 0)
    job.join("c", 1)
    job.join("d", 1)
    assert sorted(job.members) == ["b", "c", "d"]


def test_joining_again_changes_nothing_for_the_same_process() -> None:
    job = make("a")
    job.take_events()
    job.join("a", 1, 0)
    assert job.take_events() == []
    job.join("a", 2, 0)
    assert job.ledger.shares("a") == []


def test_more_members_than_samples_are_refused() -> None:
    job = DataJob(DataPlanConfig(samples=1, plan=PlanConfig(batch_size=1)))
    job.join("a", 1)
    with pytest.raises(InvalidRequestError, match="1 samples"):
        job.join("b", 1)


@pytest.mark.parametrize("done", [(1, -1.0), (1, math.nan), (0, 1.0), (99, 1.0)])
def test_a_bad_report_refuses_the_whole_call(done: tuple[int, float]) -> None:
    job = make("a")
    job.take_events()
    with pytest.raises(InvalidRequestError):
        job.finish("a", 1, [(1, 1.0), done])
    assert job.take_events() == []


def test_an_older_process_is_no_member() -> None:
    job = make("a")
    job.join("a", 2, 0)
    with pytest.raises(WorkerNotMemberError):
        job.finish("a", 1, [(1, 1.0)])


def test_a_step_waits_for_a_node_without_a_worker() -> None:
    config = DataPlanConfig(samples=40, plan=PlanConfig(batch_size=8), partitioned=True, lookahead=2)
    nodes = np.repeat([0, 1], 20)
    dealer = Dealer(np.ones(40), config.plan, nodes)
    job = DataJob(config)
    job.join("a", 1, node=0)
    deal(job, dealer)
    assert job.ledger.shares("a") == []
    job.join("b", 1, node=1)
    job.join("c", 1, node=1)
    deal(job, dealer)
    assert {node for share in job.ledger.shares("a") for node in nodes[share.indices]} == {0}
    held = np.concatenate([share.indices for share in job.ledger.shares("c")])
    job.leave("c", 1)
    for worker in "ab":
        job.finish(worker, 1, [(1, 1.0)])
    deal(job, dealer)
    parts = [share for share in job.ledger.shares("b") if share.part]
    assert set(np.concatenate([share.indices for share in parts])) <= set(held)
    assert all(not len(share.indices) for share in job.ledger.shares("a") if share.part)


def test_a_damaged_state_is_refused() -> None:
    for state in ({}, {**make("a").state(), "members": {"a": 1}}):
        with pytest.raises(CorruptStateError):
            DataJob.restore(state)


def test_absurd_costs_and_seconds_end_an_epoch_all_the_same() -> None:
    sizes = np.concatenate([np.full(20, LEAST_SIZE), np.full(20, MOST_SIZE)])
    config = DataPlanConfig(
        samples=40, plan=PlanConfig(batch_size=4, cost="quadratic", workers=2), workers=2, lookahead=3
    )
    dealer = Dealer(sizes, config.plan)
    for seconds in itertools.product((MOST_SECONDS, LEAST_SECONDS, 0.0, 1.0), repeat=2):
        job, reports = DataJob(config), itertools.cycle(seconds)
        job.join("a", 1)
        job.join("b", 1)
        while not job.ledger.over:
            while (event := job.plan_next(dealer)) is not None:
                job.deal(event)
            for worker in "ab":
                job.finish(worker, 1, [(share.turn, next(reports)) for share in job.ledger.shares(worker)])
        assert job.ledger.finished == 40
        for absurd in (2 * MOST_SECONDS, -1.0, float("nan"), float("inf")):
            with pytest.raises(InvalidRequestError, match="seconds"):
                job.finish("a", 1, [(1, absurd)])


def test_a_checkpoint_of_something_else_is_refused() -> None:
    def job_of(samples: int) -> DataJob:
        return DataJob(DataPlanConfig(samples=samples, plan=PlanConfig(batch_size=samples // 4)))

    job = job_of(40)
    job.join("a", 1)
    state = job.save()
    other = job_of(20)  # of as many steps
    with pytest.raises(InvalidRequestError, match="another plan"):
        other.rewind(state)
    kept = json.loads(state)
    for change in (
        {"finished": 3},
        {"finished": 30, "next_step": 3, "returned": [[0, indices_to_text(np.array([3, 3]))]]},
        {"next_step": 4, "returned": [[0, indices_to_text(np.arange(40) + 1)]]},
        {"next_step": 4, "returned": [[0, indices_to_text(np.zeros(40, np.int64))]]},
    ):
        broken = json.dumps({**kept, "ledger": {**kept["ledger"], **change}})
        with pytest.raises(InvalidRequestError, match="cannot be restored"):
            job.rewind(broken)
    for nonsense in ("", "[]", "1", '{"plan": 1}'):
        with pytest.raises(InvalidRequestError, match="cannot be restored"):
            job.rewind(nonsense)
    job.rewind(state)
    assert job.ledger.finished == 0


def test_a_process_that_is_gone_takes_no_newer_one_with_it() -> None:
    job = make("a")
    job.leave("a", 1)
    job.join("a", 2, 0)
    job.leave("a", 1)
    assert job.members["a"].incarnation == 2
