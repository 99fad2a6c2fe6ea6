"""One error tree for the whole project.

Every failure that Chronos raises on purpose is a :class:`ChronosError`. Each class carries a stable
``reason`` (an UPPER_SNAKE_CASE identifier that travels on the wire in ``google.rpc.ErrorInfo``), each
instance a sentence that says what was wrong and what to do, and ``details``: the machine-readable facts
behind the sentence (strings and numbers only, so that they survive the wire).

``chronos_common.wire.status`` maps the classes to gRPC status codes; nothing else knows about gRPC.
To add an error: subclass the branch it belongs to, give it a ``reason``, and add a row to the contract
test of the tree.
"""

from __future__ import annotations

from typing import ClassVar

Detail = str | int | float


class ChronosError(Exception):
    """Base of every deliberate failure.

    Args:
        message: what was wrong, where, and what to do about it.
        details: facts for programs, for example ``version=7, base=3``.
    """

    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, **details: Detail) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Detail] = details

    def __str__(self) -> str:
        return self.message


class ConfigurationError(ChronosError):
    """A setting, or a combination of settings, that cannot work; refused at the start."""

    reason = "BAD_CONFIGURATION"


class StateDirectoryError(ConfigurationError):
    """A worker's state directory is held by another process of that worker, or cannot be written."""

    reason = "STATE_DIRECTORY_UNUSABLE"


class ProcessError(ChronosError):
    """A child process did not start, or ended on its own; the message holds its last lines."""

    reason = "PROCESS_FAILED"


# --- problems and estimators -------------------------------------------------------------------------


class ProblemError(ChronosError):
    """The user's problem broke its contract."""

    reason = "BAD_PROBLEM"


class MissingPartError(ProblemError):
    """An estimator needs a method that the problem does not define; the message names it."""

    reason = "MISSING_PART"


class OuterParameterUnusedError(ProblemError):
    """An outer parameter does not occur where the estimator differentiates; the message names it."""

    reason = "OUTER_PARAMETER_UNUSED"


class DivergenceError(ProblemError):
    """A loss, gradient or linear solve produced values that are not finite."""

    reason = "DIVERGED"


class ProblemNotAllowedError(ProblemError):
    """A worker was asked for a problem outside its own allow-list."""

    reason = "PROBLEM_NOT_ALLOWED"


# --- payloads ----------------------------------------------------------------------------------------


class PayloadError(ChronosError):
    """Bytes, or the arrays in them, that cannot be accepted."""

    reason = "BAD_PAYLOAD"


class MalformedPayloadError(PayloadError):
    """Truncated, corrupted or otherwise undecodable bytes."""

    reason = "MALFORMED_PAYLOAD"


class UnknownCodecError(PayloadError):
    """A codec id or revision that this release cannot decode."""

    reason = "UNKNOWN_CODEC"


class NameMismatchError(PayloadError):
    """Arrays missing, unexpected, or named twice."""

    reason = "NAME_MISMATCH"


class ShapeMismatchError(PayloadError):
    """An array of another shape than the outer parameter it updates."""

    reason = "SHAPE_MISMATCH"


class DtypeMismatchError(PayloadError):
    """An array of another dtype than the outer parameter it updates."""

    reason = "DTYPE_MISMATCH"


class NonFiniteError(PayloadError):
    """NaN or infinity where a finite number is needed."""

    reason = "NON_FINITE"


class PayloadTooLargeError(PayloadError):
    """More bytes than the receiver admits."""

    reason = "PAYLOAD_TOO_LARGE"


class DigestMismatchError(PayloadError):
    """Arrays whose digest differs from the one announced with them."""

    reason = "DIGEST_MISMATCH"


# --- refusals: the version protocol said no, and nothing changed -------------------------------------


class RefusalError(ChronosError):
    """A well-formed request that the protocol refuses; state is unchanged."""

    reason = "REFUSED"


