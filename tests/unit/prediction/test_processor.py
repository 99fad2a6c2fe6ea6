"""A step on a processor: probed rates and launches add up, nothing is loaded, measured steps calibrate."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from chronos_common.prediction import DatasetSpec, Query, TrainingTimePredictor
from chronos_common.prediction.devices import DeviceSpec, device
from chronos_common.prediction.machine import Machine
from chronos_common.prediction.names import Optimizers, Precision
from chronos_common.prediction.predictor import step_time_model
from chronos_common.prediction.processor import WEIGHTS, is_processor, processor_parts
from chronos_common.prediction.torch.counting import count
from chronos_common.prediction.torch.probing import probe

PROBED = Machine(
    label="cpu",
    matmul_tflops={"float32": 0.08},
    bandwidth_gb_per_second=19.0,
    launch_microseconds=4.5,
    memory_gb=16.0,
    loading_samples_per_second=20_000.0,
    loading_gb_per_second=2.0,
)


def question(module: nn.Module, shape: tuple[int, ...], on: DeviceSpec, batch: int = 16) -> Query:
    """A step with AdamW."""
    return Query(
        counts=count(module, shape),
        batch_size=batch,
        optimizer=Optimizers.ADAMW,
        precision=Precision.FLOAT32,
        device=on,
        data=DatasetSpec(samples=1000, classes=0),
    )


def test_a_row_and_a_probed_machine_are_processors_and_a_gpu_is_none() -> None:
    assert is_processor(device("CPU"))
    assert is_processor(PROBED.device())
    assert not is_processor(device("A40"))


def test_work_and_launches_add_up_and_nothing_is_loaded() -> None:
    query = question(nn.Linear(64, 10), (64,), PROBED.device())
    parts = processor_parts([query])
    assert parts.total[0] == pytest.approx(parts.device[0] + parts.launch[0])
    found = step_time_model().predict(query)
    assert found.basis == "processor"
    assert found.loading_seconds == 0.0
    assert found.seconds.p50 == pytest.approx(parts.total[0] / 1000)
    assert found.seconds.low < found.seconds.p10 < found.seconds.p50 < found.seconds.p90 < found.seconds.high


def test_launches_decide_a_small_step_and_products_a_large_one() -> None:
    probed = PROBED.device()
    slow_launch, fast_products = (
        replace(probed, launch_microseconds=9.0),
        replace(probed, float32_tflops=0.8, tf32_tflops=0.8),
    )

    def seconds(width: int, batch: int, on: DeviceSpec) -> float:
        return step_time_model().predict(question(nn.Linear(width, width), (width,), on, batch)).seconds.p50

    assert seconds(8, 4, slow_launch) == pytest.approx(2 * seconds(8, 4, probed), rel=0.05)
    assert seconds(1024, 4096, fast_products) < 0.5 * seconds(1024, 4096, probed)
    assert seconds(8, 4, fast_products) == pytest.approx(seconds(8, 4, probed), rel=0.05)


def test_more_tensors_take_more_updates_since_a_processor_updates_each_by_itself() -> None:
    wide = question(nn.Linear(64, 64), (64,), PROBED.device())
    many = replace(wide, counts=replace(wide.counts, parameter_tensors=40.0))
    assert processor_parts([many]).launch[0] - processor_parts([wide]).launch[0] > 0.1
    assert all(weight > 0 for weight in WEIGHTS.values())


def test_one_measured_step_moves_the_answer_to_it() -> None:
    predictor = TrainingTimePredictor(
        model=nn.Linear(64, 10), input_shape=(64,), dataset=1000, batch_size=16, gpu=PROBED.device()
    )
    slower = 3 * predictor.predict_step().seconds.p50
    predictor.calibrate([(predictor.query, slower)])
    assert predictor.predict_step().seconds.p50 == pytest.approx(slower, rel=0.1)


def test_a_probe_of_this_machine_can_be_asked_about() -> None:
    found = probe(torch.device("cpu"), seconds=0.05).device()
    predictor = TrainingTimePredictor(
        model=nn.Linear(64, 10), input_shape=(64,), dataset=1000, batch_size=16, gpu=found
    )
    assert 1e-5 < predictor.predict_epoch_time() / predictor.steps_per_epoch < 1
