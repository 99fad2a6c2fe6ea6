"""With DataLoader's workers, and with frameworks that make samplers and loaders anew."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler
from torch.utils.data.distributed import DistributedSampler as TorchSampler

from chronos_common.data.torch import BalancedBatchSampler, DistributedSampler
from chronos_common.errors import ConfigurationError
from tests.support.sized import Numbers, numbers


def balanced(data: Numbers, rank: int = 0, **options: Any) -> BalancedBatchSampler:
    return BalancedBatchSampler(DistributedSampler(data, 2, rank, batch_size=4, kind="dynamic"), **options)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_persistent_workers_deliver_each_epoch_and_a_state_counts_what_was_trained() -> None:
    data = numbers(41)
    batches = balanced(data)
    loader = DataLoader(
        data, batch_sampler=batches, num_workers=1, persistent_workers=True, prefetch_factor=3
    )
    for epoch in range(2):
        batches.set_epoch(epoch)
        seen = []
        for batch, share in batches.follow(loader):
            assert batch.tolist() == share.batch
            assert batches.state_dict()["step"] == share.plan.step
            share.finish()
            assert batches.state_dict()["step"] == share.plan.step + 1
            seen += batch.tolist()
        expected = balanced(data)
        expected.set_epoch(epoch)
        assert seen == [index for step in expected for index in step]


def test_a_loop_that_says_nothing_has_finished_a_step_when_it_asks_for_the_next() -> None:
    batches = balanced(numbers(41))
    loader = DataLoader(numbers(41), batch_sampler=batches)
    steps = [batches.state_dict()["step"] for _ in batches.follow(loader)]
    assert steps == list(range(len(batches)))
    assert batches.state_dict()["step"] == len(batches)


def test_a_state_never_stands_between_steps_that_accumulate() -> None:
    batches = balanced(numbers(41), accumulate=4)
    found = []
    for _, share in batches.follow(DataLoader(numbers(41), batch_sampler=batches)):
        share.finish()
        found.append(batches.state_dict()["step"])
    assert found == [0, 0, 0, 4, 4, 6]


def test_another_loader_than_the_samplers_is_noticed() -> None:
    batches = balanced(numbers(41))
    with pytest.raises(ConfigurationError, match="did not hand out"):
        next(batches.follow(DataLoader(numbers(41))))


def test_as_a_plain_sampler_a_loader_of_its_batch_size_gives_the_planned_steps() -> None:
    data = numbers(64)
    sampler = DistributedSampler(data, 2, 0, batch_size=4)
    for batch, share in sampler.follow(DataLoader(data, batch_size=4, sampler=sampler)):
        assert batch.tolist() == share.batch
        assert share.weight == 1.0


# What follows does what Lightning and Accelerate do with loaders: by their code, not with it.


def lightning_needs_another_sampler(loader: DataLoader[Any]) -> bool:
    """Lightning replaces whatever is not torch's DistributedSampler."""
    return not isinstance(loader.sampler, TorchSampler)


def lightning_made_anew(loader: DataLoader[Any], sampler: Any) -> Any:
    """Lightning's way to put a sampler into a batch sampler of a user's class."""
    old: Any = loader.batch_sampler
    if type(old) is BatchSampler:
        return DataLoader(loader.dataset, batch_size=loader.batch_size, sampler=sampler)
    return type(old)(sampler, batch_size=old.batch_size, drop_last=old.drop_last)


def lightning_set_epoch(loader: DataLoader[Any], epoch: int) -> None:
    """Lightning tells the sampler, and that inside of the batch sampler."""
    for sampler in (loader.sampler, getattr(loader.batch_sampler, "sampler", None)):
        if callable(getattr(sampler, "set_epoch", None)):
            sampler.set_epoch(epoch)  # type: ignore[union-attr]


def test_lightning_keeps_the_plain_sampler_and_tells_it_the_epoch() -> None:
    data = numbers(64)
    loader = DataLoader(data, batch_size=4, sampler=DistributedSampler(data, 2, 1, batch_size=4))
    assert not lightning_needs_another_sampler(loader)
    first = torch.cat(list(loader)).tolist()
    lightning_set_epoch(loader, 1)
    assert torch.cat(list(loader)).tolist() != first
    again = lightning_made_anew(loader, loader.sampler)
    assert torch.cat(list(again)).tolist() == torch.cat(list(loader)).tolist()


def test_lightning_tells_the_batch_sampler_the_epoch_and_can_make_it_anew() -> None:
    data = numbers(64)
    batches = balanced(data)
    loader = DataLoader(data, batch_sampler=batches)
    lightning_set_epoch(loader, 3)
    assert batches.sampler.epoch == 3
    assert list(lightning_made_anew(loader, batches.sampler)) == list(batches)


def test_a_sampler_that_lightning_put_in_its_place_is_refused_with_the_way_out() -> None:
    data = numbers(64)
    loader = DataLoader(data, batch_sampler=balanced(data))
    for other in (TorchSampler(data, 2, 0), SequentialSampler(data)):
        with pytest.raises(ConfigurationError, match="use_distributed_sampler=False"):
            lightning_made_anew(loader, other)


def accelerate_shard(batches: Any, ranks: int, rank: int) -> Iterator[list[int]]:
    """Accelerate deals batches out in turn; without ``even_batches`` any size goes."""
    assert batches.batch_size is None
    waiting: list[int] = []
    for number, batch in enumerate(batches):
        if number % ranks == rank:
            waiting = batch
        if number % ranks == ranks - 1:
            yield waiting


def test_accelerate_deals_every_rank_its_own_shares() -> None:
    data = numbers(41)
    for rank in range(2):
        for_all = balanced(data, rank, every_rank=True)
        assert len(for_all) == 2 * len(balanced(data))
        assert list(accelerate_shard(for_all, 2, rank)) == list(balanced(data, rank))


def test_shares_can_be_followed_through_accelerate() -> None:
    batches = balanced(numbers(41), 1, every_rank=True)
    for batch, share in batches.follow(accelerate_shard(batches, 2, 1)):
        assert batch == share.batch
    assert batches.state_dict()["step"] == batches.sampler.steps


def test_a_million_samples_are_handed_out_step_by_step() -> None:
    batches = balanced(Numbers([1.0] * 1_000_000))
    assert [len(batch) for batch in islice(batches, 3)] == [4, 4, 4]


def test_accumulation_over_no_step_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="accumulate is 0"):
        balanced(numbers(41), accumulate=0)
