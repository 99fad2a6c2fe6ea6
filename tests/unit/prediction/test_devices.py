"""The table of devices: its peaks are dense, and follow from units, clock and what one unit does in a cycle."""

from __future__ import annotations

import math
import tomllib
from importlib.resources import files

import pytest

from chronos_common.errors import BadWorkloadError
from chronos_common.prediction.devices import Devices, DeviceSpec, device, devices
from chronos_common.prediction.names import Precision

GPUS = tuple(row for row in devices().values() if row.name != "CPU")

PER_CYCLE = {
    # FLOPs of one unit in a cycle: float32, and 16-bit products with 32-bit accumulation, dense. From the whitepapers
    # of Pascal, Volta, Turing, Ampere (GA100, GA102), Ada, Hopper, Blackwell and CDNA 3.
    "P4": (256, 256), "P100": (128, 256), "V100": (128, 1024), "V100-PCIe": (128, 1024), "T4": (128, 1024),
    "A10": (256, 1024), "A10G": (256, 512), "A40": (256, 1024), "RTX-3090": (256, 512),
    "A100-PCIe-40GB": (128, 2048), "A100-PCIe-80GB": (128, 2048), "A100-SXM-40GB": (128, 2048),
    "A100-SXM-80GB": (128, 2048), "RTX-4090": (256, 512), "L4": (256, 1024), "L40": (256, 512), "L40S": (256, 1024),
    "H100-PCIe": (256, 4096), "H100-SXM": (256, 4096), "H200": (256, 4096), "B200": (256, 8192),
    "RTX-5090": (256, 512), "MI300X": (256, 2048),
}  # fmt: skip
CLOCKS_APART = 0.10
"""Tensor cores of the largest chips are rated below the boost clock."""


@pytest.mark.parametrize("row", GPUS, ids=lambda row: row.name)
def test_peaks_are_dense_units_times_clock(row: DeviceSpec) -> None:
    full, half = PER_CYCLE[row.name]
    cycles = row.units * row.clock_mhz * 1e-6
    assert row.float32_tflops == pytest.approx(full * cycles, rel=0.05)
    # Twice as much would be the figure with sparsity.
    assert (1 - CLOCKS_APART) * half * cycles < row.half_tflops < 1.02 * half * cycles


@pytest.mark.parametrize("row", GPUS, ids=lambda row: row.name)
def test_narrower_numbers_are_as_much_faster_as_the_architecture_says(row: DeviceSpec) -> None:
    if row.capability < 8.0:  # no TF32, no BF16, no FP8
        assert (row.tf32_tflops, row.bfloat16_tflops, row.fp8_tflops) == (row.float32_tflops, 0.0, 0.0)
        return
    assert row.tf32_tflops == pytest.approx(row.half_tflops / 2, rel=0.03)
    assert row.bfloat16_tflops == row.half_tflops
    assert row.int8_tops == pytest.approx(2 * row.half_tflops * _halved(row), rel=0.02)
    eight = row.capability >= 8.9
    assert row.fp8_tflops == pytest.approx(2 * row.half_tflops if eight else 0.0, rel=0.02)


def _halved(row: DeviceSpec) -> float:
    """Chips of GeForce lose half of their rate to 32-bit accumulation, integers lose none."""
    return 2.0 if row.name in ("RTX-3090", "RTX-4090", "RTX-5090") else 1.0


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("P4", "T4"), ("T4", "L4"), ("P100", "V100"), ("V100-PCIe", "V100"), ("V100", "A100-SXM-40GB"),
        ("A100-PCIe-40GB", "A100-PCIe-80GB"), ("A100-PCIe-80GB", "H100-PCIe"), ("A100-SXM-80GB", "H100-SXM"),
        ("H100-PCIe", "H100-SXM"), ("H100-SXM", "H200"), ("H200", "B200"), ("A40", "L40S"), ("L40", "L40S"),
        ("RTX-3090", "RTX-4090"), ("RTX-4090", "RTX-5090"),
    ],
)  # fmt: skip
def test_a_newer_card_of_a_line_is_nowhere_slower(older: str, newer: str) -> None:
    before, after = device(older), device(newer)
    for name in ("half_tflops", "tf32_tflops", "memory_gb"):
        assert getattr(after, name) >= getattr(before, name), name
    # L4 alone was given less bandwidth than its predecessor.
    if newer != "L4":
        assert after.bandwidth_gb_per_second >= before.bandwidth_gb_per_second


def test_every_row_says_what_it_was_checked_against_and_has_a_member() -> None:
    table = tomllib.loads(files("chronos_common.prediction").joinpath("devices.toml").read_text("utf-8"))
    assert all(len(row["source"]) > 20 for row in table.values())
    assert {member.value for member in Devices} == set(table) == set(PER_CYCLE) | {"CPU"}


def test_names_of_drivers_find_the_card_that_was_meant() -> None:
    for name, row in (
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA L40", "L40"),
        ("NVIDIA L40S", "L40S"),
        ("Tesla V100-PCIE-16GB", "V100-PCIe"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("NVIDIA H100 PCIe", "H100-PCIe"),
        ("NVIDIA H100 80GB HBM3", "H100-SXM"),
    ):
        assert device(name).name == row


def test_a_device_of_ones_own_must_be_able_to_be() -> None:
    own = device("A40").priced(0.0)
    assert own.price_per_hour == 0.0
    assert own.matmul_tflops(Precision.MIXED16) == 149.7
    for price in (-1.0, math.nan, math.inf):
        with pytest.raises(BadWorkloadError, match="price_per_hour"):
            own.priced(price)
