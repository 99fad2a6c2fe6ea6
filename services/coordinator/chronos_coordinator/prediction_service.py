"""Handlers of ``chronos.v1.PredictionService``: convert, call, convert."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import grpc

from chronos_common.errors import InvalidRequestError
from chronos_common.pb.chronos.v1 import prediction_pb2 as pb
from chronos_common.pb.chronos.v1.prediction_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)
from chronos_common.prediction.comparison import Outlook, Workload
from chronos_common.prediction.devices import DeviceSpec, device, devices
from chronos_common.prediction.experience import MAX_STEPS, MeasuredStep
from chronos_common.wire.admission import Admission
from chronos_common.wire.convert import prediction as convert
from chronos_common.wire.convert import scalars
from chronos_common.wire.server import Service
from chronos_common.wire.transport import PREDICTION_SERVICE

Context = grpc.aio.ServicerContext[Any, Any]

MAX_DEVICES: Final = 64
"""Names in one question, and machines."""


class PredictionFacade(Protocol):
    """What the handlers need of a coordinator; every method raises ``ChronosError``."""

    async def machines(self) -> Sequence[str]: ...

    async def predict(
        self, work: Workload, on: Sequence[DeviceSpec], measured_on: str
    ) -> Sequence[Outlook]: ...

    async def report_steps(self, machine: str, device: DeviceSpec, steps: Sequence[MeasuredStep]) -> int: ...

    async def report_training(self, work: Workload, epochs: float) -> int: ...


def prediction_service(facade: PredictionFacade) -> Service:
    """The service, to be given to a :class:`chronos_common.wire.Server`."""

    def add_to(server: grpc.aio.Server, admission: Admission) -> None:
        add_PredictionServiceServicer_to_server(PredictionHandlers(facade), server)

    return Service(name=PREDICTION_SERVICE, add_to=add_to)


class PredictionHandlers(PredictionServiceServicer):
    """One method for each RPC; see the contract for what they do."""

    def __init__(self, facade: PredictionFacade) -> None:
        self._facade = facade

    async def ListDevices(  # noqa: N802
        self, request: pb.ListDevicesRequest, context: Context
    ) -> pb.ListDevicesResponse:
        return pb.ListDevicesResponse(
            devices=[convert.device_to_pb(row) for row in devices().values()],
            measured_machines=await self._facade.machines(),
        )

    async def PredictTraining(  # noqa: N802
        self, request: pb.PredictTrainingRequest, context: Context
    ) -> pb.PredictTrainingResponse:
        on = convert.asked_devices(request.devices, request.machines, MAX_DEVICES)
        measured_on = scalars.name_from_pb(request.measured_on, "measured_on", optional=True)
        found = await self._facade.predict(convert.workload_from_pb(request.workload), on, measured_on)
        return pb.PredictTrainingResponse(outlooks=[convert.outlook_to_pb(each) for each in found])

    async def ReportSteps(  # noqa: N802
        self, request: pb.ReportStepsRequest, context: Context
    ) -> pb.ReportStepsResponse:
        if len(request.steps) > MAX_STEPS:
            raise InvalidRequestError(
                f"{len(request.steps)} steps in one call; at most {MAX_STEPS}", field="steps"
            )
        chosen = request.WhichOneof("device")
        if chosen is None:
            raise InvalidRequestError("the machine has no device; name one, or probe it", field="device")
        spec = (
            convert.machine_from_pb(request.probed).device()
            if chosen == "probed"
            else device(request.device_name)
        )
        steps = [
            MeasuredStep(work=convert.workload_from_pb(step.workload), seconds=step.seconds)
            for step in request.steps
        ]
        machine = scalars.name_from_pb(request.machine, "machine")
        return pb.ReportStepsResponse(known=await self._facade.report_steps(machine, spec, steps))

    async def ReportTraining(  # noqa: N802
        self, request: pb.ReportTrainingRequest, context: Context
    ) -> pb.ReportTrainingResponse:
        work = convert.workload_from_pb(request.workload)
        return pb.ReportTrainingResponse(known=await self._facade.report_training(work, request.epochs))
