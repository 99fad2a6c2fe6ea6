"""Sizes from slices, and definitions: what is missing is known, what cannot be is refused and changes nothing."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from chronos_common.data import PlanConfig
from chronos_common.data.definition import DataPlanConfig
from chronos_common.data.slices import Slices
from chronos_common.errors import (
    ConfigurationError,
    CorruptStateError,
    InvalidRequestError,
    SizesDisagreeError,
)


def test_slices_in_any_order_make_the_whole() -> None:
    slices = Slices(6, partitioned=True)
    assert (slices.sized, slices.first_missing, slices.complete) == (0, 0, False)
    slices.add(4, np.array([5.0, 6.0]), node=1)
    slices.add(0, np.array([1.0, 2.0]))
    assert (slices.sized, slices.first_missing) == (4, 2)
    slices.add(1, np.array([2.0, 3.0, 4.0]))
    assert (slices.sized, slices.first_missing, slices.complete) == (6, 6, True)
    assert slices.sizes.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert slices.nodes is not None
    assert slices.nodes.tolist() == [0, 0, 0, 0, 1, 1]


def test_what_was_told_is_no_news_and_must_agree() -> None:
    slices = Slices(4, partitioned=True)
    assert slices.news(0, np.ones(3))
    slices.add(0, np.ones(3))
    assert not slices.news(1, np.ones(2))
    assert slices.news(2, np.ones(2))
    with pytest.raises(SizesDisagreeError, match="sample 1"):
        slices.news(1, np.array([2.0, 1.0]))
    with pytest.raises(SizesDisagreeError, match="sample 0"):
        slices.news(0, np.ones(1), node=1)
    assert slices.sized == 3


@pytest.mark.parametrize(
    ("begin", "values", "node", "word"),
    [
        (0, [], 0, "0 samples"),
        (3, [1.0, 1.0], 0, "samples 0 to 3"),
        (-1, [1.0], 0, "samples 0 to 3"),
        (0, [1.0, math.nan], 0, "sample 1"),
        (0, [0.0, 1.0], 0, "sample 0"),
        (2, [1.0, -5.0], 0, "sample 3"),
        (0, [math.inf], 0, "finite"),
        (0, [1.0], 1, "node"),
    ],
)
def test_a_slice_that_cannot_be_is_refused(begin: int, values: list[float], node: int, word: str) -> None:
    slices = Slices(4)
    with pytest.raises(InvalidRequestError, match=word):
        slices.news(begin, np.array(values), node)
    assert slices.sized == 0


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"samples": 0}, "samples"),
        ({"samples": 1 << 40}, "samples"),
        ({"workers": 0}, "workers"),
        ({"workers": 101}, "101 workers for 100 samples"),
        ({"lookahead": 0}, "lookahead"),
        ({"samples": 1.5}, "samples"),
        ({"plan": PlanConfig(batch_size=200, drop_last=True)}, "no batch"),
        ({"plan": PlanConfig(batch_size=10, cost="cubic")}, "cubic"),
    ],
)
def test_a_definition_that_cannot_work_is_refused(changes: dict[str, Any], word: str) -> None:
    fields: dict[str, Any] = {"samples": 100, "plan": PlanConfig(batch_size=10), **changes}
    with pytest.raises(ConfigurationError, match=word):
        DataPlanConfig(**fields)


def test_a_definition_survives_the_journal() -> None:
    config = DataPlanConfig(samples=101, plan=PlanConfig(batch_size=10, drop_last=True, seed=3), workers=2)
    assert DataPlanConfig.from_json(config.to_json()) == config
    assert (config.steps, config.samples_of_epoch) == (10, 100)
    for damaged in ("{", "{}", json.dumps({**json.loads(config.to_json()), "samples": 0})):
        with pytest.raises(CorruptStateError, match="definition"):
            DataPlanConfig.from_json(damaged)
