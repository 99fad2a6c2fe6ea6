"""Predictions between a client and a coordinator over the loopback interface."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from chronos_common.errors import BadWorkloadError, InvalidRequestError, UnknownDeviceError
from chronos_common.pb.chronos.v1 import prediction_pb2 as pb
from chronos_common.prediction.catalogue import counts_of
from chronos_common.prediction.comparison import Workload, compare
from chronos_common.prediction.devices import device, devices
from chronos_common.prediction.machine import Machine
from chronos_common.prediction.names import Datasets
from chronos_common.wire import CoordinatorClient, SyncCoordinatorClient
from chronos_coordinator.prediction_desk import PredictionDesk
from tests.support.services import serving

WORK = Workload(counts=counts_of("resnet50", "CIFAR10"), data=Datasets.CIFAR10.about, batch_size=128)
LAPTOP = Machine(
    label="cpu",
    matmul_tflops={"float32": 0.2},
    bandwidth_gb_per_second=25.0,
    launch_microseconds=3.0,
    memory_gb=15.5,
    loading_samples_per_second=20_000.0,
    loading_gb_per_second=2.0,
)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[CoordinatorClient]:
    async with serving(tmp_path) as app, CoordinatorClient(app.address) as connected:
        yield connected


async def test_the_service_answers_as_the_library_does(client: CoordinatorClient) -> None:
    assert await client.predict_training(WORK) == compare(WORK)
    known = await client.list_devices()
    assert known.devices == tuple(devices())
    assert known.measured_machines == ()


async def test_a_model_of_the_catalogue_goes_by_its_name(client: CoordinatorClient) -> None:
    named = pb.Workload(
        catalogue=pb.CatalogueModel(name="ResNet50"), dataset_name="cifar10", batch_size=128, epochs=3
    )
    request = pb.PredictTrainingRequest(workload=named, devices=["NVIDIA A40"])
    (answer,) = (await client.call(client.prediction().PredictTraining, request)).outlooks
    (expected,) = compare(replace(WORK, epochs=3), [device("A40")])
    assert expected.total is not None
    assert answer.total_seconds.p50 == expected.total.p50


async def test_reported_steps_narrow_the_answer_and_outlive_a_restart(tmp_path: Path) -> None:
    step = compare(WORK, [device("A40")])[0].step
    assert step is not None
    slow = 1.8 * step.p50
    async with serving(tmp_path) as app, CoordinatorClient(app.address) as client:
        points = [(replace(WORK, batch_size=size), 1.8 * _step(size)) for size in (32, 64, 256)]
        assert await client.report_steps("mine", "A40", points) == 3
        (before,) = await client.predict_training(WORK, devices=["A40"], measured_on="mine")
    async with serving(tmp_path) as app, CoordinatorClient(app.address) as client:
        (after,) = await client.predict_training(WORK, devices=["A40"], measured_on="mine")
        assert (await client.list_devices()).measured_machines == ("mine",)
    assert after == before
    assert after.step is not None
    assert after.basis == "calibrated"
    assert after.step.p50 == pytest.approx(slow, rel=0.1)


async def test_finished_trainings_move_the_epochs(client: CoordinatorClient) -> None:
    (before,) = await client.predict_training(WORK, devices=["A40"])
    assert before.epochs is not None
    for known in range(1, 6):
        assert await client.report_training(WORK, 2 * before.epochs.p50) == known
    (after,) = await client.predict_training(WORK, devices=["A40"])
    assert after.epochs is not None
    assert 1.3 * before.epochs.p50 < after.epochs.p50 < 2.1 * before.epochs.p50


async def test_finished_trainings_outlive_a_restart_and_improve_the_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as app, CoordinatorClient(app.address) as client:
        (before,) = await client.predict_training(WORK, devices=["A40"])
        assert before.epochs is not None
        truth = 2 * before.epochs.p50
        for size in (32, 64, 256):
            await client.report_training(replace(WORK, batch_size=size), truth)
        (told,) = await client.predict_training(WORK, devices=["A40"])
    async with serving(tmp_path) as app, CoordinatorClient(app.address) as client:
        (after,) = await client.predict_training(WORK, devices=["A40"])
    assert after == told
    assert after.epochs is not None
    assert abs(after.epochs.p50 - truth) < 0.6 * abs(before.epochs.p50 - truth)


async def test_reports_are_written_down_and_those_before_are_dropped(tmp_path: Path) -> None:
    async with serving(tmp_path) as app:
        owner = app.coordinator.prediction._owner
        desk = PredictionDesk(owner, snapshot_entries=3)
        for size in range(1, 8):
            await desk.report_training(WORK, 20.0 + size)
        stream = owner.store.streams("prediction")
        assert stream == ["reports"]
        fresh = PredictionDesk(owner)
        on = [device("A40")]
        assert await fresh.predict(WORK, on, "") == await desk.predict(WORK, on, "")
        assert await fresh.report_training(WORK, 30.0) == 8


async def test_a_probed_machine_is_asked_about(client: CoordinatorClient) -> None:
    (answer,) = await client.predict_training(WORK, machines=[LAPTOP])
    assert answer.device == LAPTOP.device()
    assert answer.total is not None


async def test_a_batch_that_cannot_fit_is_said(client: CoordinatorClient) -> None:
    (answer,) = await client.predict_training(replace(WORK, batch_size=100_000), devices=["P4"])
    assert answer.total is None
    assert "largest that fits is" in answer.remark


async def test_counts_that_fall_short_make_an_answer_that_says_so(client: CoordinatorClient) -> None:
    short = replace(WORK, counts=replace(WORK.counts, degraded="counted on the CPU, since it peeked"))
    (answer,) = await client.predict_training(short, devices=["A40"])
    assert answer.total is not None
    assert answer.remark == "counted on the CPU, since it peeked"


async def test_refusals_change_nothing_and_say_why(client: CoordinatorClient) -> None:
    with pytest.raises(UnknownDeviceError, match="no device is called 'Z9'"):
        await client.predict_training(WORK, devices=["Z9"])
    with pytest.raises(UnknownDeviceError, match="no steps were reported"):
        await client.predict_training(WORK, measured_on="nobody")
    with pytest.raises(BadWorkloadError, match="no steps"):
        await client.report_steps("mine", "A40", [])
    with pytest.raises(BadWorkloadError, match="cannot have stopped"):
        await client.report_training(WORK, 2.0)
    with pytest.raises(InvalidRequestError, match="64 devices"):
        await client.predict_training(WORK, devices=["A40"] * 65)
    for wrong, words in (
        (pb.Workload(), "no data set"),
        (pb.Workload(dataset_name="CIFAR10"), "no model"),
        (
            pb.Workload(dataset_name="CIFAR10", catalogue=pb.CatalogueModel(name="resnet50")),
            "batch_size is 0",
        ),
        (_named(learning_rate=float("nan")), "learning_rate"),
        (_named(learning_rate=-1.0), "learning_rate"),
        (_named(epochs=0), "0 epochs"),
        (_named(counts=pb.ModelCounts()), "not those of a training step"),
        (_named(counts=pb.ModelCounts(numbers={"parameters": float("inf")})), "not finite"),
        (_named(dataset_size=pb.DatasetSize(samples=0)), "at least one"),
    ):
        request = pb.PredictTrainingRequest(workload=wrong, devices=["A40"])
        with pytest.raises(BadWorkloadError, match=words):
            await client.call(client.prediction().PredictTraining, request)
    for seconds in (0.0, -1.0, float("nan")):
        step = pb.MeasuredStep(workload=_named(), seconds=seconds)
        report = pb.ReportStepsRequest(machine="mine", device_name="A40", steps=[step])
        with pytest.raises(BadWorkloadError, match="above zero"):
            await client.call(client.prediction().ReportSteps, report)
    assert (await client.list_devices()).measured_machines == ()


async def test_a_blocking_client_has_the_same_methods(tmp_path: Path) -> None:
    async with serving(tmp_path) as app:

        def ask() -> float:
            with SyncCoordinatorClient(app.address) as client:
                (found,) = client.predict_training(WORK, devices=["A40"])
                assert found.step is not None
                return found.step.p50

        assert await asyncio.to_thread(ask) == _step(128)


def _step(batch_size: int) -> float:
    (found,) = compare(replace(WORK, batch_size=batch_size), [device("A40")])
    assert found.step is not None
    return found.step.p50


def _named(**changes: object) -> pb.Workload:
    base = {"catalogue": pb.CatalogueModel(name="resnet50"), "dataset_name": "CIFAR10", "batch_size": 8}
    if "counts" in changes:
        del base["catalogue"]
    if "dataset_size" in changes:
        base["counts"] = pb.ModelCounts(lines={"matmul_flops": pb.Line(per_sample=1.0)})
        del base["catalogue"], base["dataset_name"]
    return pb.Workload(**(base | changes))
