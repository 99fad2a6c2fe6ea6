"""Which call takes which role: one row for each RPC, and what has no row is refused to everybody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from chronos_common.errors import PermissionDeniedError
from chronos_common.wire.security import ServerSecurity
from chronos_common.wire.tokens import ADMIN, READER, WORKER, Caller, TokenBook

_COORDINATOR: Final = "/chronos.v1.CoordinatorService/"
_METRICS: Final = "/chronos.v1.MetricsService/"
_MEMORY: Final = "/chronos.v1.MemoryService/"
_DATA: Final = "/chronos.v1.DataService/"
_CLAN: Final = "/chronos.v1.ClanService/"
_PREDICTION: Final = "/chronos.v1.PredictionService/"
_PEERS: Final = "/chronos.v1.PeerService/"

RULES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        _COORDINATOR + "CreateRun": frozenset({ADMIN}),
        _COORDINATOR + "GetRun": frozenset({ADMIN, WORKER, READER}),
        _COORDINATOR + "ListRuns": frozenset({ADMIN, READER}),
        _COORDINATOR + "WatchRun": frozenset({ADMIN, READER}),
        _COORDINATOR + "StopRun": frozenset({ADMIN}),
        _COORDINATOR + "VerifyRun": frozenset({ADMIN, READER}),
        _COORDINATOR + "RegisterWorker": frozenset({ADMIN, WORKER}),
        _COORDINATOR + "Heartbeat": frozenset({ADMIN, WORKER}),
        _COORDINATOR + "DeregisterWorker": frozenset({ADMIN, WORKER}),
        # Without a worker's name it takes no lease and only reads; see ``_roles``.
        _COORDINATOR + "CheckoutVersion": frozenset({ADMIN, WORKER, READER}),
        _COORDINATOR + "CommitUpdate": frozenset({ADMIN, WORKER}),
        _METRICS + "ReportMetrics": frozenset({ADMIN, WORKER}),
        _METRICS + "QueryMetrics": frozenset({ADMIN, READER}),
        _MEMORY + "DescribeMemory": frozenset({ADMIN, WORKER, READER}),
        _MEMORY + "RetrieveSimilar": frozenset({ADMIN, WORKER, READER}),
        _MEMORY + "PredictGradient": frozenset({ADMIN, WORKER, READER}),
        _MEMORY + "StoreMemory": frozenset({ADMIN, WORKER}),
        _MEMORY + "ForbidRegion": frozenset({ADMIN, WORKER}),
        _MEMORY + "FindWarmStarts": frozenset({ADMIN, READER}),
        # Whoever starts a job brings its plan along: every worker does, and the first one creates it.
        _DATA + "CreateDataPlan": frozenset({ADMIN, WORKER}),
        _DATA + "DescribeData": frozenset({ADMIN, WORKER, READER}),
        _DATA + "ListDataPlans": frozenset({ADMIN, READER}),
        _DATA + "UploadSizes": frozenset({ADMIN, WORKER}),
        _DATA + "JoinData": frozenset({ADMIN, WORKER}),
        _DATA + "LeaveData": frozenset({ADMIN, WORKER}),
        _DATA + "StreamShares": frozenset({ADMIN, WORKER}),
        _DATA + "FinishShares": frozenset({ADMIN, WORKER}),
        _DATA + "SaveData": frozenset({ADMIN, WORKER}),
        _DATA + "RestoreData": frozenset({ADMIN, WORKER}),
        # As with data plans: every member brings the clan's definition along, and the first one creates it.
        _CLAN + "CreateClan": frozenset({ADMIN, WORKER}),
        _CLAN + "DescribeClan": frozenset({ADMIN, WORKER, READER}),
        _CLAN + "ListClans": frozenset({ADMIN, READER}),
        _CLAN + "WatchClan": frozenset({ADMIN, WORKER, READER}),
        _CLAN + "ReadHistory": frozenset({ADMIN, WORKER, READER}),
        _CLAN + "JoinClan": frozenset({ADMIN, WORKER}),
        _CLAN + "LeaveClan": frozenset({ADMIN, WORKER}),
        _CLAN + "RemoveMember": frozenset({ADMIN, WORKER}),
        _CLAN + "FetchRound": frozenset({ADMIN, WORKER}),
        _CLAN + "ReportFitness": frozenset({ADMIN, WORKER}),
        _CLAN + "CloseRound": frozenset({ADMIN, WORKER}),
        _CLAN + "SaveClan": frozenset({ADMIN, WORKER}),
        _CLAN + "RestoreClan": frozenset({ADMIN, WORKER}),
        _CLAN + "VerifyClan": frozenset({ADMIN, READER}),
        _PREDICTION + "ListDevices": frozenset({ADMIN, WORKER, READER}),
        _PREDICTION + "PredictTraining": frozenset({ADMIN, WORKER, READER}),
        _PREDICTION + "ReportSteps": frozenset({ADMIN, WORKER}),
        _PREDICTION + "ReportTraining": frozenset({ADMIN, WORKER}),
        _PEERS + "JoinGroup": frozenset({ADMIN, WORKER}),
        _PEERS + "WatchGroup": frozenset({ADMIN, WORKER}),
        _PEERS + "ReportFailure": frozenset({ADMIN, WORKER}),
        _PEERS + "LeaveGroup": frozenset({ADMIN, WORKER}),
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": frozenset({ADMIN, WORKER, READER}),
    }
)
"""Full method name to the roles that may call it. The health service is open to all: it is not guarded."""

OPEN_SERVICES: Final = ("/grpc.health.v1.Health/",)
"""Services that need no token: orchestrators ask them, which have none."""


class Gate:
    """Lets calls in by their tokens.

    Args:
        tokens: those that are known; ``None`` lets everybody do everything.
    """

    def __init__(self, tokens: TokenBook | None) -> None:
        self._tokens = tokens

    @property
    def open(self) -> bool:
        """Whether there is nothing to guard."""
        return self._tokens is None

    def admit(self, method: str, metadata: Iterable[tuple[str, str | bytes]], request: Any) -> Caller | None:
        """Who calls, if it may; ``None`` where nobody has to say.

        Args:
            method: full name, ``/package.Service/Method``.
            metadata: what came with the call.
            request: its message, or the stream of them.

        Raises:
            AuthenticationError: no token, or an unknown one.
            PermissionDeniedError: the token's role does not cover the call.
        """
        if self._tokens is None:
            return None
        caller = self._tokens.authenticate(metadata)
        roles = _roles(method, request)
        if caller.role not in roles:
            name = method.rpartition("/")[2]
            wanted = (
                " or ".join(role for role in (READER, WORKER, ADMIN) if role in roles) or "no role there is"
            )
            raise PermissionDeniedError(
                f"{name} needs a token of role {wanted}; the one of {caller.name!r} has role {caller.role}",
                method=name,
                role=caller.role,
            )
        return caller


def make_gate(security: ServerSecurity) -> Gate:
    """The gate that a server's settings ask for; raises ``ConfigurationError`` for a bad token file."""
    return Gate(None if security.token_file is None else TokenBook(security.token_file))


def _roles(method: str, request: Any) -> frozenset[str]:
    roles = RULES.get(method, frozenset())
    if method == _COORDINATOR + "CheckoutVersion" and getattr(request, "worker_id", None):
        return roles - {READER}
    return roles
