"""Predictions for tests of the wire: there are none, and every call is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from chronos_common.errors import UnknownDeviceError
from chronos_common.prediction.comparison import Outlook, Workload
from chronos_common.prediction.devices import DeviceSpec
from chronos_common.prediction.experience import MeasuredStep


class FakePrediction:
    """Refuses every question, and counts it."""

    def __init__(self, calls: Counter[str]) -> None:
        self._calls = calls

    async def machines(self) -> Sequence[str]:
        self._calls["machines"] += 1
        return []

    async def predict(self, work: Workload, on: Sequence[DeviceSpec], measured_on: str) -> Sequence[Outlook]:
        raise self._refused("predict")

    async def report_steps(self, machine: str, device: DeviceSpec, steps: Sequence[MeasuredStep]) -> int:
        raise self._refused("report_steps")

    async def report_training(self, work: Workload, epochs: float) -> int:
        raise self._refused("report_training")

    def _refused(self, call: str) -> UnknownDeviceError:
        self._calls[call] += 1
        return UnknownDeviceError("this fake knows no device")
