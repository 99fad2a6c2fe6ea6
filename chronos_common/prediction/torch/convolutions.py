"""The convolutional networks of the data, as their papers and torchvision have them."""

from __future__ import annotations

import torch
from torch import nn


def _conv(
    inside: int, outside: int, size: int = 3, stride: int = 1, groups: int = 1, *, relu: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(inside, outside, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outside),
    ]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


class Residual(nn.Module):
    """``shortcut(x) + branch(x)``, with a rectifier behind if wanted."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module, *, relu: bool) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.relu = relu

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, height, width)``."""
        total: torch.Tensor = self.branch(images) + self.shortcut(images)
        return nn.functional.relu(total, inplace=True) if self.relu else total


def resnet50(classes: int) -> nn.Module:
    """ResNet-50 v1.5 (arXiv 1512.03385)."""
    layers: list[nn.Module] = [_conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            branch = nn.Sequential(
                _conv(channels, width, 1),
                _conv(width, width, 3, stride),
                _conv(width, 4 * width, 1, relu=False),
            )
            shortcut = nn.Identity() if block else _conv(channels, 4 * width, 1, stride, relu=False)
            layers.append(Residual(branch, shortcut, relu=True))
            channels = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def vgg16(classes: int) -> nn.Module:
    """VGG-16 with batch normalisation (arXiv 1409.1556)."""
    layers: list[nn.Module] = []
    channels = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            conv = nn.Conv2d(channels, width, 3, 1, 1)
            layers += [conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2, 2))
    head = [
        nn.AdaptiveAvgPool2d(7), nn.Flatten(),
        nn.Linear(25088, 4096), nn.ReLU(inplace=True), nn.Dropout(),
        nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(),
        nn.Linear(4096, classes),
    ]  # fmt: skip
    return nn.Sequential(*layers, *head)


def mobilenetv2(classes: int) -> nn.Module:
    """MobileNetV2 (arXiv 1801.04381)."""
    layers: list[nn.Module] = [_conv(3, 32, 3, 2)]
    channels = 32
    settings = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    for expand, width, count, first_stride in settings:
        for index in range(count):
            stride = 1 if index else first_stride
            hidden = channels * expand
            branch = nn.Sequential(
                *([_conv(channels, hidden, 1)] if expand > 1 else []),
                _conv(hidden, hidden, 3, stride, hidden),
                _conv(hidden, width, 1, relu=False),
            )
            same = stride == 1 and channels == width
            layers.append(Residual(branch, nn.Identity(), relu=False) if same else branch)
            channels = width
    head = [
        _conv(channels, 1280, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(1280, classes),
    ]
    return nn.Sequential(*layers, *head)


class DenseBlock(nn.Module):
    """Layers that each read all that came before (arXiv 1608.06993)."""

    def __init__(self, channels: int, count: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(channels + index * growth), nn.ReLU(inplace=True),
                nn.Conv2d(channels + index * growth, 4 * growth, 1, bias=False),
                nn.BatchNorm2d(4 * growth), nn.ReLU(inplace=True),
                nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
            )
            for index in range(count)
        )  # fmt: skip

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, height, width)`` to the same with ``count × growth`` channels more."""
        found = [images]
        for layer in self.layers:
            found.append(layer(torch.cat(found, 1)))
        return torch.cat(found, 1)


def densenet121(classes: int) -> nn.Module:
    """DenseNet-121 (arXiv 1608.06993)."""
    layers: list[nn.Module] = [_conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for stage, count in enumerate((6, 12, 24, 16)):
        layers.append(DenseBlock(channels, count, 32))
        channels += 32 * count
        if stage < 3:
            half = nn.Conv2d(channels, channels // 2, 1, bias=False)
            layers += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), half, nn.AvgPool2d(2, 2)]
            channels //= 2
    head = [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, *head, nn.Linear(channels, classes))
