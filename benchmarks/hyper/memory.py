"""Live tensor bytes against the number of inner steps."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from chronos_common.hypergradient import HypergradientEstimator
from chronos_common.problem import InnerProblem


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all storages that operations make while it is entered, for as long as they live.

    Attributes:
        live: now.
        peak: at most so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        known = {value.untyped_storage()._cdata for value in _tensors((args, kwargs or {}))}
        for value in _tensors(result):
            storage = value.untyped_storage()
            if storage._cdata not in known and storage._cdata not in self._seen:
                self._count(storage)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._seen.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.live -= size


def peak_bytes(problem: InnerProblem, estimator: HypergradientEstimator, steps: int) -> int:
    """The most bytes alive at once in an inner loop of ``steps`` steps and the hypergradient after it."""
    with LiveBytes() as counter:
        _, trajectory = problem.solve(num_steps=steps, keep_last=estimator.keep_last)
        estimator.compute_hypergradient(trajectory, problem)
    return int(counter.peak)


def slope(steps: Sequence[int], peaks: Sequence[int]) -> float:
    """The slope of log bytes against log steps, by least squares."""
    x, y = [math.log(n) for n in steps], [math.log(n) for n in peaks]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    along = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return along / sum((a - mean_x) ** 2 for a in x)


def _tensors(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    if isinstance(tree, tuple | list):
        return [tensor for part in tree for tensor in _tensors(part)]
    return []
