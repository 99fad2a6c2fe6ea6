"""Peaks of modules of several kinds against the allocator's events, and the workspace that oneDNN really returns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from benchmarks.predicting.memory import OPTIMISERS, peak
from chronos_common.prediction.counts import Counts, Line
from chronos_common.prediction.memory import memory_of
from chronos_common.prediction.names import Optimizers, Precision
from chronos_common.prediction.torch.counting import count
from chronos_common.prediction.torch.recurrent import workspace_bytes


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Which convolutions oneDNN gets depends on threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Last(nn.Module):
    """The last step of a recurrent network's output."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.inner(inputs)[0][:, -1]
        return output


def _tail(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]


def _modules() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    lstm = nn.LSTM(30, 40, 2, batch_first=True, bidirectional=True, dropout=0.1)
    return {
        "few channels": (
            nn.Sequential(
                nn.Conv2d(4, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU(), *_tail(32)
            ),
            (4, 16, 16),
        ),
        "strides and group normalisation": (
            nn.Sequential(
                nn.Conv2d(3, 16, 3, 2, 1), nn.GroupNorm(2, 16), nn.Conv2d(16, 32, 3, 2, 1), *_tail(32)
            ),
            (3, 40, 40),
        ),
        "transposed": (
            nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 16, 2, 2), nn.ReLU()),
            (3, 32, 32),
        ),
        "transposed, to an image": (
            nn.Sequential(
                nn.Conv2d(3, 32, 3, 2, 1),
                nn.ReLU(),
                nn.ConvTranspose2d(32, 16, 2, 2),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, 2, 1),
                nn.ConvTranspose2d(32, 3, 2, 2),
            ),
            (3, 32, 32),
        ),
        "LSTM": (nn.Sequential(Last(nn.LSTM(20, 64, batch_first=True)), nn.Linear(64, 5)), (12, 20)),
        "two-layer LSTM both ways": (nn.Sequential(Last(lstm), nn.Linear(80, 5)), (20, 30)),
    }


@pytest.mark.parametrize("name", list(_modules()))
@pytest.mark.parametrize("batch", [8, 32])
def test_peaks_are_within_a_tenth_of_what_the_allocator_sees(name: str, batch: int) -> None:
    module, shape = _modules()[name]
    counts = count(module, shape)
    assert not counts.degraded
    kind = Optimizers.MOMENTUM
    predicted = memory_of(counts, batch, kind, Precision.FLOAT32, processor=True).peak
    # The rules about copies were found on processors with AVX-512; others copy in smaller blocks.
    tolerance = 0.1 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 0.3
    assert predicted == pytest.approx(peak(module, shape, batch, OPTIMISERS[kind]), rel=tolerance)


@pytest.mark.parametrize(("steps", "batch", "inputs", "hidden"), [(10, 8, 20, 32), (2, 64, 256, 32)])
def test_an_lstm_keeps_the_workspace_that_it_returns(
    steps: int, batch: int, inputs: int, hidden: int
) -> None:
    node = nn.LSTM(inputs, hidden)(torch.zeros(steps, batch, inputs))[0].grad_fn
    while "MkldnnRnnLayer" not in node.name():
        node = node.next_functions[0][0]
    assert node._saved_result3.nbytes == workspace_bytes(steps, batch, inputs, hidden)


def test_what_is_frozen_or_shared_needs_memory_once_or_no_gradient() -> None:
    first, second = nn.Linear(16, 16), nn.Linear(16, 16)
    second.weight = first.weight
    second.bias.requires_grad_(False)
    found = count(nn.Sequential(first, second), (16,))
    assert (found.parameters, found.frozen_parameters) == (16 * 16 + 16, 16)
    assert memory_of(found, 4, Optimizers.ADAMW, Precision.FLOAT32).optimizer == 2 * 4 * (16 * 16 + 16)


def test_counts_of_before_know_no_processor_and_use_the_other_peak() -> None:
    old = Counts(peak_small=Line(per_sample=7.0), peak_large=Line(per_sample=5.0))
    assert "processor_small" not in old.to_json()
    assert Counts.from_json(old.to_json()) == old
    asked = memory_of(old, 3, Optimizers.ADAMW, Precision.FLOAT32, processor=True)
    assert asked.working == 4 * 21
