from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional

from chronos_common.errors import ConfigurationError
from chronos_common.problem import Context, Shard, Task, isolated_rng

VARIANTS = {
    "same": Context(),
    "seed": Context(seed=1),
    "version": Context(base_version=1),
    "step": Context().at(step=1),
    "stream": Context().at(stream="other"),
    "task": Context().at(task=Task(index=1)),
    "shard": Context().at(shard=Shard(index=1, count=2)),
}


def draw(ctx: Context) -> tuple[float, ...]:
    return tuple(torch.rand(3, generator=ctx.generator).tolist())


def test_every_part_of_the_address_changes_the_numbers() -> None:
    assert len({draw(ctx) for ctx in VARIANTS.values()}) == len(VARIANTS)


def test_numbers_depend_on_the_address_alone() -> None:
    ctx = Context(seed=5, base_version=2).at(step=9, stream="batch")
    first = draw(ctx)
    torch.rand(100)
    assert draw(ctx) == first
    assert draw(Context(seed=5, base_version=2, step=9, stream="batch")) == first
    moved = ctx.at(training=False)
    assert draw(dataclasses.replace(moved, lower={})) == first
    assert not moved.training


def test_the_seed_is_the_same_in_every_process_and_release() -> None:
    """A resumed run must draw what the first one would have drawn."""
    assert Context(seed=1, base_version=2, step=3, stream="inner_batch").stream_seed == 6974799018288751525


def test_dropout_is_reproducible_and_the_global_generator_is_given_back() -> None:
    def masked(ctx: Context) -> torch.Tensor:
        with isolated_rng(ctx):
            return functional.dropout(torch.ones(50), training=True)

    torch.manual_seed(0)
    expected = torch.rand(4)
    torch.manual_seed(0)
    one = masked(Context(step=1))
    assert torch.equal(torch.rand(4), expected)
    assert torch.equal(one, masked(Context(step=1)))
    assert not torch.equal(one, masked(Context(step=2)))


@pytest.mark.parametrize(("index", "count"), [(0, 0), (2, 2), (-1, 2)])
def test_a_shard_must_exist(index: int, count: int) -> None:
    with pytest.raises(ConfigurationError, match="shard"):
        Shard(index=index, count=count)


def test_shards_cover_everything_once_and_none_is_empty() -> None:
    parts = [list(Shard(index=i, count=3).positions(8)) for i in range(3)]
    assert sorted(i for part in parts for i in part) == list(range(8))
    assert [list(Shard(index=i, count=5).positions(2)) for i in range(5)] == [[0], [1], [0], [1], [0]]
    assert list(Shard().positions(0)) == []
