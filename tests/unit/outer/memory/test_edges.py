"""A memory at the edges: huge losses, long texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chronos_common.outer.memory import ContinuumMemory, MemoryConfig
from chronos_common.tensors import Array, TensorSpec


def at(value: float) -> dict[str, Array]:
    return {"decay": np.full(3, value)}


def memory(**config: Any) -> ContinuumMemory:
    spec = TensorSpec(name="decay", shape=(3,), dtype="float64")
    return ContinuumMemory.empty(MemoryConfig(**config), (spec,))


def test_the_trend_of_huge_losses_neither_overflows_nor_breaks() -> None:
    found = memory()
    for step in range(20):
        found = found.store(at(float(step)), at(1.0), 1.7e308 - step * 1e306)
    assert found.loss_trend().slope == pytest.approx(-1e306, rel=1e-6)


def test_what_is_said_of_entries_and_places_counts_towards_the_budget() -> None:
    plain = memory().store(at(0.0), at(1.0), 1.0).forbid(at(9.0))
    said = memory().store(at(0.0), at(1.0), 1.0, source="ü" * 500)
    assert said.forbid(at(9.0), reason="é" * 300).size_bytes == plain.size_bytes + 1600
    found = memory(max_bytes=4 * plain.size_bytes)
    for step in range(30):
        found = found.store(at(float(step)), at(1.0), 1.0, source="x" * 400)
    assert found.size_bytes <= 4 * plain.size_bytes
    assert 1 <= len(found) <= 2
