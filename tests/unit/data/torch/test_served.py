"""Batches of a plan that somebody else holds: through loaders, deaths, joins, early ends and checkpoints."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from chronos_common.data.torch import Dataset, ServedBatchSampler, ServedShare
from chronos_common.errors import ConfigurationError, EpochNotOverError, InvalidRequestError
from tests.support.share_source import SharedPlan

SAMPLES = 40


class Numbers(Dataset[int]):
    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> int:
        return index


def once(epochs: int = 1) -> Counter[tuple[int, int]]:
    return Counter((epoch, sample) for epoch in range(epochs) for sample in range(SAMPLES))


def loader_of(batches: ServedBatchSampler, **options: Any) -> DataLoader[int]:
    return DataLoader(Numbers(), batch_sampler=batches, collate_fn=list, **options)


def in_threads(*works: Callable[[], None]) -> None:
    failed: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # it is raised below
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    if failed:
        raise failed[0]
    assert not any(thread.is_alive() for thread in threads)


def test_batches_are_the_shares_samples_and_every_sample_counts_once_in_two_epochs() -> None:
    plan = SharedPlan(SAMPLES, 8, 2)
    weights: dict[tuple[int, int], list[float]] = {}

    def work(name: str) -> None:
        batches = ServedBatchSampler(Numbers(), sources[name])
        loader = loader_of(batches)
        for epoch in range(2):
            for batch, share in batches.follow(loader):
                assert batch == share.indices.tolist() or (share.count == 0 and len(batch) == 1)
                weights.setdefault((epoch, share.dealt.turn), []).append(share.weight)
                assert share.finish(0.5)
        assert batches.epoch == 2  # without set_epoch, one epoch follows the other

    sources = {name: plan.source(name) for name in "ab"}
    in_threads(lambda: work("a"), lambda: work("b"))
    assert plan.finished == once(2)
    assert all(sum(both) == pytest.approx(2.0) for both in weights.values())
    assert {seconds for _, seconds in sources["a"].reports} == {0.5}


@pytest.mark.parametrize("prefetch", [1, 4])
@pytest.mark.parametrize("persistent", [False, True])
def test_a_loader_that_runs_ahead_never_waits_for_itself(prefetch: int, persistent: bool) -> None:
    plan = SharedPlan(SAMPLES, 8, 1, lookahead=2)
    batches = ServedBatchSampler(Numbers(), plan.source("a"))
    loader = loader_of(batches, num_workers=1, prefetch_factor=prefetch, persistent_workers=persistent)
    for _ in range(2):
        for batch, share in batches.follow(loader):
            assert batch == share.indices.tolist()
    assert plan.finished == once(2)


def test_who_lost_a_share_hears_that_it_does_not_count_and_others_take_it() -> None:
    plan = SharedPlan(SAMPLES, 8, 2)
    slow = ServedBatchSampler(Numbers(), plan.source("slow"))
    other = ServedBatchSampler(Numbers(), plan.source("other"))
    following = slow.follow(loader_of(slow))
    _, share = next(following)
    plan.leave("slow")
    plan.source("slow")  # it was silent for too long, and is back
    assert share.finish(1.0) is False
    assert share.counted is False

    def rest(batches: ServedBatchSampler) -> None:
        for _ in batches.follow(loader_of(batches)):
            pass

    def again() -> None:
        for _ in following:
            pass

    in_threads(again, lambda: rest(other))
    assert plan.finished == once()


def test_a_loop_that_ends_early_gets_what_it_has_not_finished_again() -> None:
    plan = SharedPlan(SAMPLES, 8, 1, lookahead=3)
    batches = ServedBatchSampler(Numbers(), plan.source("a"))
    loader = loader_of(batches, num_workers=1, prefetch_factor=3, persistent_workers=True)
    for step, (_, share) in enumerate(batches.follow(loader)):
        if step == 1:
            early = share.indices.tolist()
            break
    first = next(share for _, share in batches.follow(loader))
    assert first.indices.tolist() == early
    for _ in batches.follow(loader):
        pass
    assert plan.finished == once()


def test_a_worker_without_samples_loads_a_stand_in_of_weight_nothing() -> None:
    plan = SharedPlan(SAMPLES, 1, 2)  # one sample a step, two workers
    shares: list[ServedShare] = []

    def work(name: str) -> None:
        batches = ServedBatchSampler(Numbers(), sources[name])
        for batch, share in batches.follow(loader_of(batches)):
            assert len(batch) == 1
            shares.append(share)

    sources = {name: plan.source(name) for name in "ab"}
    in_threads(lambda: work("a"), lambda: work("b"))
    empty = [share for share in shares if not share.count]
    assert len(empty) == SAMPLES
    assert {(share.weight, share.size_weight, share.cost) for share in empty} == {(0.0, 0.0, 0.0)}
    assert {share.weight for share in shares if share.count} == {2.0}


def test_a_state_goes_through_json_and_brings_back_exactly_the_rest() -> None:
    plan = SharedPlan(SAMPLES, 8, 1)
    batches = ServedBatchSampler(Numbers(), plan.source("a"))
    for step, (_, share) in enumerate(batches.follow(loader_of(batches))):
        share.finish(0.1)
        if step == 1:
            break
    before = set(plan.finished)
    state = json.loads(json.dumps(batches.state_dict()))
    for _ in range(2):
        for _ in batches.follow(loader_of(batches)):
            pass
    plan.finished.clear()
    other = ServedBatchSampler(Numbers(), plan.source("a"))
    other.load_state_dict(state)
    for _ in other.follow(loader_of(other)):
        pass
    assert plan.finished == once() - Counter(before)
    elsewhere = SharedPlan(SAMPLES, 10, 1)
    with pytest.raises(InvalidRequestError, match="another plan"):
        ServedBatchSampler(Numbers(), elsewhere.source("a")).load_state_dict(state)
    for broken in ({}, {"epoch": 0, "plan": "§"}, {"epoch": "x", "plan": ""}):
        with pytest.raises(ConfigurationError, match="no state"):
            other.load_state_dict(broken)


def test_misuse_is_told() -> None:
    plan = SharedPlan(SAMPLES, 8, 1)
    batches = ServedBatchSampler(Numbers(), plan.source("a"))
    with pytest.raises(ConfigurationError, match="follow"):
        list(loader_of(batches))
    for foreign in ([], DataLoader(Numbers()), loader_of(batches, num_workers=1, in_order=False)):
        with pytest.raises(ConfigurationError, match="loader"):
            list(batches.follow(foreign))
    plan.fork_safe = False
    with pytest.raises(ConfigurationError, match="forkserver"):
        next(batches.follow(loader_of(batches, num_workers=1, multiprocessing_context="fork")))
    _, share = next(batches.follow(loader_of(batches)))
    for seconds in (0.0, -1.0, float("nan")):
        with pytest.raises(InvalidRequestError, match="seconds"):
            share.finish(seconds)
    batches.set_epoch(1)
    with pytest.raises(EpochNotOverError):
        next(batches.follow(loader_of(batches)))
    few = torch.utils.data.Subset(Numbers(), range(3))
    other = ServedBatchSampler(few, SharedPlan(SAMPLES, 8, 1).source("a"))
    with pytest.raises(ConfigurationError, match="the data set has 3"):
        next(other.follow(DataLoader(few, batch_sampler=other)))
