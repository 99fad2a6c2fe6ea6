"""The client's methods of the memory; see :class:`chronos_common.wire.client.CoordinatorClient`."""

from __future__ import annotations

from chronos_common.codec import encode
from chronos_common.engine.config import RunConfig
from chronos_common.engine.views import MemoryView
from chronos_common.engine.warm_start import WarmStartCandidate
from chronos_common.outer.memory import Neighbour, Prediction
from chronos_common.pb.chronos.v1 import memory_pb2 as pb
from chronos_common.tensors import Arrays
from chronos_common.wire.chunks import require_message
from chronos_common.wire.convert import memory as convert
from chronos_common.wire.convert.config import config_to_pb
from chronos_common.wire.transport import Transport


class MemoryClient(Transport):
    """Asks the memory of a run, and adds to it. λ and hypergradients are in stored coordinates.

    Every method raises ``RunNotFoundError``, and ``MemoryOffError`` for a run that was created without a memory.
    """

    async def describe_memory(self, run_id: str, *, window: int = 0) -> MemoryView:
        """How full it is, what has happened to it, how the newest ``window`` losses go (0 is 20)."""
        request = pb.DescribeMemoryRequest(run_id=run_id, window=window)
        return convert.view_from_pb(await self.call(self.memory().DescribeMemory, request))

    async def store_memory(
        self, run_id: str, values: Arrays, gradient: Arrays, loss: float, *, source: str = ""
    ) -> int:
        """Stores what was measured elsewhere; the number of the entry.

        Raises:
            PayloadError: other names, shapes or dtypes than the run's, or a number that is not finite.
            RunNotActiveError: the run is over.
        """
        request = pb.StoreMemoryRequest(
            run_id=run_id,
            values=encode("identity", values),
            gradient=encode("identity", gradient),
            loss=loss,
            source=source,
        )
        require_message(request.ByteSize(), self.limits.max_message_bytes)
        return int((await self.call(self.memory().StoreMemory, request)).number)

    async def forbid_region(
        self, run_id: str, values: Arrays, *, radius: float = 0.0, reason: str = ""
    ) -> int:
        """Marks λ as failed, with a radius (0 is the run's own); how many places count as failed now.

        Raises:
            PayloadError, RunNotActiveError: as :meth:`store_memory`.
            InvalidRequestError: a radius that is negative or not finite.
        """
        request = pb.ForbidRegionRequest(
            run_id=run_id, values=encode("identity", values), radius=radius, reason=reason
        )
        require_message(request.ByteSize(), self.limits.max_message_bytes)
        return int((await self.call(self.memory().ForbidRegion, request)).regions)

    async def retrieve_similar(
        self,
        run_id: str,
        values: Arrays | None = None,
        *,
        k: int = 0,
        metric: str = "",
        with_arrays: bool = False,
    ) -> list[Neighbour]:
        """The entries most like ``values`` (by default the newest version's), the most similar first.

        Args:
            run_id: the run.
            values: λ.
            k: how many; 0 is the run's own number.
            metric: ``"distance"``, also when empty, or ``"cosine"``.
            with_arrays: bring their λ and hypergradients too.

        Raises:
            PayloadError: as :meth:`store_memory`; or the answer is too large for one message.
            InvalidRequestError: no such metric.
        """
        request = pb.RetrieveSimilarRequest(
            run_id=run_id, values=_payload(values), k=k, metric=metric, with_arrays=with_arrays
        )
        require_message(request.ByteSize(), self.limits.max_message_bytes)
        answer = await self.call(self.memory().RetrieveSimilar, request)
        return [convert.neighbour_from_pb(entry) for entry in answer.entries]

    async def predict_gradient(self, run_id: str, values: Arrays | None = None, *, k: int = 0) -> Prediction:
        """The hypergradient expected at ``values`` (by default the newest version's); see :meth:`retrieve_similar`."""
        request = pb.PredictGradientRequest(run_id=run_id, values=_payload(values), k=k)
        require_message(request.ByteSize(), self.limits.max_message_bytes)
        return convert.prediction_from_pb(await self.call(self.memory().PredictGradient, request))

    async def find_warm_starts(self, config: RunConfig, *, run_id: str = "") -> list[WarmStartCandidate]:
        """The runs that a new one could begin from, best first, then those that cannot be used, and why.

        Args:
            config: of the new run.
            run_id: look at this one only, whatever its status; empty is at all finished ones.
        """
        request = pb.FindWarmStartsRequest(config=config_to_pb(config), run_id=run_id)
        answer = await self.call(self.memory().FindWarmStarts, request, self.deadlines.scan_seconds)
        return [convert.candidate_from_pb(found) for found in answer.candidates]


def _payload(values: Arrays | None) -> bytes:
    return b"" if values is None else encode("identity", values)
