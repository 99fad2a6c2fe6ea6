"""The data sets: three of scikit-learn, three made by formulas, two texts of Python's standard library."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pydoc_data import topics
from typing import Final

import numpy as np
import torch
from sklearn import datasets
from torch import Tensor

from chronos_common.prediction.names import DatasetSpec

LENGTH: Final = 32
CHARACTERS: Final = 16_000
SIDE: Final = 8
SPLIT_SEED: Final = 0
VALIDATION: Final = 0.3


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """A data set, split.

    Attributes:
        kind: ``table``, ``image`` or ``text``: which models fit.
        inputs: of training, ``(samples, features)``, ``(samples, 1, side, side)`` or ``(samples, length)`` token ids.
        targets: of training, ``(samples,)`` or ``(samples, length)``.
        held_inputs: of validation.
        held_targets: of validation.
        classes: or, of a text, characters.
    """

    kind: str
    inputs: Tensor
    targets: Tensor
    held_inputs: Tensor
    held_targets: Tensor
    classes: int

    @property
    def about(self) -> DatasetSpec:
        """For the predictor."""
        side = self.inputs.shape[-1] if self.kind == "image" else 0
        vocabulary = self.classes if self.kind == "text" else 0
        return DatasetSpec(samples=len(self.inputs), classes=self.classes, side=side, vocabulary=vocabulary)


def _split(kind: str, inputs: np.ndarray, targets: np.ndarray) -> Data:
    order = np.random.default_rng(SPLIT_SEED).permutation(len(inputs))
    held, kept = np.split(order, [round(VALIDATION * len(inputs))])
    dtype = torch.int64 if kind == "text" else torch.float32
    if kind == "table":
        mean, scale = inputs[kept].mean(axis=0), inputs[kept].std(axis=0)
        inputs = (inputs - mean) / np.where(scale > 0, scale, 1.0)
    return Data(
        kind=kind,
        inputs=torch.tensor(inputs[kept], dtype=dtype),
        targets=torch.tensor(targets[kept], dtype=torch.int64),
        held_inputs=torch.tensor(inputs[held], dtype=dtype),
        held_targets=torch.tensor(targets[held], dtype=torch.int64),
        classes=int(targets.max()) + 1,
    )


def digits() -> Data:
    """1,797 handwritten digits of 8 × 8."""
    found = datasets.load_digits()
    return _split("image", found.images[:, None] / 16, found.target)


def cancer() -> Data:
    """569 tumours, 30 measurements, two classes."""
    return _split("table", *datasets.load_breast_cancer(return_X_y=True))


def wine() -> Data:
    """178 wines, 13 measurements, three classes."""
    return _split("table", *datasets.load_wine(return_X_y=True))


def clusters() -> Data:
    """2,000 points of five classes with three clusters each; one label in ten is wrong."""
    return _split(
        "table",
        *datasets.make_classification(
            2000, 20, n_informative=10, n_classes=5, n_clusters_per_class=3, flip_y=0.1, random_state=0
        ),
    )


def spirals() -> Data:
    """1,200 points on three spirals, with noise."""
    random = np.random.default_rng(0)
    targets = np.arange(1200) % 3
    along = random.uniform(0.2, 1.0, 1200)
    angle = 5.0 * along + targets * 2 * np.pi / 3
    points = along[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return _split("table", points + 0.05 * random.standard_normal((1200, 2)), targets)


def patterns() -> Data:
    """1,500 images of ten random patterns, shifted around the edge and under noise."""
    random = np.random.default_rng(0)
    shapes = random.standard_normal((10, SIDE, SIDE))
    targets = np.arange(1500) % 10
    shifts = random.integers(0, 3, (1500, 2))
    images = [np.roll(shapes[c], shift, (0, 1)) for c, shift in zip(targets, shifts, strict=True)]
    return _split("image", (np.stack(images) + random.standard_normal((1500, SIDE, SIDE)))[:, None], targets)


def _characters(text: str) -> Data:
    text = text[:CHARACTERS]
    ids = {character: index for index, character in enumerate(sorted(set(text)))}
    numbers = np.array([ids[character] for character in text])
    rows = (len(numbers) - 1) // LENGTH
    inputs, targets = (numbers[start : start + rows * LENGTH].reshape(rows, LENGTH) for start in (0, 1))
    found = _split("text", inputs, targets)
    return Data(**{**vars(found), "classes": len(ids)})


def prose() -> Data:
    """The first 16,000 characters of Python's own help texts; the next character is asked for."""
    return _characters("\n".join(topics.topics[name] for name in sorted(topics.topics)))


def source() -> Data:
    """The first 16,000 characters of a module of the standard library."""
    return _characters(inspect.getsource(argparse))


DATA: Final[Mapping[str, Callable[[], Data]]] = {
    "digits": digits,
    "cancer": cancer,
    "wine": wine,
    "clusters": clusters,
    "spirals": spirals,
    "patterns": patterns,
    "prose": prose,
    "source": source,
}
