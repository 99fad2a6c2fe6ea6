"""How long a question lasts: about modules, the first time and again, and the first of a process, imports included."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from chronos_common.prediction.predictor import TrainingTimePredictor

REPEATS = 20
FIRST = """
import time
from chronos_common.prediction import *
TrainingTimePredictor(model=Models.RESNET50, dataset=Datasets.CIFAR10, batch_size=128, gpu="L40S").predict_total()
print(time.process_time())
"""


class Residual(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.way = nn.Sequential(
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False), nn.BatchNorm2d(outside),
        )  # fmt: skip
        self.around: nn.Module = nn.Identity()
        if stride > 1 or inside != outside:
            self.around = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Batch of images to batch of images."""
        return torch.relu(self.way(inputs) + self.around(inputs))


def modules() -> Iterator[tuple[str, nn.Module, tuple[int, ...]]]:
    """Models of the usual size, as their users build them."""
    blocks = [
        Residual(max(width // 2, 64) if first else width, width, 2 if first and width > 64 else 1)
        for width in (64, 128, 256, 512)
        for first in (True, False)
    ]
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)]
    yield "residual network, 18 layers", nn.Sequential(*stem, *blocks, *head), (3, 224, 224)
    layer = nn.TransformerEncoderLayer(256, 8, 1024, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
    yield "encoder, 6 layers", nn.Sequential(encoder, nn.Flatten(), nn.Linear(256 * 64, 10)), (64, 256)


def ask(module: nn.Module, shape: tuple[int, ...]) -> None:
    """One question, from making the predictor to the whole answer."""
    TrainingTimePredictor(
        model=module, dataset=50_000, batch_size=32, gpu="L40S", input_shape=shape
    ).predict_total()


def milliseconds(action: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU time of this process."""
    wall, own = time.perf_counter(), time.process_time()
    action()
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - own)


def measure() -> Iterator[dict[str, Any]]:
    """Each module, and a fresh process."""
    for name, module, shape in modules():
        first = milliseconds(partial(ask, module, shape))
        walls, own = zip(*(milliseconds(partial(ask, module, shape)) for _ in range(REPEATS)), strict=True)
        yield {
            "split": "query",
            "family": name,
            "first query CPU ms": first[1],
            "query ms": statistics.median(walls),
            "query CPU ms": statistics.median(own),
        }
    answer = subprocess.run([sys.executable, "-c", FIRST], check=True, capture_output=True, text=True)
    yield {"split": "query", "family": "fresh process", "first query CPU ms": 1000 * float(answer.stdout)}
