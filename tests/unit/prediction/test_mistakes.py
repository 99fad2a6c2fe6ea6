"""Questions that cannot be answered as they are: a typed error that says what to do, or one that says what it lacks.

The same in Python and on the command line; over RPC see ``tests/integration/coordinator/test_prediction.py``.
"""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch import nn

from chronos_common.cli.main import main
from chronos_common.errors import (
    BadWorkloadError,
    BatchTooLargeError,
    ConfigurationError,
    PredictionError,
    UncountableModuleError,
    UnknownDeviceError,
)
from chronos_common.prediction import Datasets, Models, TrainingTimePredictor
from chronos_common.prediction.devices import device
from chronos_common.prediction.names import DatasetSpec


class Peeking(nn.Module):
    """Asks for a value, which no meta tensor has."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(inputs)
        return found if float(found.detach().sum()) > 1e9 else 2 * found


def ask(**changed: Any) -> TrainingTimePredictor:
    """A question that can be answered, with changes."""
    question = {"model": Models.RESNET50, "dataset": Datasets.CIFAR10, "batch_size": 64, "gpu": "A40"}
    return TrainingTimePredictor(**{**question, **changed})


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"gpu": "GTX 280"}, UnknownDeviceError, "no device is called 'GTX 280'; take one of P4"),
        ({"batch_size": 1 << 20}, BatchTooLargeError, "the largest that fits is"),
        ({"batch_size": 0}, BadWorkloadError, "batch_size is 0"),
        ({"batch_size": math.nan}, ConfigurationError, "batch_size is nan"),
        ({"learning_rate": math.nan}, BadWorkloadError, "learning_rate is nan"),
        ({"learning_rate": -1.0}, BadWorkloadError, "must be above zero"),
        ({"patience": -1}, BadWorkloadError, "patience is -1"),
        ({"model": Peeking(), "input_shape": (8,), "dataset": []}, BadWorkloadError, "at least one"),
        (
            {"model": Peeking(), "input_shape": (8,), "dataset": DatasetSpec(samples=math.nan, classes=2)},
            ConfigurationError,
            "samples is nan",
        ),
        ({"model": Peeking(), "input_shape": (7,), "dataset": 10}, UncountableModuleError, "runs neither on"),
    ],
)
def test_the_library_refuses_in_words(changed: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ask(**changed)


@pytest.mark.parametrize("epochs", [0, -3, math.nan, math.inf, True])
def test_epochs_that_no_training_has_are_refused(epochs: Any) -> None:
    with pytest.raises(BadWorkloadError, match="ask for one or more"):
        ask().predict_total(epochs)


@pytest.mark.parametrize("price", [-0.1, math.nan, math.inf])
def test_a_price_that_is_none_is_refused(price: float) -> None:
    with pytest.raises(PredictionError, match="price_per_hour of device A40"):
        device("A40").priced(price)


def test_a_module_that_asks_for_values_is_answered_and_the_answer_says_how() -> None:
    found = ask(model=Peeking(), input_shape=(8,), dataset=1000).predict_total(3)
    assert found.seconds.p50 > 0
    assert "counted on the CPU" in found.degraded
    assert found.memory.estimated


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """`chronos predict` in this process."""
    code = main(("predict", *arguments))
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("price", ["A40=-1", "A40=nan", "A40=inf", "A40=free"])
def test_the_command_refuses_a_price_that_is_none(capsys: pytest.CaptureFixture[str], price: str) -> None:
    code, _, said = run(capsys, "resnet50", "--device", "A40", "--price", price)
    assert code != 0
    assert "price" in said
    assert "Traceback" not in said


def test_the_command_says_how_an_answer_falls_short(capsys: pytest.CaptureFixture[str]) -> None:
    peeking = ("tests.unit.prediction.test_mistakes:Peeking", "--input-shape", "8", "--dataset", "1000")
    code, shown, _ = run(capsys, *peeking, "--device", "A40", "--epochs", "2", "--json")
    assert code == 0
    [row] = json.loads(shown)["devices"]
    assert row["total_seconds"]["p50"] > 0
    assert "counted on the CPU" in row["remark"]
    assert "counted on the CPU" in "".join(run(capsys, *peeking, "--device", "A40", "--epochs", "2")[1:])
