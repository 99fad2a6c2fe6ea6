"""The arithmetic of gradient weights, in one process."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from chronos_common.data.torch import (
    UnevenBatchNormWarning,
    WeightedReduction,
    loss_weight,
    warn_about_batch_norm,
)
from chronos_common.errors import InvalidRequestError


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6).filter(any))
def test_weighted_means_of_shares_average_to_the_mean_of_the_batch(counts: list[int]) -> None:
    draw = torch.Generator().manual_seed(sum(counts))
    shares = [torch.randn(count, generator=draw, dtype=torch.float64) for count in counts]
    means = [share.mean() if len(share) else torch.tensor(7.0) for share in shares]
    weighted = [
        loss_weight(len(share), sum(counts), len(counts)) * mean
        for share, mean in zip(shares, means, strict=True)
    ]
    assert torch.stack(weighted).mean().item() == pytest.approx(torch.cat(shares).mean().item(), abs=1e-12)


@pytest.mark.parametrize(
    ("own", "total", "world_size"),
    [(-1, 4, 2), (1, 0, 2), (5, 4, 2), (float("nan"), 4, 2), (1, float("inf"), 2), (1, 4, 0)],
)
def test_denominators_that_cannot_be_are_refused(own: float, total: float, world_size: int) -> None:
    with pytest.raises(InvalidRequestError):
        loss_weight(own, total, world_size)


def test_a_share_of_nothing_counts_nothing_even_if_its_mean_is_none() -> None:
    weight = torch.ones(3, requires_grad=True)
    loss = (torch.ones(0, 3) @ weight).mean()
    assert loss.isnan()
    scaled = WeightedReduction().scale(loss, 0)
    scaled.backward()
    assert scaled.item() == 0.0
    assert weight.grad is not None
    assert weight.grad.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("denominator", [-1.0, float("nan"), float("inf")])
def test_a_denominator_must_be_an_amount(denominator: float) -> None:
    with pytest.raises(InvalidRequestError, match="denominator"):
        WeightedReduction().scale(torch.tensor(1.0), denominator)
    with pytest.raises(InvalidRequestError, match="nominal"):
        WeightedReduction(nominal=denominator)


def test_only_normalisation_over_a_share_is_warned_of() -> None:
    with pytest.warns(UnevenBatchNormWarning, match="1.0, 2: batch normalisation.*convert_sync_batchnorm"):
        warn_about_batch_norm(
            nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2)), nn.BatchNorm2d(3))
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_about_batch_norm(nn.Sequential(nn.LayerNorm(2), nn.GroupNorm(1, 2), nn.SyncBatchNorm(2)))
