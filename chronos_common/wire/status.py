"""The one mapping between Chronos' errors and gRPC statuses, in both directions.

A refusal travels as a ``google.rpc.Status`` in the trailing metadata, which every gRPC language can read:

* ``ErrorInfo``: ``reason`` is the class, ``domain`` is ``"chronos"``, ``metadata`` holds the details. Numbers
  are written as JSON numbers, text as it is; text that would read as a number or as quoted JSON is quoted,
  so that every detail comes back with its type.
* ``BadRequest`` with one field violation, when the details name a ``field``.
* ``RetryInfo``, when the same request may succeed later.

``UNAVAILABLE`` is the only code that clients retry by themselves, so it is given only to what may be
repeated unchanged. What a caller must first act upon (register, check out again, resolve its chain) is
``FAILED_PRECONDITION``; which of them it is, the reason says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import grpc
from google.protobuf import duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from chronos_common import errors
from chronos_common.errors import ChronosError, Detail

DOMAIN: Final = "chronos"
RETRY_AFTER_SECONDS: Final = 0.5
"""Pause that is suggested to a client before it repeats a call."""

MAX_MESSAGE_BYTES: Final = 1000
MAX_DETAIL_BYTES: Final = 256
MAX_DETAILS: Final = 6
"""What fits, in the worst case, into the 8 KiB of trailing metadata that every gRPC peer takes by default:
the message travels twice, once percent-encoded. Longer text is cut, further details are left out."""

CODES: Final[Mapping[type[ChronosError], grpc.StatusCode]] = MappingProxyType(
    {
        ChronosError: grpc.StatusCode.INTERNAL,
        errors.ConfigurationError: grpc.StatusCode.INVALID_ARGUMENT,
        errors.ProblemError: grpc.StatusCode.INVALID_ARGUMENT,
        errors.ProblemNotAllowedError: grpc.StatusCode.PERMISSION_DENIED,
        errors.PayloadError: grpc.StatusCode.INVALID_ARGUMENT,
        errors.PredictionError: grpc.StatusCode.INVALID_ARGUMENT,
        errors.UnknownDeviceError: grpc.StatusCode.NOT_FOUND,
        errors.ArtefactError: grpc.StatusCode.FAILED_PRECONDITION,
        # The code that gRPC itself gives to a message above its limit.
        errors.PayloadTooLargeError: grpc.StatusCode.RESOURCE_EXHAUSTED,
        errors.RefusalError: grpc.StatusCode.FAILED_PRECONDITION,
        errors.InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
        errors.RunNotFoundError: grpc.StatusCode.NOT_FOUND,
        errors.RunExistsError: grpc.StatusCode.ALREADY_EXISTS,
        errors.DataPlanNotFoundError: grpc.StatusCode.NOT_FOUND,
        errors.DataPlanExistsError: grpc.StatusCode.ALREADY_EXISTS,
        # Later the version may exist.
        errors.UnknownVersionError: grpc.StatusCode.OUT_OF_RANGE,
        errors.AccessError: grpc.StatusCode.UNAUTHENTICATED,
        errors.PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
        errors.UnavailableError: grpc.StatusCode.UNAVAILABLE,
        # The whole wait was used up: a repeat is for the caller to decide.
        errors.WaitExpiredError: grpc.StatusCode.DEADLINE_EXCEEDED,
        # Nothing was acknowledged, and every request may be repeated: Register by its instance id, CreateRun
        # by its run id, a commit by its place in the chain.
        errors.StoreError: grpc.StatusCode.UNAVAILABLE,
        errors.CorruptStateError: grpc.StatusCode.DATA_LOSS,
    }
)

_WITHOUT_DETAILS: Final[Mapping[grpc.StatusCode, type[ChronosError]]] = MappingProxyType(
    {
        grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
        grpc.StatusCode.DEADLINE_EXCEEDED: errors.UnavailableError,
        grpc.StatusCode.CANCELLED: errors.UnavailableError,
        grpc.StatusCode.ABORTED: errors.UnavailableError,
        grpc.StatusCode.RESOURCE_EXHAUSTED: errors.PayloadTooLargeError,
        grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequestError,
        grpc.StatusCode.NOT_FOUND: errors.RefusalError,
        grpc.StatusCode.ALREADY_EXISTS: errors.RefusalError,
        grpc.StatusCode.FAILED_PRECONDITION: errors.RefusalError,
        grpc.StatusCode.OUT_OF_RANGE: errors.RefusalError,
        grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDeniedError,
        grpc.StatusCode.UNAUTHENTICATED: errors.AuthenticationError,
        grpc.StatusCode.UNIMPLEMENTED: errors.ConfigurationError,
        grpc.StatusCode.DATA_LOSS: errors.CorruptStateError,
    }
)
"""What a status without Chronos' details means: gRPC itself made it, or something on the way did."""

