"""`chronos predict`: how long a training takes on each device, in how much memory, for how much money."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chronos_common.cli.options import HERE, AsJson, ProblemPath, keyword_arguments
from chronos_common.cli.output import emit_json, remark, results

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model of the catalogue (resnet50), or package.module:Class of a torch module.",
    ),
]
DeviceNames = Annotated[
    list[str] | None,
    typer.Option("--device", metavar="NAME", help="Compare only this device; may be repeated. Default: all."),
]
Machines = Annotated[
    list[Path] | None,
    typer.Option(
        "--machine", metavar="FILE", help="Compare a machine that `chronos probe` measured; may be repeated."
    ),
]


Dataset = Annotated[
    str, typer.Option(metavar="NAME|SAMPLES", help="A data set (CIFAR10), or a number of samples.")
]
BatchSize = Annotated[int, typer.Option(help="Samples in a step.")]
Optimizer = Annotated[str, typer.Option(help="SGD, Momentum, Adam, AdamW, ...")]
LearningRate = Annotated[float, typer.Option(help="Of the optimiser.")]
PrecisionName = Annotated[str, typer.Option(help="float32, tf32, mixed16 or pure16.")]
Epochs = Annotated[int | None, typer.Option(help="How many.", show_default="until early stopping, predicted")]
Patience = Annotated[int, typer.Option(help="Epochs without improvement after which it stops.")]
Width = Annotated[int | None, typer.Option(help="Of an MLP-like model of the catalogue.", show_default="128")]
InputShape = Annotated[str, typer.Option(metavar="SIZES", help="Of one sample of a module, as 3,32,32.")]
InputDtype = Annotated[str, typer.Option(help="Of a module's inputs; int64 for tokens.")]
Setting = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Argument of a module's class; may be repeated."),
]
Price = Annotated[
    list[str] | None,
    typer.Option(metavar="DEVICE=USD", help="Price of a device's hour; may be repeated."),
]
Plot = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Draw time against price into a PNG, PDF or SVG.")
]

ExperienceFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Trainings that finished: they move the epochs. Made by --finished."),
]
Finished = Annotated[
    float | None,
    typer.Option(
        metavar="EPOCHS", help="This training stopped by itself after so many: keep it in --experience."
    ),
]


def predict(
    model: Model,
    dataset: Dataset = "CIFAR10",
    batch_size: BatchSize = 128,
    optimizer: Optimizer = "AdamW",
    learning_rate: LearningRate = 1e-3,
    precision: PrecisionName = "float32",
    epochs: Epochs = None,
    patience: Patience = 5,
    width: Width = None,
    input_shape: InputShape = "",
    input_dtype: InputDtype = "float32",
    setting: Setting = None,
    path: ProblemPath = HERE,
    devices: DeviceNames = None,
    machine: Machines = None,
    price: Price = None,
    plot: Plot = None,
    experience: ExperienceFile = None,
    finished: Finished = None,
    as_json: AsJson = False,
) -> None:
    """Predict time, memory and money of a training on each device; offline, and without the data.

    Example:
        chronos predict mylab.models:Net --set depth=4 --input-shape 3,64,64 --dataset 120000 --epochs 30
    """
    from chronos_common.cli import predict_views as views
    from chronos_common.cli.predicting import ModelChoice, candidates, predicted

    choice = ModelChoice(
        name=model,
        arguments=keyword_arguments("", setting or [], "model"),
        paths=tuple(path),
        input_shape=input_shape,
        input_dtype=input_dtype,
        width=width,
    )
    found = predicted(
        choice,
        dataset,
        batch_size=batch_size,
        optimizer=optimizer,
        learning_rate=learning_rate,
        precision=precision,
        epochs=epochs,
        patience=patience,
        on=candidates(devices or [], machine or [], price or []),
        experience=experience,
        finished=finished,
    )
    if plot is not None:
        views.plot(found, plot)
    if as_json:
        emit_json({"model": model, "dataset": dataset, "devices": [row.to_json() for row in found]})
        return
    results().print(views.outlook_table(found))
    for text in views.remarks(found):
        remark(text)
