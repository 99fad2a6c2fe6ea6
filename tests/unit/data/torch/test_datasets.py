"""Sizes: who is asked, in what order, how often, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch.utils.data as base

from chronos_common.data.torch import ChainDataset, ConcatDataset, Dataset, IterableDataset, sizes_of
from chronos_common.errors import ConfigurationError


class Texts(Dataset[str]):
    def __init__(self, *lengths: float) -> None:
        self.lengths = lengths
        self.asked = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> str:
        return "x" * int(self.lengths[index])

    def __sizeof__(self, index: int | None = None) -> Any:
        self.asked += 1
        return super().__sizeof__() if index is None else self.lengths[index]


class Known(Dataset[int]):
    def __init__(self, sizes: Any, samples: int) -> None:
        self.given, self.samples = sizes, samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> int:
        return index

    def __sizeof__(self, index: int | None = None) -> int:
        raise AssertionError("all sizes are known at once")

    def sizes(self) -> Any:
        return np.asarray(self.given)


class Stream(IterableDataset[int]):
    def __init__(self, *lengths: int) -> None:
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(self.lengths)

    def __sizeof__(self, index: int | None = None) -> int:
        return super().__sizeof__() if index is None else self.lengths[index]


class Plain(base.Dataset[int]):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        return index


def test_a_size_is_one_unless_a_data_set_says_otherwise() -> None:
    class Bare(Dataset[int]):
        def __len__(self) -> int:
            return 3

    assert Bare().__sizeof__(1) == 1
    assert sizes_of(Bare()).tolist() == [1, 1, 1]
    assert sizes_of(Plain()).tolist() == [1, 1]
    assert sizes_of([10, 20]).tolist() == [1, 1]


@pytest.mark.parametrize(
    "dataset", [Texts(3, 4), Stream(3, 4), ConcatDataset([Texts(3)]), ChainDataset([Stream(3)])]
)
def test_python_may_still_ask_for_the_bytes(dataset: Any) -> None:
    assert sys.getsizeof(dataset) > 16


def test_a_concatenation_asks_its_parts() -> None:
    both = ConcatDataset([Texts(3, 4), Plain(), Texts(5)])
    assert [both.__sizeof__(index) for index in range(5)] == [3, 4, 1, 1, 5]
    assert both.__sizeof__(-1) == 5
    assert both.sizes().tolist() == sizes_of(both).tolist() == [3, 4, 1, 1, 5]
    with pytest.raises(IndexError, match="5 of 5"):
        both.__sizeof__(5)


def test_concatenations_nest() -> None:
    assert sizes_of(ConcatDataset([ConcatDataset([Texts(2), Texts(3)]), Texts(4)])).tolist() == [2, 3, 4]


def test_a_chain_asks_its_streams_and_can_be_run_through_more_than_once() -> None:
    chain: ChainDataset = ChainDataset(stream for stream in (Stream(3, 4), Stream(5)))
    assert [chain.__sizeof__(index) for index in range(3)] == [3, 4, 5]
    assert sizes_of(chain).tolist() == [3, 4, 5]
    assert list(chain) == list(chain) == [3, 4, 5]


def test_torchs_own_subsets_and_concatenations_ask_their_parts() -> None:
    texts = Texts(3, 4, 5)
    assert sizes_of(base.Subset(texts, [2, 0])).tolist() == [5, 3]
    assert sizes_of(base.ConcatDataset([texts, Plain()])).tolist() == [3, 4, 5, 1, 1]


def test_sizes_are_asked_once_and_known_ones_at_once() -> None:
    texts = Texts(3, 4)
    first = sizes_of(texts)
    assert sizes_of(texts) is first
    assert texts.asked == 2
    assert not first.flags.writeable
    assert sizes_of(Known([2, 3], 2)).tolist() == [2, 3]


def test_a_data_set_that_grew_is_asked_again() -> None:
    texts = Texts(3, 4)
    sizes_of(texts)
    texts.lengths = (3, 4, 5)
    assert sizes_of(texts).tolist() == [3, 4, 5]


def test_a_million_known_sizes_take_no_million_calls() -> None:
    assert len(sizes_of(Known(np.ones(1_000_000), 1_000_000))) == 1_000_000


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ([1, -2, 3], "sample 1 .*-2"),
        ([1, 2, float("nan")], "sample 2 .*nan"),
        ([0, 2, 3], "sample 0 .* 0"),
        ([1, 2, float("inf")], "sample 2 .*inf"),
        ([1, 2], "3 samples and sizes of shape"),
        ([[1, 2, 3]], "3 samples and sizes of shape"),
    ],
)
def test_sizes_that_nobody_can_plan_with_are_refused(sizes: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        sizes_of(Known(sizes, 3))


def test_the_first_wrong_size_is_named() -> None:
    with pytest.raises(ConfigurationError, match="sample 1"):
        sizes_of(Texts(1.0, float("nan")))


def test_missing_sizes_and_lengths_are_named() -> None:
    class Unsaid(Texts):
        def __sizeof__(self, index: int | None = None) -> Any:
            return None

    class Endless(base.IterableDataset[int]):
        def __iter__(self) -> Iterator[int]:
            return iter(())

    class Old(Dataset[int]):
        def __len__(self) -> int:
            return 1

        def __sizeof__(self) -> int:
            return 3

    with pytest.raises(ConfigurationError, match="sample 0 .*nan"):
        sizes_of(Unsaid(1))
    with pytest.raises(ConfigurationError, match="Endless has no length"):
        sizes_of(Endless())
    with pytest.raises(ConfigurationError, match="Old.__sizeof__"):
        sizes_of(Old())
    with pytest.raises(ConfigurationError, match="takes no index"):
        ConcatDataset([Old()]).__sizeof__(0)
