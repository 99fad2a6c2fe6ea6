"""The names that a question may use: models, data sets, optimisers, precisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final


class Models(Enum):
    """Models whose steps are counted in the catalogue; any other is given as a module."""

    MIXER = "mixer"
    RESMLP = "resmlp"
    ASMLP = "asmlp"
    RESNET50 = "resnet50"
    VGG16 = "vgg16"
    MOBILENETV2 = "mobilenetv2"
    DENSENET121 = "densenet121"
    VIT = "ViT"
    DEIT_TINY = "DeiT-Tiny"
    DISTILBERT = "DistilBERT"

    @property
    def family(self) -> str:
        """``mlp``, ``cnn`` or ``transformer``."""
        return FAMILIES[self.value]


class Datasets(Enum):
    """Data sets whose size and cost of loading are known; any other is given as a size."""

    CIFAR10 = "CIFAR10"
    CIFAR100 = "CIFAR100"
    TINY_IMAGENET = "TinyImageNet"
    STL10 = "STL10"
    SST2 = "SST2"
    IMDB = "IMDB"

    @property
    def about(self) -> DatasetSpec:
        """Its size and shape."""
        return DATASETS[self.value]


class Optimizers(Enum):
    """Optimisers whose state and updates are known."""

    SGD = "SGD"
    MOMENTUM = "Momentum"
    ADAM = "Adam"
    ADAMW = "AdamW"
    ADAFACTOR = "Adafactor"
    RMSPROP = "RMSProp"


class Precision(Enum):
    """Numbers that a step computes in."""

    FLOAT32 = "float32"
    TF32 = "tf32"
    MIXED16 = "mixed16"
    """Automatic mixed precision: float32 weights, 16-bit products and activations."""
    PURE16 = "pure16"
    """Weights, gradients and activations in 16 bits."""


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A data set.

    Attributes:
        samples: for training.
        side: pixels along an image's edge; 0 for text.
        classes: of its labels.
        vocabulary: words of a text; 0 for images.
        files: whether each sample is a file of its own, which a slow disk turns into waiting.
    """

    samples: int
    classes: int
    side: int = 0
    vocabulary: int = 0
    files: bool = False


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """What an update costs.

    Attributes:
        states: numbers kept for each parameter.
        passes: numbers read or written for each parameter in one update.
        kernels: launched for each group of tensors that is updated together.
        temporaries: numbers for each parameter that live during the update only.
    """

    states: float
    passes: float
    kernels: float
    temporaries: float = 0.0


FAMILIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("mixer", "resmlp", "asmlp"), "mlp"),
        **dict.fromkeys(("resnet50", "vgg16", "mobilenetv2", "densenet121"), "cnn"),
        **dict.fromkeys(("ViT", "DeiT-Tiny", "DistilBERT"), "transformer"),
    }
)

DATASETS: Final[Mapping[str, DatasetSpec]] = MappingProxyType(
    {
        "CIFAR10": DatasetSpec(samples=50_000, side=32, classes=10),
        "CIFAR100": DatasetSpec(samples=50_000, side=32, classes=100),
        "TinyImageNet": DatasetSpec(samples=100_000, side=64, classes=200, files=True),
        "STL10": DatasetSpec(samples=5_000, side=96, classes=10),
        "SST2": DatasetSpec(samples=67_349, classes=2, vocabulary=13_686),
        "IMDB": DatasetSpec(samples=25_000, classes=2, vocabulary=29_872),
    }
)

OPTIMIZERS: Final[Mapping[Optimizers, OptimizerSpec]] = MappingProxyType(
    {
        Optimizers.SGD: OptimizerSpec(states=0, passes=3, kernels=1),
        Optimizers.MOMENTUM: OptimizerSpec(states=1, passes=5, kernels=3, temporaries=0),
        Optimizers.ADAM: OptimizerSpec(states=2, passes=14, kernels=12, temporaries=1),
        Optimizers.ADAMW: OptimizerSpec(states=2, passes=16, kernels=13, temporaries=1),
        Optimizers.ADAFACTOR: OptimizerSpec(states=0.01, passes=16, kernels=30, temporaries=1),
        Optimizers.RMSPROP: OptimizerSpec(states=1, passes=9, kernels=7, temporaries=1),
    }
)
