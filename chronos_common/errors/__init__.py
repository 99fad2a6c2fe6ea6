"""One error tree for the whole project.

Every failure that Chronos raises on purpose is a :class:`ChronosError`. Each class carries a stable
``reason`` (an UPPER_SNAKE_CASE identifier that travels on the wire in ``google.rpc.ErrorInfo``), each
instance a sentence that says what was wrong and what to do, and ``details``: the machine-readable facts
behind the sentence (strings and numbers only, so that they survive the wire).

``chronos_common.wire.status`` maps the classes to gRPC status codes; nothing else knows about gRPC.
To add an error: subclass the branch it belongs to, in its file, give it a ``reason``, and add a row to the contract
test of the tree.
"""

from chronos_common.errors.access import (
    AccessError,
    AuthenticationError,
    PermissionDeniedError,
    TlsError,
)
from chronos_common.errors.availability import (
    DrainingError,
    OverloadedError,
    UnavailableError,
    UnreachableError,
    WaitExpiredError,
)
from chronos_common.errors.base import (
    CapacityError,
    ChronosError,
    ConfigurationError,
    Detail,
    ProcessError,
    StateDirectoryError,
)
from chronos_common.errors.payloads import (
    DigestMismatchError,
    DtypeMismatchError,
    MalformedPayloadError,
    NameMismatchError,
    NonFiniteError,
    PayloadError,
    PayloadTooLargeError,
    ShapeMismatchError,
    UnknownCodecError,
)
from chronos_common.errors.prediction import (
    ArtefactError,
    BadWorkloadError,
    BatchTooLargeError,
    PredictionError,
    UncountableModuleError,
    UnknownDeviceError,
)
from chronos_common.errors.problems import (
    DivergenceError,
    MissingPartError,
    OuterParameterUnusedError,
    ProblemError,
    ProblemNotAllowedError,
)
from chronos_common.errors.refusals import (
    ChainBrokenError,
    ClanExistsError,
    ClanFullError,
    ClanNotFoundError,
    DataPlanExistsError,
    DataPlanNotFoundError,
    EpochNotOverError,
    GenomeMismatchError,
    IncarnationSupersededError,
    InvalidRequestError,
    MemoryOffError,
    RankTakenError,
    RefusalError,
    RoundMismatchError,
    RunExistsError,
    RunNotActiveError,
    RunNotFoundError,
    SeatTakenError,
    ShareLostError,
    SizesDisagreeError,
    StaleCommitError,
    UnknownVersionError,
    WorkerNotMemberError,
    WorkerUnknownError,
)
from chronos_common.errors.store import (
    CorruptStateError,
    FencedError,
    LeadershipHeldError,
    StoreError,
    StoreWriteError,
)

__all__ = [
    "AccessError",
    "ArtefactError",
    "AuthenticationError",
    "BadWorkloadError",
    "BatchTooLargeError",
    "CapacityError",
    "ChainBrokenError",
    "ChronosError",
    "ClanExistsError",
    "ClanFullError",
    "ClanNotFoundError",
    "ConfigurationError",
    "CorruptStateError",
    "DataPlanExistsError",
    "DataPlanNotFoundError",
    "Detail",
    "DigestMismatchError",
    "DivergenceError",
    "DrainingError",
    "DtypeMismatchError",
    "EpochNotOverError",
    "FencedError",
    "GenomeMismatchError",
    "IncarnationSupersededError",
    "InvalidRequestError",
    "LeadershipHeldError",
    "MalformedPayloadError",
    "MemoryOffError",
    "MissingPartError",
    "NameMismatchError",
    "NonFiniteError",
    "OuterParameterUnusedError",
    "OverloadedError",
    "PayloadError",
    "PayloadTooLargeError",
    "PermissionDeniedError",
    "PredictionError",
    "ProblemError",
    "ProblemNotAllowedError",
    "ProcessError",
    "RankTakenError",
    "RefusalError",
    "RoundMismatchError",
    "RunExistsError",
    "RunNotActiveError",
    "RunNotFoundError",
    "SeatTakenError",
    "ShapeMismatchError",
    "ShareLostError",
    "SizesDisagreeError",
    "StaleCommitError",
    "StateDirectoryError",
    "StoreError",
    "StoreWriteError",
    "TlsError",
    "UnavailableError",
    "UncountableModuleError",
    "UnknownCodecError",
    "UnknownDeviceError",
    "UnknownVersionError",
    "UnreachableError",
    "WaitExpiredError",
    "WorkerNotMemberError",
    "WorkerUnknownError",
]
