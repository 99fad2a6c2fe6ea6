"""Reads measured rows from a data folder: step times and epochs to convergence, by family.

The folder holds ``time_{mlp,cnn,transformer}.csv`` and ``convergence_{mlp,cnn,transformer}.csv`` in the columns of
the public measurements of ten GPUs (MIT licence). What was measured (times, loader's and compute's parts) becomes the
target; no measured column becomes a feature.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chronos_common.errors import ConfigurationError
from chronos_common.prediction.catalogue import counts_of
from chronos_common.prediction.devices import device
from chronos_common.prediction.names import DATASETS, Optimizers, Precision
from chronos_common.prediction.query import Query

FAMILIES = ("mlp", "cnn", "transformer")

# The measurements' SGD has momentum: its state is as large as the weights.
OPTIMIZERS = {
    "SGD": Optimizers.MOMENTUM,
    "Adam": Optimizers.ADAM,
    "AdamW": Optimizers.ADAMW,
    "Adafactor": Optimizers.ADAFACTOR,
}


@dataclass(frozen=True, kw_only=True)
class TimeRow:
    """One measured step time.

    Attributes:
        family: of the model.
        model: its name.
        device: the GPU's name.
        query: what was measured; equal for repeats, which differ in the learning rate only.
        total_ms: mean time of a step.
        compute_ms: of it, without waiting for data.
        raw: the columns as they were, for the published method.
    """

    family: str
    model: str
    device: str
    configuration: str
    query: Query
    total_ms: float
    compute_ms: float
    raw: dict[str, str]


def time_rows(folder: Path, family: str) -> list[TimeRow]:
    """The step times of a family.

    Raises:
        ConfigurationError: the folder or the file is missing; says what is needed.
    """
    return [_time_row(family, row) for row in _read(folder, f"time_{family}.csv")]


def convergence_rows(folder: Path, family: str) -> list[dict[str, str]]:
    """The runs to convergence of a family, as columns of text.

    Raises:
        ConfigurationError: the folder or the file is missing; says what is needed.
    """
    return list(_read(folder, f"convergence_{family}.csv"))


def _time_row(family: str, row: dict[str, str]) -> TimeRow:
    width = int(row["embed_dim"]) if family == "mlp" else None
    keys = (row["model"], str(width), row["dataset"], row["batch_size"], row["optimizer"], row["precision"])
    return TimeRow(
        family=family,
        model=row["model"],
        device=row["gpu_name"],
        configuration="|".join((*keys, row["gpu_name"])),
        query=Query(
            counts=counts_of(row["model"], row["dataset"], width),
            batch_size=int(row["batch_size"]),
            optimizer=OPTIMIZERS[row["optimizer"]],
            precision=Precision.MIXED16 if row["precision"] == "16" else Precision.FLOAT32,
            device=device(row["gpu_name"]),
            data=DATASETS[row["dataset"]],
        ),
        total_ms=float(row["avg_batch_time_ms"]),
        compute_ms=float(row["avg_compute_ms" if family == "mlp" else "compute_ms"]),
        raw=row,
    )


def _read(folder: Path, name: str) -> Iterator[dict[str, str]]:
    path = folder / name
    if not path.is_file():
        needed = ", ".join(f"{kind}_{family}.csv" for kind in ("time", "convergence") for family in FAMILIES)
        raise ConfigurationError(
            f"{path} does not exist; name a folder that holds {needed} with --data FOLDER or CHRONOS_PREDICTION_DATA",
            field="data",
        )
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
