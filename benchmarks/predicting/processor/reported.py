"""The models that the prior of processors is reported on; it was fitted to none of them."""

from __future__ import annotations

from typing import Final

from torch import nn

from benchmarks.predicting.processor.modules import Last, Mean, Model, Residual, Swap, perceptron, pooled

BATCHES: Final = (8, 32, 96)


def models() -> list[Model]:
    """Twelve of several kinds, none in the rows that the predictor was trained on."""
    normed: list[nn.Module] = []
    for inside, outside in ((120, 400), (400, 200)):
        normed += [nn.Linear(inside, outside), nn.BatchNorm1d(outside), nn.ReLU()]
    residual = [Residual(nn.Linear(160, 320), nn.SiLU(), nn.Linear(320, 160)) for _ in range(4)]
    layer = nn.TransformerEncoderLayer(96, 6, 192, dropout=0.1, batch_first=True)
    torch_encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    found: list[tuple[str, nn.Module, tuple[int, ...], int]] = [
        ("perceptron 700", perceptron(300, 700, 700, 20, act=nn.SiLU), (300,), 0),
        ("batch-normed perceptron", nn.Sequential(*normed, nn.Linear(200, 6)), (120,), 0),
        ("residual perceptron", nn.Sequential(*residual, nn.Linear(160, 8)), (160,), 0),
        ("autoencoder", perceptron(400, 128, 16, 128, 400, act=nn.Tanh), (400,), 0),
        ("LeNet", _lenet(), (1, 28, 28), 0),
        ("strided convolutions", _strided(), (3, 48, 48), 0),
        ("VGG of 24", _vgg(), (3, 24, 24), 0),
        ("separable convolutions", _separable(), (3, 32, 32), 0),
        ("encoder 96", nn.Sequential(torch_encoder, Mean(), nn.Linear(96, 4)), (24, 96), 0),
        ("characters", _characters(), (40,), 80),
        ("mixer 64", _mixer(), (36, 64), 0),
        ("LSTM 96", nn.Sequential(Last(nn.LSTM(24, 96, batch_first=True)), nn.Linear(96, 3)), (16, 24), 0),
    ]
    return [
        Model(name=name, module=module, shape=shape, tokens=tokens) for name, module, shape, tokens in found
    ]


def _lenet() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()),
        perceptron(400, 120, 84, 10, act=nn.Tanh),
    )


def _strided() -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in ((3, 20), (20, 40), (40, 80)):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(4, after), nn.SiLU()]
    return nn.Sequential(*layers, *pooled(80, 12))


def _vgg() -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in ((3, 24), (24, 48)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.Conv2d(after, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(48 * 36, 64), nn.ReLU(), nn.Linear(64, 10))


def _separable() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 24, 3, 1, 1), nn.BatchNorm2d(24), nn.ReLU()]
    for channels in (24, 48):
        layers += [nn.Conv2d(channels, channels, 5, 2, 2, groups=channels), nn.BatchNorm2d(channels)]
        layers += [nn.Conv2d(channels, 2 * channels, 1), nn.BatchNorm2d(2 * channels), nn.ReLU()]
    return nn.Sequential(*layers, *pooled(96, 10))


def _characters() -> nn.Module:
    layer = nn.TransformerEncoderLayer(48, 4, 96, dropout=0.0, batch_first=True, norm_first=True)
    blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return nn.Sequential(nn.Embedding(80, 48), blocks, Mean(), nn.Linear(48, 80))


def _mixer() -> nn.Module:
    blocks: list[nn.Module] = []
    for _ in range(3):
        blocks += [
            Residual(nn.LayerNorm(64), Swap(), nn.Linear(36, 72), nn.GELU(), nn.Linear(72, 36), Swap()),
            Residual(nn.LayerNorm(64), nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64)),
        ]
    return nn.Sequential(*blocks, Mean(), nn.Linear(64, 10))
