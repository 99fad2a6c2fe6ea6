"""Peak memory against what tensors really hold, and what does not fit."""

from __future__ import annotations

import pytest
from torch import nn

from benchmarks.predicting.memory import OPTIMISERS, peak
from chronos_common.errors import BatchTooLargeError
from chronos_common.prediction.catalogue import counts_of
from chronos_common.prediction.devices import device
from chronos_common.prediction.memory import largest_batch, memory_of, require_fit
from chronos_common.prediction.names import Optimizers, Precision
from chronos_common.prediction.torch.counting import count


@pytest.mark.parametrize("optimizer", list(OPTIMISERS))
@pytest.mark.parametrize("batch", [2, 24])
def test_the_peak_is_what_the_allocator_sees(optimizer: Optimizers, batch: int) -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(64, 10),
    )  # fmt: skip
    predicted = memory_of(count(module, (3, 32, 32)), batch, optimizer, Precision.FLOAT32)
    assert predicted.peak == pytest.approx(peak(module, (3, 32, 32), batch, OPTIMISERS[optimizer]), rel=0.1)
    assert not predicted.estimated


def test_sixteen_bits_take_less_and_are_an_estimate() -> None:
    counts = counts_of("resnet50", "STL10")
    full = memory_of(counts, 256, Optimizers.ADAMW, Precision.FLOAT32)
    mixed = memory_of(counts, 256, Optimizers.ADAMW, Precision.MIXED16)
    assert 0.4 * full.peak < mixed.peak < 0.75 * full.peak
    assert mixed.estimated


def test_a_batch_that_cannot_fit_is_refused_with_the_largest_that_can() -> None:
    counts, small = counts_of("ViT", "STL10"), device("P4")
    with pytest.raises(BatchTooLargeError, match="the largest that fits is") as refused:
        require_fit(counts, 4096, Optimizers.ADAMW, Precision.MIXED16, small)
    largest = int(refused.value.details["largest_batch_size"])
    assert largest == largest_batch(counts, Optimizers.ADAMW, Precision.MIXED16, small)
    fitting = memory_of(counts, largest, Optimizers.ADAMW, Precision.MIXED16)
    above = memory_of(counts, largest + 1, Optimizers.ADAMW, Precision.MIXED16)
    assert fitting.risk(small) <= 0.5 < above.risk(small)


def test_measured_batches_are_not_refused() -> None:
    # The data hold this step on a P4 of 8 GB.
    require_fit(counts_of("vgg16", "TinyImageNet"), 256, Optimizers.MOMENTUM, Precision.FLOAT32, device("P4"))
