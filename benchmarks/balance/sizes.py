"""Sizes like those of data sets that people train on; drawn, so that the benchmark needs no download."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]


def ucf(rng: np.random.Generator, count: int) -> Reals:
    """Frames of UCF-101 clips: 29 to 1776, mean about 186, deviation about half of it."""
    return np.rint(np.exp(rng.normal(5.1, 0.5, count))).clip(29, 1776)


def libri(rng: np.random.Generator, count: int) -> Reals:
    """Milliseconds of LibriSpeech utterances: most of 12 to 17 s, and a tail of shorter ones."""
    long, short = rng.normal(14_500, 1_300, count), rng.uniform(1_500, 14_500, count)
    return np.rint(np.where(rng.random(count) < 0.68, long, short)).clip(1_300, 24_500)


def sentences(rng: np.random.Generator, count: int) -> Reals:
    """Words of sentences: 1 to 250, mean about 20."""
    return np.rint(np.exp(rng.normal(2.8, 0.65, count))).clip(1, 250)


def log_normal(rng: np.random.Generator, count: int) -> Reals:
    """Deviation 1 in natural logarithms, no rounding."""
    return np.exp(rng.normal(0, 1, count))


def heavy_tail(rng: np.random.Generator, count: int) -> Reals:
    """Pareto with the exponent 1.5: some samples exceed a worker's share of 32."""
    return (1 + rng.pareto(1.5, count)).clip(1, 400)


SIZES: Final[Mapping[str, Callable[[np.random.Generator, int], Reals]]] = MappingProxyType(
    {"UCF": ucf, "Libri": libri, "sentences": sentences, "log-normal": log_normal, "heavy tail": heavy_tail}
)
