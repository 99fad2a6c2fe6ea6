"""Measured speeds on ranks that plan apart: the same plans, however far each loader has run ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import islice
from typing import Any

import numpy as np
import pytest

from chronos_common.data.torch import (
    BalancedBatchSampler,
    DistributedSampler,
    Exchange,
    Feedback,
    FeedbackConfig,
)
from chronos_common.data.torch import exchange as torch_exchange
from chronos_common.errors import ConfigurationError, InvalidRequestError
from tests.support.exchanges import on_ranks
from tests.support.sized import Numbers, numbers

SLOWDOWN = (1.0, 1.0, 3.0)


def balanced(exchange: Exchange, data: Numbers, **config: Any) -> BalancedBatchSampler:
    feedback = Feedback(exchange, FeedbackConfig(**config))
    return BalancedBatchSampler(
        DistributedSampler(
            data, exchange.world_size, exchange.rank, batch_size=8, kind="dynamic", feedback=feedback
        )
    )


def taken_ahead(batches: BalancedBatchSampler, depth: int) -> Iterator[list[int]]:
    """A loader that has ``depth`` more batches at hand than it gave."""
    source = iter(batches)
    at_hand = deque(islice(source, depth + 1))
    while at_hand:
        yield at_hand.popleft()
        at_hand.extend(islice(source, 1))


def run_epochs(
    exchange: Exchange, depth: int, stop: int | None = None, **config: Any
) -> list[tuple[list[int], list[float]]]:
    """Counts of all ranks and their seconds, in each step of three epochs, of which the first ends at ``stop``."""
    data = numbers(240)
    batches = balanced(exchange, data, **config)
    found = []
    for epoch in range(3):
        batches.set_epoch(epoch)
        for _, share in batches.follow(taken_ahead(batches, depth)):
            if epoch == 0 and share.plan.step == stop:
                break
            share.finish(0.5 + 0.01 * share.cost * SLOWDOWN[exchange.rank])
            costs = [data.sizes()[share.plan.share(rank)].sum() for rank in range(3)]
            seconds = [0.5 + 0.01 * cost * slow for cost, slow in zip(costs, SLOWDOWN, strict=True)]
            found.append((share.plan.counts.tolist(), seconds))
    return found


@pytest.mark.parametrize(("every", "lookahead", "stop"), [(1, 0, None), (1, 4, None), (3, 4, 5), (4, 2, 7)])
def test_ranks_plan_the_same_and_find_the_slow_one(every: int, lookahead: int, stop: int | None) -> None:
    found = on_ranks(
        3,
        lambda exchange: run_epochs(
            exchange, min(exchange.rank * 2, lookahead), stop, every=every, lookahead=lookahead
        ),
    )
    assert found[0] == found[1] == found[2]
    last = np.array([seconds for _, seconds in found[0][-10:]])
    assert (last.max(axis=1) / last.mean(axis=1)).max() < 1.1
    first = np.array(found[0][0][1])
    assert first.max() / first.mean() > 1.3


def test_a_loader_that_runs_further_ahead_than_said_is_told_so() -> None:
    def body(exchange: Exchange) -> None:
        batches = balanced(exchange, numbers(80), lookahead=1)
        list(taken_ahead(batches, 2))

    with pytest.raises(ConfigurationError, match="num_workers \\* prefetch_factor"):
        on_ranks(1, body)


def test_a_step_without_its_seconds_is_an_error() -> None:
    def body(exchange: Exchange) -> None:
        batches = balanced(exchange, numbers(80))
        list(batches.follow(batches))

    with pytest.raises(
        ConfigurationError, match=r"step 0 ended without its seconds.*share.finish\(seconds\)"
    ):
        on_ranks(1, body)


@pytest.mark.parametrize(
    ("cost", "seconds"), [(1.0, 0.0), (1.0, float("nan")), (-1.0, 1.0), (float("inf"), 1.0)]
)
def test_what_is_reported_must_be_a_measurement(cost: float, seconds: float) -> None:
    def body(exchange: Exchange) -> None:
        Feedback(exchange).report(cost, seconds)

    with pytest.raises(InvalidRequestError, match="seconds for a share of cost"):
        on_ranks(1, body)


@pytest.mark.parametrize(
    ("config", "words"),
    [({"every": 0}, "every is 0"), ({"lookahead": -1}, "lookahead is -1"), ({"every": 1.5}, "every")],
)
def test_settings_that_cannot_be_are_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        FeedbackConfig(**config)


def test_a_rank_that_is_there_twice_is_named() -> None:
    def body(exchange: Exchange) -> None:
        DistributedSampler(numbers(40), 3, min(exchange.rank, 1), batch_size=2, feedback=Feedback(exchange))

    with pytest.raises(ConfigurationError, match="rank 1 is there 2 times among 3 processes"):
        on_ranks(3, body)


def test_as_many_ranks_must_exchange_as_plan() -> None:
    def body(exchange: Exchange) -> None:
        DistributedSampler(numbers(40), 3, exchange.rank, batch_size=2, feedback=Feedback(exchange))

    with pytest.raises(ConfigurationError, match="num_replicas is 3, and 2 processes"):
        on_ranks(2, body)


@pytest.mark.parametrize(
    ("samples", "seed", "kind", "words"),
    [
        ((40, 41), (0, 0), ("static", "static"), "number of samples of rank 1"),
        ((40, 40), (0, 1), ("static", "static"), "sizes of rank 1"),
        ((40, 40), (0, 0), ("static", "dynamic"), "configuration of rank 1"),
    ],
)
def test_ranks_that_would_plan_for_something_else_are_told_so(
    samples: tuple[int, int], seed: tuple[int, int], kind: Any, words: str
) -> None:
    def body(exchange: Exchange) -> str:
        rank = exchange.rank
        with pytest.raises(ConfigurationError, match=words):
            DistributedSampler(
                numbers(samples[rank], seed[rank]),
                2,
                rank,
                batch_size=2,
                kind=kind[rank],
                feedback=Feedback(exchange),
            )
        return "told"

    assert on_ranks(2, body) == ["told", "told"]


class Counted:
    """An exchange that knows which of its gathers nobody waited for."""

    def __init__(self, inner: Exchange) -> None:
        self._inner = inner
        self.rank, self.world_size = inner.rank, inner.world_size
        self.under_way = 0

    def gather(self, values: np.ndarray) -> Callable[[], np.ndarray]:
        result = self._inner.gather(values)
        self.under_way += 1

        def wait() -> np.ndarray:
            self.under_way -= 1
            return result()

        return wait


@pytest.mark.parametrize("every", [1, 3])
def test_an_epoch_leaves_no_gather_under_way(every: int) -> None:
    def body(exchange: Exchange) -> int:
        counted = Counted(exchange)
        batches = balanced(counted, numbers(40), every=every)
        for _, share in batches.follow(batches):
            share.finish(1.0)
        return counted.under_way

    assert on_ranks(2, body) == [0, 0]


def test_a_process_that_ends_waits_a_bounded_time_for_gathers_that_nobody_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited: list[timedelta] = []

    class Work:
        def wait(self, timeout: timedelta) -> None:
            waited.append(timeout)
            raise RuntimeError("the others are gone")

    monkeypatch.setattr(torch_exchange, "_under_way", {1: Work(), 2: Work()})
    torch_exchange.wait_at_exit()
    assert waited == [timedelta(seconds=2)] * 2
