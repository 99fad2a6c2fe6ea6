"""What a question may be asked with: names as people write them, torch's classes, samples of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from chronos_common.errors import BadWorkloadError
from chronos_common.prediction.catalogue import counted, counts_of
from chronos_common.prediction.counts import Counts
from chronos_common.prediction.lookup import member_of
from chronos_common.prediction.names import Datasets, DatasetSpec, Models, Optimizers, Precision

_PRECISIONS: Final[Mapping[str, Precision]] = {
    **dict.fromkeys(("32", "fp32", "32true", "float", "single", "torchfloat32"), Precision.FLOAT32),
    **dict.fromkeys(
        (
            *("16", "fp16", "bf16", "half", "float16", "bfloat16", "torchfloat16", "torchbfloat16"),
            *("amp", "mixed", "16mixed", "bf16mixed", "mixedfp16", "mixedbf16"),
        ),
        Precision.MIXED16,
    ),
    **dict.fromkeys(("16true", "bf16true", "pure", "purefp16", "purebf16"), Precision.PURE16),
}
"""How Lightning, the Trainer and torch write them. A bare 16 is mixed: 16-bit weights have to be asked for."""

_SIDE: Final = 32
"""Pixels along an edge where nothing is said."""


def optimizer_of(given: Optimizers | str | Any) -> Optimizers:
    """An optimiser by its name, by torch's class, or by an instance (of SGD, with momentum or without).

    Raises:
        UnknownDeviceError: no such optimiser is known.
    """
    if isinstance(given, Optimizers):
        return given
    if not isinstance(given, str):
        groups = getattr(given, "param_groups", [{}])
        kind = given if isinstance(given, type) else type(given)
        given = "Momentum" if kind.__name__ == "SGD" and groups[0].get("momentum") else kind.__name__
    return member_of(Optimizers, given, "optimizer")


def precision_of(given: Precision | str | int | Any) -> Precision:
    """A precision by its name, as a number of bits, or as torch's dtype.

    Raises:
        UnknownDeviceError: no such precision is known.
    """
    if isinstance(given, Precision):
        return given
    plain = "".join(letter for letter in str(given).lower() if letter.isalnum())
    return _PRECISIONS.get(plain) or member_of(Precision, str(given), "precision")


def model_of(given: Any) -> Any:
    """A model of the catalogue by its name; everything else as it is.

    Raises:
        UnknownDeviceError: the catalogue has no such model.
    """
    return member_of(Models, given, "model") if isinstance(given, str) else given


def dataset_of(given: Any) -> Any:
    """A data set of the table by its name; everything else as it is.

    Raises:
        UnknownDeviceError: the table has no such data set.
    """
    return member_of(Datasets, given, "dataset") if isinstance(given, str) else given


def shape_of_samples(dataset: Any) -> tuple[tuple[int, ...], Any] | None:
    """Shape and dtype of a data set's inputs, by its first sample; ``None`` where that is not a tensor first of all.

    Reads one sample.

    Raises:
        BadWorkloadError: the data set cannot say what its first sample is.
    """
    if (
        dataset is None
        or isinstance(dataset, int | Datasets | DatasetSpec)
        or not hasattr(dataset, "__getitem__")
    ):
        return None
    try:
        sample = dataset[0]
    except Exception as error:  # a user's data set may raise anything
        raise BadWorkloadError(
            f"the data set cannot give its first sample ({type(error).__name__}: {error}); pass input_shape",
            field="dataset",
        ) from error
    first = sample[0] if isinstance(sample, tuple | list) and sample else sample
    shape, dtype = getattr(first, "shape", None), getattr(first, "dtype", None)
    if shape is None or type(dtype).__module__ != "torch":
        return None
    return tuple(int(size) for size in shape), dtype


def catalogued(model: Models, dataset: Any, width: int | None, samples: int) -> tuple[Counts, DatasetSpec]:
    """A model of the catalogue on data of its own: counted for the nearest data set of the table, and saying so.

    Raises:
        UnknownDeviceError: the catalogue has no such model and width.
    """
    if isinstance(dataset, Datasets):
        return counts_of(model.value, dataset.value, width), dataset.about
    side = dataset.side if isinstance(dataset, DatasetSpec) else _SIDE
    has = [each for each in Datasets if counted(model.value, each.value, width)]
    if not has:
        counts_of(model.value, Datasets.CIFAR10.value, width)  # says what there is
    nearest = min(has, key=lambda each: abs(each.about.side - side))
    counts = counts_of(model.value, nearest.value, width)
    reason = f"counted for samples of {nearest.value}"
    degraded = f"{counts.degraded}; {reason}" if counts.degraded else reason
    spec = dataset if isinstance(dataset, DatasetSpec) else replace(nearest.about, samples=samples)
    return replace(counts, degraded=degraded), spec
