"""What a machine was measured to do: the vector of `chronos probe`, kept as JSON, and the device that it means.

Measuring needs torch and is in ``prediction/torch/probing.py``; reading does not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from chronos_common.errors import ArtefactError, BadWorkloadError, UnknownDeviceError
from chronos_common.prediction.devices import DeviceSpec, device

REVISION: Final = 1

PRECISIONS: Final = ("float32", "tf32", "bfloat16", "float16")
"""Of the matrix products that a probe tries; those that a machine has not are left out."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One device and the host around it, as measured.

    Attributes:
        label: the device, ``cpu`` or ``cuda:NVIDIA A100-SXM4-80GB``.
        matmul_tflops: reached by a large matrix product, by precision; ``float32`` at least.
        bandwidth_gb_per_second: of a large copy in the device's memory, bytes read and written.
        launch_microseconds: of one small operation, from Python.
        memory_gb: of the device, of 2³⁰ bytes.
        loading_samples_per_second: of 32 × 32 images, cropped, flipped, normalised and batched by one process.
        loading_gb_per_second: of a batch from the host's memory to the device's.
        threads: that one operation on the CPU may use.
        torch_version: that measured.
    """

    label: str
    matmul_tflops: Mapping[str, float] = field(default_factory=dict)
    bandwidth_gb_per_second: float
    launch_microseconds: float
    memory_gb: float
    loading_samples_per_second: float
    loading_gb_per_second: float
    threads: int = 1
    torch_version: str = ""

    def __post_init__(self) -> None:
        rates = {f"matmul_tflops[{name}]": rate for name, rate in self.matmul_tflops.items()}
        for name in _NUMBERS:
            rates[name] = getattr(self, name)
        for name, rate in rates.items():
            if not (_is_number(rate) and math.isfinite(rate) and rate > 0):
                raise BadWorkloadError(
                    f"{name} of {self.label!r} is {rate!r}; it must be above zero", field=name
                )
        unknown = sorted(set(self.matmul_tflops) - set(PRECISIONS))
        if unknown or "float32" not in self.matmul_tflops:
            raise BadWorkloadError(
                f"matmul_tflops of {self.label!r} has {sorted(self.matmul_tflops)}; float32 is needed, and the others "
                f"may be {', '.join(PRECISIONS[1:])}",
                field="matmul_tflops",
            )

    @property
    def on_cpu(self) -> bool:
        """Whether the device is the host's processor."""
        return self.label.partition(":")[0] == "cpu"

    @property
    def typical_seconds(self) -> float:
        """Of a step of 1 GFLOP in float32, 100 MB and 100 launches: what machines are compared by."""
        compute, moved = 1e-3 / self.matmul_tflops["float32"], 0.1 / self.bandwidth_gb_per_second
        return compute + moved + 1e-4 * self.launch_microseconds

    def device(self) -> DeviceSpec:
        """The device to ask predictions about.

        A GPU of the table keeps its datasheet's peaks, which predictions were trained on, with the measured launch
        and memory; of a CPU, or a GPU that the table has not, every rate is the measured one. How fast data comes is
        measured in any case.
        """
        known = _known(self.label)
        if known is not None and not self.on_cpu:
            return replace(
                known,
                launch_microseconds=self.launch_microseconds,
                memory_gb=self.memory_gb,
                loading_samples_per_second=self.loading_samples_per_second,
                transfer_gb_per_second=self.loading_gb_per_second,
            )
        full = self.matmul_tflops["float32"]
        half = max(self.matmul_tflops.get("bfloat16", 0.0), self.matmul_tflops.get("float16", 0.0))
        base = device("CPU" if self.on_cpu else "A10")
        return replace(
            base,
            name=self.label,
            host="local",
            float32_tflops=full,
            tf32_tflops=self.matmul_tflops.get("tf32", full),
            half_tflops=half or full,
            bandwidth_gb_per_second=self.bandwidth_gb_per_second,
            launch_microseconds=self.launch_microseconds,
            memory_gb=self.memory_gb,
            loading_samples_per_second=self.loading_samples_per_second,
            transfer_gb_per_second=0.0 if self.on_cpu else self.loading_gb_per_second,
        )

    def to_json(self) -> dict[str, Any]:
        """As plain numbers."""
        return {"revision": REVISION, **asdict(self), "matmul_tflops": dict(self.matmul_tflops)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Machine:
        """The inverse of :meth:`to_json`.

        Raises:
            ArtefactError: another revision, or a field is missing or unknown.
            BadWorkloadError: a rate that is not above zero.
        """
        given: Any = plain
        if not isinstance(given, Mapping) or given.get("revision") != REVISION:
            raise ArtefactError(f"this is no machine of revision {REVISION}; run `chronos probe` anew")
        names = {each.name for each in fields(cls)}
        found = {name: value for name, value in plain.items() if name != "revision"}
        if set(found) != names or not isinstance(found["matmul_tflops"], Mapping):
            raise ArtefactError(
                f"a machine has other fields than this release: {sorted(names ^ set(found))}; run `chronos probe` anew"
            )
        return cls(**found)


_NUMBERS: Final = (
    "bandwidth_gb_per_second",
    "launch_microseconds",
    "memory_gb",
    "loading_samples_per_second",
    "loading_gb_per_second",
    "threads",
)


def read_machine(path: Path) -> Machine:
    """Reads what `chronos probe` wrote.

    Raises:
        ArtefactError: the file is missing, damaged, or of another revision.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"{path} holds no machine ({error}); `chronos probe --out {path}` writes one"
        ) from error
    return Machine.from_json(plain)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _known(label: str) -> DeviceSpec | None:
    try:
        return device(label.partition(":")[2] or label)
    except UnknownDeviceError:
        return None