_BY_REASON: Final[Mapping[str, type[ChronosError]]] = MappingProxyType(
    {
        cls.reason: cls
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, ChronosError)
    }
)


def code_of(error: type[ChronosError]) -> grpc.StatusCode:
    """The status code of an error class: its own row in ``CODES``, or that of the nearest base."""
    return next(CODES[base] for base in error.__mro__ if base in CODES)


def to_status(error: ChronosError) -> grpc.Status:
    """The status that carries an error: code, message and details, for ``context.abort_with_status``."""
    code = code_of(type(error))
    details = dict(list(error.details.items())[:MAX_DETAILS])
    status = status_pb2.Status(code=code.value[0], message=_cut(error.message, MAX_MESSAGE_BYTES))
    info = error_details_pb2.ErrorInfo(
        reason=error.reason,
        domain=DOMAIN,
        metadata={name: encode_detail(value) for name, value in details.items()},
    )
    status.details.add().Pack(info)
    if "field" in details:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=str(details["field"]), description=_cut(error.message, MAX_DETAIL_BYTES)
        )
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if code is grpc.StatusCode.UNAVAILABLE or isinstance(error, errors.UnavailableError):
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(1000 * RETRY_AFTER_SECONDS))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    grpc_status: grpc.Status = rpc_status.to_status(status)
    return grpc_status


def from_rpc_error(error: grpc.aio.AioRpcError, peer: str = "the coordinator") -> ChronosError:
    """The error that a failed call stands for.

    The class is that of the server's error where this release knows its reason, otherwise the nearest
    generic one for the code. A call that failed on the way becomes an ``UnavailableError``.

    Args:
        error: what the call raised.
        peer: name of the other side, for messages that gRPC made.
    """
    info = _error_info(error)
    message = error.details() or f"the call ended with {error.code().name}"
    generic = _WITHOUT_DETAILS.get(error.code(), ChronosError)
    if info is None:
        return generic(_transport_message(error.code(), message, peer))
    cls = _BY_REASON.get(info.reason, generic)
    rebuilt = cls(message)
    rebuilt.details = {name: decode_detail(text) for name, text in info.metadata.items()}
    return rebuilt


def made_by_chronos(error: grpc.aio.AioRpcError) -> bool:
    """Whether a coordinator gave this answer; else gRPC did, or something on the way."""
    return _error_info(error) is not None


def encode_detail(value: Detail) -> str:
    """A detail as text from which :func:`decode_detail` restores value and type."""
    if isinstance(value, str):
        text = _cut(value, MAX_DETAIL_BYTES)
        return text if decode_detail(text) == text else json.dumps(text)
    return json.dumps(int(value) if isinstance(value, int) else float(value))


def decode_detail(text: str) -> Detail:
    """The detail behind a text: a JSON number or quoted text as such, anything else as it is."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else text


def _error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo | None:
    try:
        status = rpc_status.from_call(error)
        for packed in status.details if status is not None else ():
            info = error_details_pb2.ErrorInfo()
            if packed.Unpack(info) and info.domain == DOMAIN:
                return info
    except (ValueError, DecodeError):
        return None
    return None


def _transport_message(code: grpc.StatusCode, message: str, peer: str) -> str:
    if code is grpc.StatusCode.UNAVAILABLE:
        return f"{peer} cannot be reached ({message}); check that it runs and that the address is right"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"{peer} did not answer in time ({message}); try again, or raise the deadline budget"
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return f"{peer} does not know this call ({message}); it is another service or an older release"
    return f"{peer} refused or lost the call ({code.name}: {message})"


def _cut(text: str, limit: int) -> str:
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return encoded.decode("utf-8")
    return encoded[: limit - len("…".encode())].decode("utf-8", "ignore") + "…"
