"""The front door: shipped answers, any module, bad questions."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from benchmarks.predicting import queries
from chronos_common.errors import BadWorkloadError, BatchTooLargeError, ConfigurationError, UnknownDeviceError
from chronos_common.prediction import Datasets, Devices, Models, Optimizers, Precision, TrainingTimePredictor
from chronos_common.prediction.devices import device, devices
from chronos_common.prediction.predictor import epoch_model, step_time_model
from chronos_common.prediction.step_time import basis


def ask(**changed: Any) -> TrainingTimePredictor:
    """A question that can be answered, with changes."""
    question: dict[str, Any] = {
        "model": Models.RESNET50,
        "dataset": Datasets.CIFAR100,
        "optimizer": Optimizers.ADAMW,
        "batch_size": 128,
        "learning_rate": 1e-3,
        "precision": Precision.MIXED16,
        "gpu": Devices.A100_PCIE_80GB,
    }
    return TrainingTimePredictor(**{**question, **changed})


@pytest.mark.parametrize("model", list(Models))
@pytest.mark.parametrize("gpu", [Devices.T4, Devices.L40S])
def test_every_model_of_the_catalogue_has_an_answer(model: Models, gpu: Devices) -> None:
    dataset = Datasets.SST2 if model is Models.DISTILBERT else Datasets.STL10
    predictor = ask(model=model, dataset=dataset, gpu=gpu, batch_size=16)
    total = predictor.predict_total()
    assert (
        0 < total.seconds.low < total.seconds.p10 < total.seconds.p50 < total.seconds.p90 < total.seconds.high
    )
    assert total.price.p50 == pytest.approx(total.seconds.p50 / 3600 * device(gpu).price_per_hour)
    assert total.basis == ("known" if gpu is Devices.T4 else "new_device")
    assert total.epochs.p50 > 5
    assert total.seconds.p50 == pytest.approx(
        predictor.predict_epoch_time() * predictor.predict_number_of_epochs(), rel=1e-9
    )


def test_the_front_door_says_what_the_evaluated_path_says() -> None:
    predictor = ask()
    family = step_time_model().families["cnn"]
    expected, _ = family.predict([predictor.query], basis(family, predictor.query))
    assert predictor.predict_epoch_time() == pytest.approx(expected[0] / 1000 * 391, rel=1e-6)


def test_a_module_of_ones_own_and_a_data_set_of_ones_own() -> None:
    data = TensorDataset(torch.zeros(1000, 30))
    predictor = ask(
        model=nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 4)), dataset=data, input_shape=(30,)
    )
    total = predictor.predict_total(epochs=3)
    assert total.basis == "new_model"
    assert total.epochs.p10 == total.epochs.p90 == 3
    assert predictor.steps_per_epoch == 8
    assert 0.001 < total.seconds.p50 < 60
    unseen = ask(model=nn.Linear(30, 4), dataset=1000, input_shape=(30,), gpu="H200").predict_total(epochs=1)
    assert unseen.basis == "prior"


def test_more_work_takes_longer() -> None:
    slow, fast = ask(gpu="P4").predict_epoch_time(), ask(gpu="H100").predict_epoch_time()
    assert slow > 2 * fast
    small, large = (ask(gpu="P4", batch_size=batch).predict_step().seconds.p50 for batch in (32, 256))
    assert large > 2 * small


def test_measured_steps_move_the_answer_and_narrow_it() -> None:
    predictor = ask(gpu="L40S")
    before = predictor.predict_step().seconds
    others = [ask(gpu="L40S", batch_size=batch).query for batch in (32, 64, 256)]
    measured = [(query, 2 * step_time_model().predict(query).seconds.p50) for query in others]
    predictor.calibrate(measured)
    after = predictor.predict_step().seconds
    assert after.p50 == pytest.approx(2 * before.p50, rel=0.05)
    assert after.high / after.low < before.high / before.low
    with pytest.raises(BadWorkloadError, match="above zero"):
        predictor.calibrate([(others[0], 0.0)])
    with pytest.raises(BadWorkloadError, match="at least one"):
        predictor.calibrate([])


def test_finished_runs_feed_back() -> None:
    epochs = epoch_model()
    before = ask(epochs=epochs).predict_epochs_interval()
    query = ask().epoch_query
    for _ in range(4):
        epochs.learn("cnn", query, 3 * before.p50)
    after = ask(epochs=epochs).predict_epochs_interval()
    assert after.p50 > 2 * before.p50
    assert after.high / after.low < before.high / before.low
    with pytest.raises(BadWorkloadError, match="stopped by itself"):
        epochs.learn("cnn", query, 4)


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"gpu": "GTX 280"}, UnknownDeviceError, "GTX 280.*A40"),
        ({"batch_size": 0}, BadWorkloadError, "batch_size"),
        ({"batch_size": 2.5}, ConfigurationError, "batch_size"),
        ({"batch_size": 1 << 20}, BatchTooLargeError, "largest"),
        ({"learning_rate": float("nan")}, BadWorkloadError, "learning_rate"),
        ({"dataset": Datasets.IMDB}, UnknownDeviceError, "resnet50/IMDB"),
        ({"dataset": 0, "model": nn.Linear(2, 2), "input_shape": (2,)}, BadWorkloadError, "at least one"),
        ({"dataset": object()}, BadWorkloadError, "no data set"),
        ({"model": nn.Linear(2, 2)}, BadWorkloadError, "input_shape"),
    ],
)
def test_bad_questions_are_refused_in_words(
    changed: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        ask(**changed)


def test_zero_epochs_are_refused() -> None:
    with pytest.raises(BadWorkloadError, match="one or more"):
        ask().predict_total(epochs=0)


def test_every_device_has_a_member_and_the_driver_s_name_finds_it() -> None:
    assert {member.value for member in Devices} == set(devices())
    assert device("NVIDIA A40") is device(Devices.A40) is device("a40")


@pytest.mark.parametrize(
    ("module", "shape"), [pytest.param(made, shape, id=name) for name, made, shape in queries.modules()]
)
def test_a_module_is_asked_about_again_at_once(module: nn.Module, shape: tuple[int, ...]) -> None:
    queries.ask(module, shape)
    # CPU time, and the best of a few: what others do on the machine is not measured.
    warm = min(queries.milliseconds(partial(queries.ask, module, shape))[1] for _ in range(5))
    assert warm < 50.0


def test_asking_needs_no_torch() -> None:
    script = (
        "import sys\n"
        "from chronos_common.prediction import *\n"
        "TrainingTimePredictor(model=Models.VIT, dataset=Datasets.STL10, batch_size=8, gpu='T4').predict_total()\n"
        "assert not {'torch', 'sklearn', 'scipy', 'lightgbm'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_answers_are_numbers() -> None:
    assert np.isfinite(ask().predict_epoch_time())
