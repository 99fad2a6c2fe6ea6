"""Counts that are kept: an equal module is counted once, a changed one again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from chronos_common.prediction.counts import Counts
from chronos_common.prediction.torch import remembered as module_under_test
from chronos_common.prediction.torch.counting import count
from chronos_common.prediction.torch.remembered import Remembered


class Stack(nn.Module):
    """As many products as an attribute says."""

    def __init__(self, depth: int = 2) -> None:
        super().__init__()
        self.depth = depth
        self.once = nn.Linear(8, 8)
        self.activation: Callable[..., Any] = torch.relu

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        for _ in range(self.depth):
            inputs = self.activation(self.once(inputs))
        return inputs


class Peeks(nn.Module):
    """Asks for a value, which no meta tensor has."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(inputs)
        return found if float(found.sum()) > 1e9 else 2 * found


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """Modules that were really counted."""
    found: list[nn.Module] = []

    def spy(module: nn.Module, shape: Any, *, dtype: Any) -> Counts:
        found.append(module)
        return count(module, shape, dtype=dtype)

    monkeypatch.setattr(module_under_test, "count", spy)
    return found


def test_an_equal_module_is_counted_once(counted: list[nn.Module]) -> None:
    kept, first = Remembered(), Stack()
    found = kept.count(first, (8,), torch.float32)
    assert kept.count(first, (8,), torch.float32) is found
    assert kept.count(Stack(), (8,), torch.float32) is found
    first.eval()
    assert kept.count(first, (8,), torch.float32) is found
    assert counted == [first]


@pytest.mark.parametrize(
    "change",
    [
        lambda made: setattr(made, "depth", 5),
        lambda made: setattr(made, "activation", torch.tanh),
        lambda made: setattr(made, "once", nn.Linear(8, 8, bias=False)),
        lambda made: made.once.weight.requires_grad_(False),
        lambda made: made.double(),
        lambda made: made.register_buffer("more", torch.zeros(3)),
        lambda made: setattr(made, "forward", made.once.forward),
        lambda made: made.once.register_forward_hook(lambda *_: None),
    ],
    ids=["attribute", "function", "layer", "frozen", "dtype", "buffer", "forward", "hook"],
)
def test_a_changed_module_is_counted_again(change: Any, counted: list[nn.Module]) -> None:
    kept, made = Remembered(), Stack()
    kept.count(made, (8,), torch.float32)
    change(made)
    dtype = next(made.parameters()).dtype
    kept.count(made, (8,), dtype)
    assert len(counted) == 2


def test_shared_parameters_make_another_model(counted: list[nn.Module]) -> None:
    kept = Remembered()
    apart = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    assert kept.count(apart, (4,), torch.float32) != kept.count(tied, (4,), torch.float32)


def test_what_depends_on_values_is_counted_each_time(counted: list[nn.Module]) -> None:
    kept = Remembered()
    peeking, holding = Peeks(), Stack()
    holding.table = torch.zeros(3)  # neither parameter nor buffer
    for made, shape in ((peeking, (4,)), (holding, (8,))):
        for _ in range(2):
            kept.count(made, shape, torch.float32)
    assert counted == [peeking, peeking, holding, holding]
    assert "counted on the CPU" in kept.count(peeking, (4,), torch.float32).degraded


def test_the_oldest_counts_go_first(counted: list[nn.Module]) -> None:
    kept = Remembered(kept=2)
    for size in (3, 4, 3, 5, 3, 4):
        kept.count(nn.Linear(size, 2), (size,), torch.float32)
    assert [made.in_features for made in counted] == [3, 4, 5, 4]
