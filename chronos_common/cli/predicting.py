"""What `chronos predict` does: names and options become a workload, which is compared on devices."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chronos_common.cli.imports import import_path
from chronos_common.errors import ConfigurationError, ProblemError
from chronos_common.prediction.catalogue import counts_of
from chronos_common.prediction.comparison import Outlook, Workload, compare
from chronos_common.prediction.counts import Counts
from chronos_common.prediction.devices import DeviceSpec, device, devices
from chronos_common.prediction.kept import KeptExperience
from chronos_common.prediction.lookup import find_member, member_of
from chronos_common.prediction.machine import read_machine
from chronos_common.prediction.names import Datasets, DatasetSpec, Models, Optimizers, Precision


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Which model is asked about.

    Attributes:
        name: of the catalogue, or ``package.module:Attribute`` of a torch module.
        arguments: of its class or function.
        paths: directories to import it from.
        input_shape: of one sample, as ``3,32,32``; empty where the catalogue knows it.
        input_dtype: of the inputs, a torch dtype.
        width: of an MLP-like model of the catalogue.
    """

    name: str
    arguments: Mapping[str, Any]
    paths: tuple[Path, ...] = ()
    input_shape: str = ""
    input_dtype: str = "float32"
    width: int | None = None


def counted(model: ModelChoice, dataset: str) -> Counts:
    """The counts of a model; imports torch only for a module.

    Raises:
        UnknownDeviceError: no model of the catalogue has that name.
        ConfigurationError: no input shape for a module, or one that is none.
        ProblemError: the module cannot be imported or made.
        UncountableModuleError: it runs neither on meta tensors nor on the CPU.
    """
    if ":" in model.name:
        return _counted_module(model)
    if model.arguments or model.input_shape:
        raise ConfigurationError(
            f"{model.name!r} is looked up in the catalogue, which takes no --set and no --input-shape; write "
            "package.module:Class for a module of yours"
        )
    known = member_of(Models, model.name, "model")
    data = find_member(Datasets, dataset)
    if data is None:
        raise ConfigurationError(
            f"the catalogue counts {known.value} for {', '.join(each.value for each in Datasets)}, not for "
            f"{dataset!r}; take one of them, or give the model as package.module:Class with --input-shape"
        )
    return counts_of(known.value, data.value, model.width)


def data_of(text: str) -> DatasetSpec:
    """A data set by its name, or by its number of samples.

    Raises:
        UnknownDeviceError: neither.
        ConfigurationError: no samples at all.
    """
    if not text.lstrip("-").isdecimal():
        return member_of(Datasets, text, "data set (or number of samples)").about
    if int(text) < 1:
        raise ConfigurationError(f"a data set of {text} samples; it must have at least one")
    return DatasetSpec(samples=int(text), classes=0)


def candidates(names: Sequence[str], machines: Sequence[Path], prices: Sequence[str]) -> list[DeviceSpec]:
    """The devices to compare: those named and those probed, or the whole table; with prices of one's own.

    Raises:
        UnknownDeviceError: no device is called that.
        ConfigurationError: a price that is none.
        ArtefactError: a file that `chronos probe` did not write.
    """
    chosen = [device(name) for name in names] + [read_machine(path).device() for path in machines]
    found = {each.name: each for each in chosen or devices().values()}
    for price in prices:
        name, separator, text = price.rpartition("=")
        dollars = _number(text)
        if not separator or dollars is None or dollars < 0:
            raise ConfigurationError(f"--price {price} is no price; write DEVICE=USD, for a device's hour")
        row = found.get(name) or device(name)
        if row.name not in found:
            raise ConfigurationError(
                f"--price {price} is for a device that is not compared; add --device {name}"
            )
        found[row.name] = found[row.name].priced(dollars)
    return list(found.values())


def predicted(
    model: ModelChoice,
    dataset: str,
    *,
    batch_size: int,
    optimizer: str,
    learning_rate: float,
    precision: str,
    epochs: int | None,
    patience: int,
    on: Sequence[DeviceSpec],
    experience: Path | None = None,
    finished: float | None = None,
) -> list[Outlook]:
    """A model's training on each device, the shortest first.

    Args:
        model: what is trained.
        dataset: on what.
        batch_size, optimizer, learning_rate, precision, epochs, patience: how.
        on: the devices.
        experience: a file with trainings that finished, which move the epochs.
        finished: after how many epochs this training stopped by itself; written there first.

    Raises:
        PredictionError: a name that is unknown, or a number that cannot be.
        ConfigurationError: options that cannot work together.
        ArtefactError: the file of experience is none, or cannot be written.
    """
    if finished is not None and experience is None:
        raise ConfigurationError("--finished is kept in a file; name it with --experience")
    data = data_of(dataset)
    work = Workload(
        counts=counted(model, dataset),
        data=data,
        batch_size=batch_size,
        optimizer=member_of(Optimizers, optimizer, "optimiser"),
        learning_rate=learning_rate,
        precision=member_of(Precision, precision, "precision"),
        epochs=epochs,
        patience=patience,
    )
    if experience is None:
        return compare(work, on)
    kept = KeptExperience(experience)
    if finished is not None:
        kept.report_training(work, finished)
    return list(kept.known.outlooks(work, on))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _counted_module(model: ModelChoice) -> Counts:
    from chronos_common.cli.running import require_torch

    require_torch()
    import torch

    from chronos_common.prediction.torch.counting import count

    dtype = getattr(torch, model.input_dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise ConfigurationError(
            f"--input-dtype {model.input_dtype!r} is no dtype of torch; write float32 or int64"
        )
    shape = _shape(model.input_shape)
    with import_path(model.paths):
        return count(_module(model.name, model.arguments), shape, dtype=dtype)


def _shape(text: str) -> tuple[int, ...]:
    sizes = [size.strip() for size in text.split(",")] if text else []
    if not sizes or not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise ConfigurationError(
            f"--input-shape {text!r} is no shape; a module needs that of one sample, without the batch, as 3,32,32"
        )
    return tuple(int(size) for size in sizes)


def _module(path: str, arguments: Mapping[str, Any]) -> Any:
    from torch import nn

    name, _, attribute = path.partition(":")
    try:
        target = getattr(importlib.import_module(name), attribute)
        made = target if isinstance(target, nn.Module) else target(**arguments)
    except (Exception, SystemExit) as error:
        raise ProblemError(
            f"model '{path}' cannot be made: {type(error).__name__}: {error}; name its folder with --path and its "
            "arguments with --set"
        ) from error
    if not isinstance(made, nn.Module):
        raise ProblemError(f"'{path}' makes a {type(made).__name__}, not a torch.nn.Module")
    return made
