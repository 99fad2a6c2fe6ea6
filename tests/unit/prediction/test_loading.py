"""Waiting for data on a probed machine, apart from computing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chronos_common.prediction import Datasets, Models, TrainingTimePredictor
from chronos_common.prediction.devices import DeviceSpec, device
from chronos_common.prediction.loading import PIXEL_SHARE
from chronos_common.prediction.machine import Machine
from chronos_common.prediction.step_time import StepTime

CPU = Machine(
    label="cpu",
    matmul_tflops={"float32": 0.2},
    bandwidth_gb_per_second=25.0,
    launch_microseconds=3.0,
    memory_gb=64.0,
    loading_samples_per_second=20_000.0,
    loading_gb_per_second=2.0,
)


def step(gpu: DeviceSpec, dataset: Datasets = Datasets.CIFAR10, model: Models = Models.RESNET50) -> StepTime:
    """One step of 128 samples, that an epoch is made of."""
    predictor = TrainingTimePredictor(model=model, dataset=dataset, batch_size=128, gpu=gpu)
    found = predictor.predict_step()
    epoch = predictor.steps_per_epoch * (found.compute_seconds + found.loading_seconds)
    assert predictor.predict_epoch_time() == pytest.approx(epoch)
    return found


def test_what_computing_hides_is_not_waited_for() -> None:
    assert step(CPU.device()).loading_seconds == 0.0


def test_a_slow_loader_is_waited_for_as_much_longer_as_it_is() -> None:
    gpu = replace(CPU, label="cuda:NVIDIA A40", loading_samples_per_second=100.0, loading_gb_per_second=1.0)
    half = replace(gpu, loading_samples_per_second=50.0)
    slow, slower = step(gpu.device()), step(half.device())
    moved = 128 * 3 * 32 * 32 * 4 / 1e9
    assert slow.loading_seconds == pytest.approx(128 / 100 - slow.compute_seconds + moved)
    assert slower.loading_seconds - slow.loading_seconds == pytest.approx(128 / 100)
    assert slower.compute_seconds == slow.compute_seconds
    assert slow.seconds.low < slow.seconds.p50 < slow.seconds.high


def test_larger_images_take_longer_to_make() -> None:
    gpu = replace(CPU, label="cuda:NVIDIA A40", loading_samples_per_second=10.0).device()
    small, large = step(gpu), step(gpu, Datasets.STL10)
    times = [each.compute_seconds + each.loading_seconds for each in (small, large)]
    assert times[1] / times[0] == pytest.approx(1 + PIXEL_SHARE * (9 - 1), rel=0.02)


def test_texts_are_only_moved() -> None:
    gpu = replace(CPU, label="cuda:NVIDIA A40", loading_samples_per_second=1.0).device()
    assert step(gpu, Datasets.SST2, Models.DISTILBERT).loading_seconds < 1e-3


def test_files_wait_for_the_disk_that_no_probe_has_measured() -> None:
    table, quick = (
        device("A40"),
        replace(CPU, label="cuda:NVIDIA A40", loading_samples_per_second=1e9).device(),
    )
    assert step(table, Datasets.TINY_IMAGENET).loading_seconds > 0.0
    assert step(quick, Datasets.TINY_IMAGENET).loading_seconds > 0.0
    assert step(quick).loading_seconds < 1e-3


def test_rows_of_the_table_are_answered_as_they_were_trained() -> None:
    assert device("A40").loading_samples_per_second == 0.0
    assert step(device("A40")).loading_seconds > 0.0
