"""The drop-in sampler: every sample once, equal or varying counts, resumed with any number of ranks, clear refusals."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data.distributed import DistributedSampler as TorchSampler

from chronos_common.data.plan import Caps
from chronos_common.data.torch import BalancedBatchSampler, DistributedSampler, Exchange, Feedback
from chronos_common.errors import CapacityError, ConfigurationError, InvalidRequestError
from tests.support.exchanges import on_ranks
from tests.support.sized import numbers


def samplers(data: Any, ranks: int, **options: Any) -> list[DistributedSampler]:
    return [DistributedSampler(data, ranks, rank, **{"batch_size": 4, **options}) for rank in range(ranks)]


def lists(sampler: DistributedSampler) -> list[list[int]]:
    return [share.indices.tolist() for share in sampler.shares()]


@settings(max_examples=40)
@given(
    samples=st.integers(1, 80),
    ranks=st.integers(1, 5),
    batch_size=st.integers(1, 6),
    kind=st.sampled_from(["static", "dynamic", "guided"]),
    epoch=st.integers(0, 3),
)
def test_each_sample_is_taken_once_an_epoch(
    samples: int, ranks: int, batch_size: int, kind: str, epoch: int
) -> None:
    if samples < ranks:
        return
    taken: list[int] = []
    for sampler in samplers(numbers(samples), ranks, batch_size=batch_size, kind=kind):
        sampler.set_epoch(epoch)
        steps = lists(sampler)
        assert len(steps) == sampler.steps
        taken += [index for step in steps for index in step]
    assert sorted(taken) == list(range(samples))


@settings(max_examples=30)
@given(samples=st.integers(1, 80), ranks=st.integers(1, 5), batch_size=st.integers(1, 6))
def test_as_a_plain_sampler_it_is_as_long_as_torchs_and_every_rank_as_long_as_the_others(
    samples: int, ranks: int, batch_size: int
) -> None:
    if samples < ranks:
        return
    data = numbers(samples)
    found = [list(sampler) for sampler in samplers(data, ranks, batch_size=batch_size, kind="dynamic")]
    length = len(TorchSampler(data, ranks, 0))
    assert [len(indices) for indices in found] == [length] * ranks
    assert len(DistributedSampler(data, ranks, 0, batch_size=batch_size)) == length
    assert {index for indices in found for index in indices} == set(range(samples))


def test_as_a_plain_sampler_each_step_is_balanced() -> None:
    data = numbers(64 * 8)
    steps = [np.reshape(list(sampler), (-1, 16)) for sampler in samplers(data, 4, batch_size=16)]
    loads = np.array([[data.sizes()[step].sum() for step in mine] for mine in steps])
    assert (loads.max(axis=0) / loads.mean(axis=0)).mean() < 1.05


def test_without_the_tail_only_whole_batches_remain() -> None:
    dropping = samplers(numbers(30), 2, batch_size=4, drop_last=True)
    assert [sampler.steps for sampler in dropping] == [3, 3]
    assert [len(list(sampler)) for sampler in dropping] == [12, 12] == [len(sampler) for sampler in dropping]


def test_an_epoch_has_its_own_order_which_the_seed_decides() -> None:
    sampler = DistributedSampler(numbers(40), 2, 0, batch_size=4)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(DistributedSampler(numbers(40), 2, 0, batch_size=4, seed=1)) != first
    plain = DistributedSampler(numbers(40), 1, 0, batch_size=4, shuffle=False)
    assert sorted(list(plain)[:4]) == [0, 1, 2, 3]


@pytest.mark.parametrize("ranks_after", [1, 2, 3, 5])
@pytest.mark.parametrize("done", [0, 3, 7])
def test_a_resumed_epoch_has_exactly_the_samples_that_remain(ranks_after: int, done: int) -> None:
    data, taken = numbers(61), []
    for sampler in samplers(data, 2, kind="dynamic"):
        sampler.set_epoch(5)
        shares = sampler.shares()
        taken += [index for _ in range(done) for index in next(shares).indices.tolist()]
        state = json.loads(json.dumps(sampler.state_dict()))
    for sampler in samplers(data, ranks_after, kind="dynamic", batch_size=3):
        sampler.load_state_dict(state)
        sampler.set_epoch(5)
        taken += [index for step in lists(sampler) for index in step]
        sampler.set_epoch(6)
        assert len(lists(sampler)) == sampler.steps == 8
    assert sorted(taken) == list(range(61))


def test_the_pass_after_a_resumed_one_is_whole() -> None:
    sampler = DistributedSampler(numbers(40), 2, 0, batch_size=4)
    sampler.load_state_dict({**sampler.state_dict(), "step": 3})
    assert [len(lists(sampler)), len(lists(sampler))] == [2, 5]


def test_a_resumed_epoch_that_does_not_divide_says_so_to_a_plain_sampler() -> None:
    state = DistributedSampler(numbers(40), 2, 0, batch_size=4).state_dict()
    sampler = DistributedSampler(numbers(40), 3, 0, batch_size=4)
    sampler.load_state_dict(state)
    with pytest.raises(ConfigurationError, match="8 samples, which 3 ranks cannot divide"):
        next(iter(sampler))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "seed is 1 here and was 0"),
        ({"shuffle": False}, "shuffle is False here"),
        ({"drop_last": True}, "drop_last"),
        ({"cost": "quadratic"}, "cost"),
    ],
)
def test_a_state_of_another_order_is_refused(change: dict[str, Any], words: str) -> None:
    state = DistributedSampler(numbers(40), 2, 0, batch_size=4).state_dict()
    with pytest.raises(ConfigurationError, match=words):
        DistributedSampler(numbers(40), 2, 0, batch_size=4, **change).load_state_dict(state)


def test_a_state_of_other_data_or_none_at_all_is_refused() -> None:
    sampler = DistributedSampler(numbers(40), 2, 0, batch_size=4)
    with pytest.raises(ConfigurationError, match="samples is 40 here and was 41"):
        sampler.load_state_dict(DistributedSampler(numbers(41), 2, 0, batch_size=4).state_dict())
    with pytest.raises(ConfigurationError, match="no state of a sampler"):
        sampler.load_state_dict({"epoch": 1})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_size": None}, "batch_size is missing"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"rank": 2}, "rank is 2; with 2 ranks it must be 0 to 1"),
        ({"rank": -1}, "rank is -1"),
        ({"num_replicas": 0}, "num_replicas is 0"),
        ({"num_replicas": 11}, "10 samples for 11 ranks"),
        ({"num_replicas": None}, "num_replicas is missing and torch.distributed is not initialised"),
        ({"rank": None}, "rank is missing"),
        ({"kind": "clever"}, "kind is 'clever'"),
        ({"cost": "cubic"}, "cost is 'cubic'"),
        ({"groups": (0, 1)}, "without partition=True"),
        ({"partition": True}, "no groups for 2 ranks"),
        ({"partition": True, "groups": (0, 0, 1)}, "3 groups for 2 ranks"),
        ({"partition": True, "groups": (0, -1)}, "a node is a whole number"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any], words: str) -> None:
    given = {"num_replicas": 2, "rank": 0, "batch_size": 4, **arguments}
    with pytest.raises(ConfigurationError, match=words):
        DistributedSampler(numbers(10), **given)


def test_arguments_stand_where_other_samplers_have_them() -> None:
    sampler = DistributedSampler(
        numbers(10), 2, 1, False, 7, True, 2, "localhost", 50051, "dynamic", False, None
    )
    assert (sampler.config.kind, sampler.config.seed, sampler.config.shuffle) == ("dynamic", 7, False)
    assert (sampler.num_replicas, sampler.rank, sampler.drop_last, sampler.batch_size) == (2, 1, True, 2)


def test_ranks_take_no_more_than_they_can() -> None:
    data = numbers(64)
    caps = Caps(count=np.array([6, 0]), memory=np.array([0.0, 1e9]))
    shares = list(samplers(data, 2, batch_size=8, kind="dynamic", caps=caps)[0].shares())
    assert max(share.count for share in shares) == 6
    tight = Caps(count=np.array([1, 1]), memory=np.zeros(2))
    with pytest.raises(CapacityError):
        list(samplers(data, 2, caps=tight)[0].shares())


def test_a_cost_of_ones_own_is_what_is_balanced() -> None:
    data = numbers(64)
    for options in ({"cost": "quadratic"}, {"cost": lambda sizes: sizes**2}):
        share = next(samplers(data, 2, batch_size=16, **options)[0].shares())
        assert share.cost == pytest.approx((data.sizes()[share.indices] ** 2).sum(), rel=1e-6)
        assert share.size == pytest.approx(data.sizes()[share.indices].sum())


def test_steps_that_accumulate_share_one_denominator() -> None:
    data = numbers(30)
    shares = list(DistributedSampler(data, 2, 0, batch_size=4).shares(accumulate=3))
    assert [share.total_count for share in shares] == [24, 24, 24, 6]
    assert [share.last for share in shares] == [False, False, True, True]
    batches = [share.plan.indices for share in shares]
    assert shares[0].total_size == pytest.approx(sum(data.sizes()[indices].sum() for indices in batches[:3]))
    assert shares[1].weight == pytest.approx(2 * shares[1].count / 24)
    assert shares[3].size_weight == pytest.approx(2 * shares[3].size / data.sizes()[batches[3]].sum())


def test_a_rank_without_samples_loads_a_stand_in_that_counts_nothing() -> None:
    shares = [list(sampler.shares())[-1] for sampler in samplers(numbers(9), 2)]
    (without,) = [share for share in shares if not share.count]
    assert without.batch == without.plan.indices.tolist()
    assert without.weight == without.size_weight == without.cost == 0.0
    assert [share.weight for share in shares if share.count] == [2.0]


def test_seconds_must_be_seconds() -> None:
    share = next(DistributedSampler(numbers(9), 2, 0, batch_size=4).shares())
    for seconds in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidRequestError, match="seconds for step 0"):
            share.finish(seconds)


def test_parts_on_nodes_are_taken_by_the_ranks_that_reach_them() -> None:
    groups = (0, 0, 1)
    data = {0: numbers(24, seed=1), 1: numbers(12, seed=2)}

    def epoch(exchange: Exchange) -> tuple[list[int], int]:
        sampler = DistributedSampler(
            data[groups[exchange.rank]],
            3,
            exchange.rank,
            batch_size=4,
            partition=True,
            groups=groups,
            kind="dynamic",
            feedback=Feedback(exchange),
        )
        batches, taken = BalancedBatchSampler(sampler), []
        for batch, share in batches.follow(batches):
            taken += batch if share.count else []
            share.finish(1.0 + share.cost)
        with pytest.raises(ConfigurationError, match="use BalancedBatchSampler"):
            next(iter(sampler))
        return taken, len(batches)

    found = on_ranks(3, epoch)
    assert {steps for _, steps in found} == {3}
    assert sorted(found[0][0] + found[1][0]) == list(range(24))
    assert sorted(found[2][0]) == list(range(12))


def test_ranks_of_one_node_must_see_the_same_part() -> None:
    def build(exchange: Exchange) -> None:
        DistributedSampler(
            numbers(10, seed=exchange.rank),
            2,
            exchange.rank,
            batch_size=2,
            partition=True,
            groups=(0, 0),
            feedback=Feedback(exchange),
        )

    with pytest.raises(ConfigurationError, match="rank 1 sees another part"):
        on_ranks(2, build)
