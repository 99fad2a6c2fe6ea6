"""How large each sample of a data set is: asked once, checked, kept."""

from __future__ import annotations

import inspect
from collections.abc import Sized
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch.utils.data as base

from chronos_common.data.costs import checked_sizes
from chronos_common.data.plan import Reals
from chronos_common.errors import ConfigurationError

_KEPT: WeakKeyDictionary[Any, Reals] = WeakKeyDictionary()


def sizes_of(dataset: Any) -> Reals:
    """Sizes of all samples, (N,), read-only and kept for as long as the data set lives.

    Asked are, in this order: its ``sizes()``; its parts, for a subset or concatenation of torch; its
    ``__sizeof__(index)``. A data set with none of them has samples of size 1.

    Raises:
        ConfigurationError: no length, another number of sizes than samples, or a size that is not finite and above 0.
    """
    length = length_of(dataset)
    kept = _kept(dataset)
    if kept is not None and len(kept) == length:
        return kept
    sizes = np.array(_asked(dataset), dtype=np.float64)
    if sizes.shape != (length,):
        raise ConfigurationError(
            f"{type(dataset).__name__} has {length} samples and sizes of shape {sizes.shape}; there must be one size "
            "for each sample",
            samples=length,
        )
    checked_sizes(sizes)
    sizes.flags.writeable = False
    _keep(dataset, sizes)
    return sizes


def measured(dataset: Any) -> Reals:
    """Sizes asked one by one of ``__sizeof__(index)``, (N,)."""
    ask: Any = type(dataset).__sizeof__
    if _takes_no_index(ask):
        return np.ones(length_of(dataset))
    try:
        return np.fromiter((ask(dataset, index) for index in range(length_of(dataset))), np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{type(dataset).__name__}.__sizeof__(index) did not give a number for each sample: {error}"
        ) from error


def length_of(dataset: Any) -> int:
    """Number of samples. Raises ``ConfigurationError`` where it is unknown."""
    if not isinstance(dataset, Sized):
        raise ConfigurationError(
            f"{type(dataset).__name__} has no length; define __len__, so that its samples can be planned"
        )
    try:
        return len(dataset)
    except TypeError as error:
        raise ConfigurationError(f"the length of {type(dataset).__name__} is unknown: {error}") from error


def _asked(dataset: Any) -> Any:
    own = getattr(dataset, "sizes", None)
    if callable(own):
        return own()
    if isinstance(dataset, base.Subset):
        return sizes_of(dataset.dataset)[np.asarray(dataset.indices, dtype=np.int64)]
    if isinstance(dataset, base.ConcatDataset | base.ChainDataset):
        return np.concatenate([sizes_of(part) for part in dataset.datasets])
    return measured(dataset)


def _takes_no_index(ask: Any) -> bool:
    """Whether this is what Python gives to every object, or its C-written like, which measure bytes."""
    return ask is object.__sizeof__ or not inspect.isfunction(ask)


def _kept(dataset: Any) -> Reals | None:
    try:
        return _KEPT.get(dataset)
    except TypeError:  # what cannot be hashed is asked each time
        return None


def _keep(dataset: Any, sizes: Reals) -> None:
    try:
        _KEPT[dataset] = sizes
    except TypeError:
        return
