"""Recorded learning curves as a file: gzipped JSON, losses with four digits, each model counted once."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chronos_common.errors import ArtefactError
from chronos_common.prediction.counts import Counts
from chronos_common.prediction.names import DatasetSpec, Optimizers


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A configuration of which several seeds were trained.

    Attributes:
        data: name of the data set.
        model: name of the model.
        counts: of the model.
        about: the data set.
        optimizer: its update rule.
        learning_rate: of the optimiser.
        batch_size: samples in a step.
    """

    data: str
    model: str
    counts: Counts
    about: DatasetSpec
    optimizer: Optimizers
    learning_rate: float
    batch_size: int

    @property
    def name(self) -> str:
        """Tells configurations apart; the same for every seed."""
        return f"{self.data}/{self.model}/{self.optimizer.value}/{self.learning_rate:g}/{self.batch_size}"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One training.

    Attributes:
        setting: its configuration.
        seed: of its weights and the order of its samples.
        validation: the loss of validation after each epoch.
        training: the mean loss of the steps of each epoch.
    """

    setting: Setting
    seed: int
    validation: tuple[float, ...]
    training: tuple[float, ...]


def write(curves: Sequence[Curve], path: Path) -> None:
    """Writes a file; the same curves give the same bytes."""
    models: dict[str, Any] = {}
    runs = []
    for curve in curves:
        setting = curve.setting
        models[f"{setting.data}/{setting.model}"] = {
            "counts": setting.counts.to_json(),
            "about": asdict(setting.about),
        }
        runs.append(
            {
                "data": setting.data,
                "model": setting.model,
                "optimizer": setting.optimizer.value,
                "learning_rate": setting.learning_rate,
                "batch_size": setting.batch_size,
                "seed": curve.seed,
                "validation": [float(f"{loss:.4g}") for loss in curve.validation],
                "training": [float(f"{loss:.3g}") for loss in curve.training],
            }
        )
    text = json.dumps({"models": models, "runs": runs}, separators=(",", ":"), sort_keys=True)
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))


def read(path: Path) -> list[Curve]:
    """Reads a file.

    Raises:
        ArtefactError: it is missing or damaged.
    """
    try:
        plain = json.loads(gzip.decompress(path.read_bytes()))
        models = {
            name: (Counts.from_json(model["counts"]), DatasetSpec(**model["about"]))
            for name, model in plain["models"].items()
        }
        return [_curve(run, *models[f"{run['data']}/{run['model']}"]) for run in plain["runs"]]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{path} holds no recorded curves ({error!r}); record them anew") from error


def _curve(run: dict[str, Any], counts: Counts, about: DatasetSpec) -> Curve:
    setting = Setting(
        data=run["data"],
        model=run["model"],
        counts=counts,
        about=about,
        optimizer=Optimizers(run["optimizer"]),
        learning_rate=run["learning_rate"],
        batch_size=run["batch_size"],
    )
    return Curve(
        setting=setting,
        seed=run["seed"],
        validation=tuple(run["validation"]),
        training=tuple(run["training"]),
    )