class InvalidRequestError(RefusalError):
    """A request with a field that is missing or out of range; the message names the field."""

    reason = "INVALID_REQUEST"


class RunNotFoundError(RefusalError):
    """No run of that id."""

    reason = "RUN_NOT_FOUND"


class RunExistsError(RefusalError):
    """A run of that id exists with another configuration."""

    reason = "RUN_EXISTS"


class RunNotActiveError(RefusalError):
    """The run has finished or was stopped."""

    reason = "RUN_NOT_ACTIVE"


class MemoryOffError(RefusalError):
    """The run was created without a memory."""

    reason = "MEMORY_OFF"


class PeerUnknownError(RefusalError):
    """The process is no candidate of its peer group; it must join again, and comes back as a joiner."""

    reason = "PEER_UNKNOWN"


class WorkerUnknownError(RefusalError):
    """The worker never registered; it must call Register first."""

    reason = "WORKER_UNKNOWN"


class WorkerNotMemberError(RefusalError):
    """The worker never checked out a version of this run."""

    reason = "WORKER_NOT_MEMBER"


class IncarnationSupersededError(RefusalError):
    """A newer process of the same worker id has registered."""

    reason = "INCARNATION_SUPERSEDED"


class ChainBrokenError(RefusalError):
    """``prev_applied`` is not the last applied sequence number.

    ``details['last_applied']`` holds the true one: the worker resolves its pending commits with it.
    """

    reason = "CHAIN_BROKEN"


class UnknownVersionError(RefusalError):
    """A base version that never existed, or was not yet published, or another fragment set."""

    reason = "UNKNOWN_VERSION"


class StaleCommitError(RefusalError):
    """The commit's base is further behind than ``max_staleness``."""

    reason = "STALE_COMMIT"


# --- access: who asks is unknown or may not, or the two sides cannot trust each other ------------------


class AccessError(ChronosError):
    """A call that was turned away before anybody looked at what it asks for; state is unchanged."""

    reason = "NO_ACCESS"


class TlsError(AccessError):
    """No connection: certificates that do not fit, or one side speaks TLS and the other does not."""

    reason = "TLS_FAILED"


class AuthenticationError(AccessError):
    """A call without a token, or with one that the coordinator does not know."""

    reason = "UNAUTHENTICATED"


class PermissionDeniedError(AccessError):
    """A call that the role of its token does not cover."""

    reason = "PERMISSION_DENIED"


# --- availability ------------------------------------------------------------------------------------


class UnavailableError(ChronosError):
    """The service cannot answer now; the same request may succeed later."""

    reason = "UNAVAILABLE"


class DrainingError(UnavailableError):
    """The service is shutting down and takes no new work."""

    reason = "DRAINING"


class WaitExpiredError(UnavailableError):
    """A checkout waited until its deadline without a version to hand out."""

    reason = "WAIT_EXPIRED"


class PeersLostError(UnavailableError):
    """The collectives of an epoch cannot be finished; the living go on in the next one."""

    reason = "PEERS_LOST"


class UnreachableError(UnavailableError):
    """Nobody answered for as long as the caller was told to try."""

    reason = "UNREACHABLE"


class OverloadedError(UnavailableError):
    """Admission control: more bytes or requests in flight than the service takes."""

    reason = "OVERLOADED"


# --- store -------------------------------------------------------------------------------------------


class StoreError(ChronosError):
    """The durable store failed."""

    reason = "STORE_FAILED"


class StoreWriteError(StoreError):
    """A write did not become durable, or nobody can tell; the writer must reload before it goes on."""

    reason = "STORE_WRITE_FAILED"


class FencedError(StoreError):
    """Another coordinator has taken over; this one must not write."""

    reason = "FENCED"


class LeadershipHeldError(StoreError):
    """Another live coordinator owns the store."""

    reason = "LEADERSHIP_HELD"


class CorruptStateError(StoreError):
    """Stored state contradicts itself: a digest, a sequence number or a blob does not match."""

    reason = "CORRUPT_STATE"
