"""A measured machine: kept exactly, refused where it cannot be, and the device that it means."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from chronos_common.errors import ArtefactError, BadWorkloadError
from chronos_common.prediction.devices import device
from chronos_common.prediction.machine import Machine, read_machine

LAPTOP = Machine(
    label="cpu",
    matmul_tflops={"float32": 0.2, "bfloat16": 0.4},
    bandwidth_gb_per_second=25.0,
    launch_microseconds=3.0,
    memory_gb=15.5,
    loading_samples_per_second=20_000.0,
    loading_gb_per_second=2.0,
    threads=2,
)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(LAPTOP.to_json()))
    assert read_machine(path) == LAPTOP


def test_a_cpu_is_what_was_measured() -> None:
    found = LAPTOP.device()
    assert (found.float32_tflops, found.half_tflops) == (0.2, 0.4)
    assert (found.bandwidth_gb_per_second, found.memory_gb, found.launch_microseconds) == (25.0, 15.5, 3.0)


def test_a_gpu_of_the_table_keeps_its_peaks_and_takes_its_measured_launch() -> None:
    measured = replace(LAPTOP, label="cuda:NVIDIA A40", matmul_tflops={"float32": 20.0, "float16": 90.0})
    found = measured.device()
    assert found.half_tflops == device("A40").half_tflops
    assert found.name == "A40"
    assert found.launch_microseconds == 3.0


def test_an_unknown_gpu_is_what_was_measured() -> None:
    found = replace(
        LAPTOP, label="cuda:Wonder 9000", matmul_tflops={"float32": 30.0, "float16": 200.0}
    ).device()
    assert found.name == "cuda:Wonder 9000"
    assert (found.float32_tflops, found.half_tflops) == (30.0, 200.0)


@pytest.mark.parametrize(
    "damage",
    [{"revision": 9}, {"threads": None, "revision": 1}, {"extra": 1}, {"matmul_tflops": 3}],
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: dict[str, object]) -> None:
    plain = LAPTOP.to_json() | damage
    if plain["threads"] is None:
        del plain["threads"]
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(plain))
    with pytest.raises(ArtefactError, match="chronos probe"):
        read_machine(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bandwidth_gb_per_second": 0.0},
        {"memory_gb": float("nan")},
        {"launch_microseconds": "3"},
        {"matmul_tflops": {"bfloat16": 1.0}},
        {"matmul_tflops": {"float32": 1.0, "fp8": 1.0}},
        {"matmul_tflops": {"float32": -1.0}},
    ],
)
def test_a_rate_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadWorkloadError):
        Machine.from_json(LAPTOP.to_json() | wrong)
