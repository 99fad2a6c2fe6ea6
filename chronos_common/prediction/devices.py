"""The table of devices (``devices.toml``) and how a name finds its row."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache
from importlib.resources import files
from typing import Any

from chronos_common.errors import BadWorkloadError, UnknownDeviceError
from chronos_common.prediction.names import Precision


@dataclass(frozen=True, kw_only=True)
class DeviceSpec:
    """A device, by its datasheet. Rates are peaks.

    Attributes:
        name: of its row.
        half_tflops: dense, 16-bit with 32-bit accumulation.
        tf32_tflops: the same for TF32; that of float32 where there is none.
        float32_tflops: outside of tensor cores.
        bandwidth_gb_per_second: of its memory.
        memory_gb: of 2³⁰ bytes.
        tdp_watts: its power limit.
        clock_mhz: boost.
        units: multiprocessors.
        capability: CUDA compute capability, or alike.
        launch_microseconds: prior for one kernel's launch.
        host: kind of machine around it: ``cloud``, ``rented`` or ``local``.
        price_per_hour: in USD, a default.
        bfloat16_tflops: dense; as the two below known for completeness, and 0 where the device has no such unit.
        fp8_tflops: dense, with 32-bit accumulation.
        int8_tops: dense.
        loading_samples_per_second: of 32 × 32 images that one process makes; 0 where it was not measured.
        transfer_gb_per_second: from the host's memory to the device's; 0 likewise, and where they are one.
    """

    name: str
    half_tflops: float
    tf32_tflops: float
    float32_tflops: float
    bandwidth_gb_per_second: float
    memory_gb: float
    tdp_watts: float
    clock_mhz: float
    units: float
    capability: float
    launch_microseconds: float
    host: str
    price_per_hour: float
    bfloat16_tflops: float = 0.0
    fp8_tflops: float = 0.0
    int8_tops: float = 0.0
    loading_samples_per_second: float = 0.0
    transfer_gb_per_second: float = 0.0

    def __post_init__(self) -> None:
        for name in _ABOVE_ZERO:
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise BadWorkloadError(
                    f"{name} of device {self.name} is {value}; it must be above zero", field=name
                )
        for name in _AT_LEAST_ZERO:
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise BadWorkloadError(
                    f"{name} of device {self.name} is {value}; it must be zero or more", field=name
                )

    @property
    def memory_bytes(self) -> float:
        """Of its memory."""
        return self.memory_gb * 2**30

    @property
    def tensor_cores(self) -> bool:
        """Whether 16-bit products are faster than twice the float32 rate."""
        return self.half_tflops > 2.5 * self.float32_tflops or self.capability >= 7.0

    def matmul_tflops(self, precision: Precision) -> float:
        """Peak of matrix products. Autocast runs them in 16 bits also where no tensor core speeds that up."""
        if precision is Precision.FLOAT32:
            return self.float32_tflops
        return self.tf32_tflops if precision is Precision.TF32 else self.half_tflops

    def conv_tflops(self, precision: Precision) -> float:
        """Peak of convolutions: cuDNN takes TF32 for float32 ones by default, as PyTorch sets it."""
        return self.tf32_tflops if precision in (Precision.FLOAT32, Precision.TF32) else self.half_tflops

    def priced(self, per_hour: float) -> DeviceSpec:
        """The same device at another price."""
        return replace(self, price_per_hour=per_hour)


_ABOVE_ZERO = (
    "half_tflops", "tf32_tflops", "float32_tflops", "bandwidth_gb_per_second", "memory_gb", "tdp_watts", "clock_mhz",
    "units", "launch_microseconds",
)  # fmt: skip
_AT_LEAST_ZERO = (
    "price_per_hour", "capability", "bfloat16_tflops", "fp8_tflops", "int8_tops", "loading_samples_per_second",
    "transfer_gb_per_second",
)  # fmt: skip

_FIELDS = {
    "half": "half_tflops",
    "tf32": "tf32_tflops",
    "float32": "float32_tflops",
    "bfloat16": "bfloat16_tflops",
    "fp8": "fp8_tflops",
    "int8": "int8_tops",
    "bandwidth": "bandwidth_gb_per_second",
    "memory": "memory_gb",
    "tdp": "tdp_watts",
    "clock": "clock_mhz",
    "units": "units",
    "capability": "capability",
    "launch": "launch_microseconds",
    "host": "host",
    "price": "price_per_hour",
}


@cache
def devices() -> dict[str, DeviceSpec]:
    """Every row of the table by its name."""
    return {
        name: DeviceSpec(name=name, **{field: row[column] for column, field in _FIELDS.items()})
        for name, row in _table().items()
    }


def device(name: str | DeviceSpec | Devices) -> DeviceSpec:
    """The row that a name means: its own, the driver's (``NVIDIA A40``), or a common one (``A100``).

    Raises:
        UnknownDeviceError: no row has that name.
    """
    if isinstance(name, DeviceSpec):
        return name
    wanted = name.value if isinstance(name, Devices) else name
    found = _by_name().get(_plain(wanted))
    if found is None:
        raise UnknownDeviceError(
            f"no device is called {wanted!r}; take one of {', '.join(devices())}, or give a DeviceSpec of your own",
            device=wanted,
        )
    return devices()[found]


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(
        files("chronos_common.prediction").joinpath("devices.toml").read_text(encoding="utf-8")
    )


@cache
def _by_name() -> dict[str, str]:
    return {_plain(alias): name for name, row in _table().items() for alias in (name, *row["names"])}


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


class Devices(Enum):
    """The rows of the table."""

    P4 = "P4"
    P100 = "P100"
    V100 = "V100"
    V100_PCIE = "V100-PCIe"
    T4 = "T4"
    A10 = "A10"
    A10G = "A10G"
    A40 = "A40"
    A100_PCIE_40GB = "A100-PCIe-40GB"
    A100_PCIE_80GB = "A100-PCIe-80GB"
    A100_SXM_40GB = "A100-SXM-40GB"
    A100_SXM_80GB = "A100-SXM-80GB"
    RTX_3090 = "RTX-3090"
    RTX_4090 = "RTX-4090"
    L4 = "L4"
    L40 = "L40"
    L40S = "L40S"
    H100_PCIE = "H100-PCIe"
    H100_SXM = "H100-SXM"
    H200 = "H200"
    B200 = "B200"
    RTX_5090 = "RTX-5090"
    MI300X = "MI300X"
    CPU = "CPU"
