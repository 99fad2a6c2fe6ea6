"""Two real processes on gloo take uneven shares: their gradient is that of one process, and their plans agree."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.support.uneven import (
    BATCH,
    SAMPLES,
    WORLD,
    Rows,
    balanced,
    gradient,
    mean_loss,
    network,
    run_ranks,
)

pytestmark = pytest.mark.slow

Found = list[dict[str, Any]]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return run_ranks(tmp_path_factory.mktemp("ranks"))


def expected_gradients(dtype: torch.dtype, accumulate: int) -> list[list[float]]:
    """The same steps in one process: the mean loss over all samples of one step of the optimiser."""
    rows = Rows(dtype)
    sampler = balanced(rows, 0, WORLD).sampler
    found = []
    for first in range(0, sampler.steps, accumulate):
        steps = range(first, min(sampler.steps, first + accumulate))
        indices = [index for step in steps for index in sampler.plan(0, step).indices.tolist()]
        module = network(dtype)
        mean_loss(module, rows.x[indices], rows.y[indices]).backward()
        found.append(gradient(module))
    return found


@pytest.mark.parametrize("how", ["weight", "hook"])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    ("name", "dtype", "atol", "rtol"),
    [("float64", torch.float64, 1e-6, 0), ("float32", torch.float32, 0, 1e-5)],
)
def test_the_gradient_is_that_of_one_process(
    ranks: Found, how: str, accumulate: int, name: str, dtype: torch.dtype, atol: float, rtol: float
) -> None:
    expected = expected_gradients(torch.float64, accumulate)
    for found in ranks:
        steps = found[f"{how}-{name}-{accumulate}"]
        assert len(steps) == len(expected)
        for step, wanted in zip(steps, expected, strict=True):
            got, exact = (
                torch.tensor(step["gradient"], dtype=torch.float64),
                torch.tensor(wanted, dtype=torch.float64),
            )
            assert (got - exact).norm() <= atol + rtol * exact.norm()


def test_counts_differ_and_one_rank_goes_without(ranks: Found) -> None:
    counts = [[step["count"] for step in found["weight-float64-1"]] for found in ranks]
    together = list(zip(*counts, strict=True))
    assert sum(map(sum, counts)) == SAMPLES
    assert any(a != b for a, b in together[:-1])
    assert sorted(together[-1]) == [0, 1]


def test_the_slow_rank_gets_less_and_each_sample_is_taken_once(ranks: Found) -> None:
    first, second = (found["feedback"] for found in ranks)
    assert [step["counts"] for step in first] == [step["counts"] for step in second]
    epoch = len(first) // 3
    for start in range(0, len(first), epoch):
        taken = [
            index
            for found in (first, second)
            for step in found[start : start + epoch]
            for index in step["indices"]
        ]
        assert sorted(taken) == list(range(SAMPLES))
    sizes = Rows(torch.float32).sizes()
    full = [slice(epoch * number, epoch * number + SAMPLES // (BATCH * WORLD)) for number in (1, 2)]
    load = [
        sum(sizes[step["indices"]].sum() for part in full for step in found[part])
        for found in (first, second)
    ]
    assert load[0] > 2 * load[1]


def test_ranks_with_different_settings_are_told_so_on_each(ranks: Found) -> None:
    for found in ranks:
        assert "the configuration of rank 1 differs from that of rank 0" in found["disagreement"]


def test_batch_normalisation_is_warned_of_once_and_only_when_counts_differ(ranks: Found) -> None:
    for found in ranks:
        (warning,) = found["batch_norm"]["warnings"]
        assert "convert_sync_batchnorm" in warning
        assert found["batch_norm"]["seconds"] == [1.0, 1.0, 1.0, 1.0]
