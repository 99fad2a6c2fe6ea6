"""The client's methods of predictions; see :class:`chronos_common.wire.client.CoordinatorClient`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chronos_common.pb.chronos.v1 import prediction_pb2 as pb
from chronos_common.prediction.comparison import Outlook, Workload
from chronos_common.prediction.devices import DeviceSpec, device
from chronos_common.prediction.experience import MeasuredStep
from chronos_common.prediction.machine import Machine
from chronos_common.wire.convert import prediction as convert
from chronos_common.wire.transport import Transport


@dataclass(frozen=True, kw_only=True)
class KnownDevices:
    """What a coordinator can be asked about.

    Attributes:
        devices: names of the table's rows.
        measured_machines: that steps were reported of.
    """

    devices: tuple[str, ...]
    measured_machines: tuple[str, ...]


class PredictionClient(Transport):
    """Asks for predictions, and reports what really happened. Bad workloads raise ``PredictionError``'s classes."""

    async def list_devices(self) -> KnownDevices:
        """The devices of the coordinator's table, and the machines that steps were reported of."""
        answer = await self.call(self.prediction().ListDevices, pb.ListDevicesRequest())
        return KnownDevices(
            devices=tuple(row.name for row in answer.devices),
            measured_machines=tuple(answer.measured_machines),
        )

    async def predict_training(
        self,
        work: Workload,
        *,
        devices: Sequence[str] = (),
        machines: Sequence[Machine] = (),
        measured_on: str = "",
    ) -> list[Outlook]:
        """A training on each device, the shortest first; without devices, on every one of the table.

        Args:
            work: the training.
            devices: names of the table's rows.
            machines: that were probed.
            measured_on: a machine whose reported steps narrow the answers.

        Raises:
            UnknownDeviceError: a device or machine that nothing is known of.
            BadWorkloadError: a number that cannot be.
        """
        request = pb.PredictTrainingRequest(
            workload=convert.workload_to_pb(work),
            devices=devices,
            machines=[convert.machine_to_pb(each) for each in machines],
            measured_on=measured_on,
        )
        answer = await self.call(self.prediction().PredictTraining, request)
        probed = {each.label: each.device() for each in machines}
        return [convert.outlook_from_pb(row, _spec(row.device, probed)) for row in answer.outlooks]

    async def report_steps(
        self, machine: str, device: str | Machine, steps: Sequence[tuple[Workload, float]]
    ) -> int:
        """Reports measured steps, (training, seconds of a step) each; how many are known of the machine now.

        Args:
            machine: its name, for ``measured_on``.
            device: a row of the table, or what was probed.
            steps: at most 256.

        Raises:
            UnknownDeviceError: no such device.
            BadWorkloadError: none, or a number that cannot be.
        """
        checked = [MeasuredStep(work=work, seconds=seconds) for work, seconds in steps]
        request = pb.ReportStepsRequest(
            machine=machine,
            device_name=device if isinstance(device, str) else None,
            probed=None if isinstance(device, str) else convert.machine_to_pb(device),
            steps=[
                pb.MeasuredStep(workload=convert.workload_to_pb(step.work), seconds=step.seconds)
                for step in checked
            ],
        )
        return int((await self.call(self.prediction().ReportSteps, request)).known)

    async def report_training(self, work: Workload, epochs: float) -> int:
        """Reports a training that stopped by itself after so many epochs; how many are known now.

        Raises:
            BadWorkloadError: it cannot have stopped by itself.
        """
        request = pb.ReportTrainingRequest(workload=convert.workload_to_pb(work), epochs=epochs)
        return int((await self.call(self.prediction().ReportTraining, request)).known)


def _spec(name: str, probed: dict[str, DeviceSpec]) -> DeviceSpec:
    for found in probed.values():
        if found.name == name:
            return found
    return device(name)
