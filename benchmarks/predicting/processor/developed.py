"""The models that the prior of processors was fitted to."""

from __future__ import annotations

from typing import Final

from torch import nn

from benchmarks.predicting.processor.modules import (
    Last,
    Model,
    Residual,
    encoder,
    perceptron,
    plain,
    pooled,
)

BATCHES: Final = (4, 16, 64)


def models() -> list[Model]:
    """Eighteen of several kinds."""
    normed: list[nn.Module] = []
    for inside in (100, 256):
        normed += [nn.Linear(inside, 256), nn.LayerNorm(256), nn.GELU(), nn.Dropout(0.1)]
    found: list[tuple[str, nn.Module, tuple[int, ...]]] = [
        ("perceptron 32", perceptron(20, 32, 3), (20,)),
        ("perceptron 128", perceptron(64, 128, 128, 128, 10), (64,)),
        ("perceptron 512", perceptron(256, 512, 512, 10), (256,)),
        ("perceptron 1024", perceptron(784, 1024, 1024, 10, act=nn.Tanh), (784,)),
        ("deep perceptron", perceptron(50, *[50] * 12, 5), (50,)),
        ("normed perceptron", nn.Sequential(*normed, nn.Linear(256, 10)), (100,)),
        ("convolutions 8", plain(1, (8, 16)), (1, 28, 28)),
        ("convolutions 32", plain(3, (32, 64, 64)), (3, 32, 32)),
        ("convolutions of 5", plain(3, (16, 32), kernel=5), (3, 24, 24)),
        ("normed convolutions", _normed(), (3, 32, 32)),
        ("residual convolutions", _residual(), (3, 32, 32)),
        ("depthwise convolutions", _depthwise(), (3, 32, 32)),
        ("encoder 32", encoder(32, 2, 64, 2), (16, 32)),
        ("encoder 64", encoder(64, 4, 256, 4), (32, 64)),
        ("encoder 128", encoder(128, 4, 512, 2), (64, 128)),
        ("GRU", nn.Sequential(Last(nn.GRU(16, 64, batch_first=True)), nn.Linear(64, 5)), (20, 16)),
        ("LSTM 128", nn.Sequential(Last(nn.LSTM(32, 128, batch_first=True)), nn.Linear(128, 5)), (30, 32)),
        ("convolutions in time", _timed(), (8, 64)),
    ]
    return [Model(name=name, module=module, shape=shape) for name, module, shape in found]


def _normed() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU()),
        *(nn.Conv2d(24, 48, 3, 2, 1), nn.BatchNorm2d(48), nn.ReLU()),
        *pooled(48, 10),
    )


def _residual() -> nn.Module:
    def block() -> nn.Module:
        first = (nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        return Residual(*first, nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32))

    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        *(block(), nn.ReLU(), nn.MaxPool2d(2), block(), nn.ReLU()),
        *pooled(32, 10),
    )


def _depthwise() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU6()]
    for channels, stride in ((32, 1), (64, 2)):
        layers += [nn.Conv2d(channels, channels, 3, stride, 1, groups=channels), nn.ReLU6()]
        layers += [nn.Conv2d(channels, 2 * channels, 1), nn.ReLU6()]
    return nn.Sequential(*layers, *pooled(128, 10))


def _timed() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv1d(8, 32, 5, padding=2), nn.ReLU(), nn.Conv1d(32, 32, 5, padding=2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * 64, 5)),
    )
