"""Questions as people write them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from chronos_common.errors import BadWorkloadError, UnknownDeviceError
from chronos_common.prediction import (
    Datasets,
    DatasetSpec,
    Models,
    Optimizers,
    Precision,
    TrainingTimePredictor,
)
from chronos_common.prediction.arguments import catalogued, optimizer_of, precision_of, shape_of_samples

ASKED: dict[str, Any] = {
    "model": Models.RESNET50,
    "dataset": Datasets.CIFAR10,
    "batch_size": 64,
    "gpu": "A100",
}


def layer() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("adam", Optimizers.ADAM),
        ("AdamW", Optimizers.ADAMW),
        ("rms-prop", Optimizers.RMSPROP),
        (torch.optim.Adam, Optimizers.ADAM),
        (torch.optim.RMSprop, Optimizers.RMSPROP),
        (torch.optim.SGD(layer().parameters(), lr=0.1), Optimizers.SGD),
        (torch.optim.SGD(layer().parameters(), lr=0.1, momentum=0.9), Optimizers.MOMENTUM),
    ],
)
def test_optimisers_by_name_class_and_instance(given: Any, meant: Optimizers) -> None:
    assert optimizer_of(given) is meant


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("fp32", Precision.FLOAT32),
        (32, Precision.FLOAT32),
        ("bf16-mixed", Precision.MIXED16),
        ("fp16", Precision.MIXED16),
        (torch.bfloat16, Precision.MIXED16),
        ("16-true", Precision.PURE16),
        ("TF32", Precision.TF32),
    ],
)
def test_precisions_as_other_tools_write_them(given: Any, meant: Precision) -> None:
    assert precision_of(given) is meant


@pytest.mark.parametrize(
    "change", [{"optimizer": "lion"}, {"precision": "int3"}, {"model": "resnet9000"}, {"dataset": "x"}]
)
def test_unknown_names_are_refused_with_those_that_are_known(change: dict[str, str]) -> None:
    with pytest.raises(UnknownDeviceError, match="take one of"):
        TrainingTimePredictor(**{**ASKED, **change})


def test_names_mean_what_the_enums_mean() -> None:
    named = TrainingTimePredictor(
        model="resnet50", dataset="cifar-10", batch_size=64, gpu="a100", optimizer="sgd", precision="amp"
    )
    meant = TrainingTimePredictor(**ASKED, optimizer=Optimizers.SGD, precision=Precision.MIXED16)
    assert named.predict_epoch_time() == meant.predict_epoch_time()


def test_the_shape_of_inputs_is_read_from_the_first_sample() -> None:
    data = TensorDataset(torch.zeros(40, 3, 4), torch.zeros(40, dtype=torch.long))
    asked = {"batch_size": 8, "gpu": "T4", "model": layer()}
    read = TrainingTimePredictor(**asked, dataset=data)
    assert read.counts == TrainingTimePredictor(**asked, dataset=40, input_shape=(3, 4)).counts
    assert read.steps_per_epoch == 5


def test_a_data_set_without_samples_to_look_at_asks_for_the_shape() -> None:
    class Broken:
        def __len__(self) -> int:
            return 10

        def __getitem__(self, place: int) -> object:
            raise OSError("no such disk")

    with pytest.raises(BadWorkloadError, match="no such disk.*input_shape"):
        TrainingTimePredictor(model=layer(), dataset=Broken(), batch_size=8, gpu="T4")
    assert shape_of_samples([["text", 1]]) is None
    assert shape_of_samples(100) is None


def test_a_catalogue_model_on_data_of_ones_own_says_for_which_samples_it_was_counted() -> None:
    counts, data = catalogued(Models.RESNET50, 1_000_000, None, 1_000_000)
    assert "CIFAR10" in counts.degraded
    assert data.samples == 1_000_000
    larger, _ = catalogued(Models.RESNET50, DatasetSpec(samples=10, classes=5, side=90), None, 10)
    assert "STL10" in larger.degraded
    total = TrainingTimePredictor(**{**ASKED, "dataset": 1_000_000}).predict_total(epochs=1)
    assert "CIFAR10" in total.degraded
