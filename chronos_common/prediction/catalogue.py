"""Counts of the models that :class:`~chronos_common.prediction.names.Models` names: read once, no torch needed."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from chronos_common.errors import UnknownDeviceError
from chronos_common.prediction.counts import Counts


def key(model: str, dataset: str, width: int | None = None) -> str:
    """The name of an entry."""
    return f"{model}/{dataset}" if width is None else f"{model}-{width}/{dataset}"


@cache
def catalogue() -> dict[str, Counts]:
    """Every entry by its name."""
    text = files("chronos_common.prediction").joinpath("catalogue.json").read_text(encoding="utf-8")
    return {name: Counts.from_json(plain) for name, plain in json.loads(text).items()}


def counted(model: str, dataset: str, width: int | None = None) -> Counts | None:
    """As :func:`counts_of`, or ``None``."""
    known = catalogue()
    found = known.get(key(model, dataset, width))
    return known.get(key(model, dataset, 128)) if found is None and width is None else found


def counts_of(model: str, dataset: str, width: int | None = None) -> Counts:
    """The counts of a model on a data set; MLP-like models have a ``width`` (128 by default).

    Raises:
        UnknownDeviceError: there is no such entry.
    """
    known = catalogue()
    found = counted(model, dataset, width)
    if found is None:
        raise UnknownDeviceError(
            f"the catalogue has no {key(model, dataset, width)!r}; give the model as a module, or take one of "
            f"{', '.join(sorted(known))}",
        )
    return found
