"""Measures the machine that this process runs on: products, memory, launches, loading; about ten seconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import torch

from chronos_common.prediction.machine import Machine
from chronos_common.runtime.host import memory_bytes

DTYPES: Final = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
SIDES: Final = {"cpu": 768, "cuda": 8192}
COPIED_BYTES: Final = {"cpu": 1 << 27, "cuda": 1 << 30}
LAUNCHES: Final = 500
BATCH: Final = 128
IMAGE: Final = (3, 32, 32)
TRIALS: Final = 3
"""Timings of which the median counts, at least."""


def probe(
    device: torch.device, *, seconds: float = 10.0, clock: Callable[[], float] = time.perf_counter
) -> Machine:
    """Measures a device.

    Args:
        device: to measure.
        seconds: that all of it may take, about; each measurement repeats until its share is spent.
        clock: monotonic seconds.
    """
    kind = "cuda" if device.type == "cuda" else "cpu"
    timer = _Timer(device, clock, seconds / (len(DTYPES) + 4))
    with torch.no_grad():
        products = {name: rate for name in DTYPES if (rate := _product(timer, device, name, SIDES[kind]))}
        copied = _copy(timer, device, COPIED_BYTES[kind])
        launch = _launch(timer, device)
        samples = BATCH / timer.median(_loader())
        moved = _move(timer, device)
    memory = torch.cuda.get_device_properties(device).total_memory if kind == "cuda" else memory_bytes()
    return Machine(
        label=f"cuda:{torch.cuda.get_device_name(device)}" if kind == "cuda" else "cpu",
        matmul_tflops=products,
        bandwidth_gb_per_second=copied,
        launch_microseconds=launch * 1e6,
        memory_gb=memory / 2**30,
        loading_samples_per_second=samples,
        loading_gb_per_second=moved,
        threads=torch.get_num_threads(),
        torch_version=str(torch.__version__),
    )


class _Timer:
    """Repeats an action until its share of the time is spent, and takes the median."""

    def __init__(self, device: torch.device, clock: Callable[[], float], share_seconds: float) -> None:
        self._device = device
        self._clock = clock
        self._share_seconds = share_seconds

    def median(self, action: Callable[[], object]) -> float:
        """Seconds of the action."""
        self.once(action)  # allocations, libraries' first calls
        found = [self.once(action) for _ in range(TRIALS)]
        until = self._clock() + self._share_seconds - sum(found)
        while self._clock() < until:
            found.append(self.once(action))
        return max(statistics.median(found), 1e-9)

    def once(self, action: Callable[[], object]) -> float:
        """Seconds of one action, until the device is done with it."""
        started = self._clock()
        action()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return self._clock() - started


def _product(timer: _Timer, device: torch.device, name: str, side: int) -> float | None:
    """TFLOP/s of a square matrix product; ``None`` where the device has not that precision."""
    if device.type != "cuda" and name == "tf32":
        return None
    left, right = (torch.rand(side, side, device=device).to(DTYPES[name]) for _ in range(2))
    try:
        with _tf32(name == "tf32"):
            seconds = timer.median(lambda: left @ right)
    except RuntimeError:  # a type that the device cannot multiply
        return None
    return 2 * side**3 / seconds * 1e-12


def _copy(timer: _Timer, device: torch.device, size: int) -> float:
    """GB/s of a copy within the device's memory."""
    source = torch.zeros(size // 4, device=device)
    target = torch.empty_like(source)
    return 2 * size / timer.median(lambda: target.copy_(source)) * 1e-9


def _launch(timer: _Timer, device: torch.device) -> float:
    """Seconds of one operation on a tensor so small that nothing but its launch takes time."""
    small = torch.zeros(16, device=device)

    def many() -> None:
        for _ in range(LAUNCHES):
            small.add_(1.0)

    return timer.median(many) / LAUNCHES


def _loader() -> Callable[[], object]:
    """Makes one batch as a training's loader does: each image cropped, flipped and normalised by itself."""
    images = torch.randint(0, 256, (BATCH, *IMAGE), dtype=torch.uint8)

    def sample(image: torch.Tensor) -> torch.Tensor:
        padded = torch.nn.functional.pad(image.float().div_(255), (4, 4, 4, 4))
        return padded[:, 2:34, 3:35].flip(-1).sub_(0.5).div_(0.25)

    return lambda: torch.stack([sample(image) for image in images])


def _move(timer: _Timer, device: torch.device) -> float:
    """GB/s of a batch from the host to the device."""
    batch = torch.zeros(64 * BATCH, *IMAGE)
    return batch.numel() * 4 / timer.median(lambda: batch.to(device, copy=True)) * 1e-9


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
