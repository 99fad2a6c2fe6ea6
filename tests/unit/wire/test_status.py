from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import example, given
from hypothesis import strategies as st

from chronos_common import errors
from chronos_common.errors import ChronosError, Detail
from chronos_common.wire import status
from chronos_common.wire.status import code_of, decode_detail, encode_detail, from_rpc_error, to_status

ALL_ERRORS = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, ChronosError)]
BINARY_KEY = "grpc-status-details-bin"


def rpc_error(code: grpc.StatusCode, message: str | None = "why", details: bytes | None = None) -> Any:
    trailing = grpc.aio.Metadata() if details is None else grpc.aio.Metadata((BINARY_KEY, details))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details=message)


def crossed(error: ChronosError) -> ChronosError:
    made: Any = to_status(error)
    return from_rpc_error(rpc_error(made.code, made.details, dict(made.trailing_metadata)[BINARY_KEY]))


@pytest.mark.parametrize("cls", ALL_ERRORS)
def test_every_error_has_a_code_and_comes_back(cls: type[ChronosError]) -> None:
    assert code_of(cls) is not grpc.StatusCode.OK
    back = crossed(cls("sentence", seq=3))
    assert type(back) is cls
    assert (back.message, back.details) == ("sentence", {"seq": 3})


def test_reasons_are_unique() -> None:
    assert len({cls.reason for cls in ALL_ERRORS}) == len(ALL_ERRORS)


def test_only_what_may_be_repeated_unchanged_has_the_code_that_clients_repeat() -> None:
    repeated = {cls for cls in ALL_ERRORS if code_of(cls) is grpc.StatusCode.UNAVAILABLE}
    assert repeated == {
        errors.UnavailableError,
        errors.DrainingError,
        errors.UnreachableError,
        errors.OverloadedError,
        errors.PeersLostError,
        errors.StoreError,
        errors.StoreWriteError,
        errors.FencedError,
        errors.LeadershipHeldError,
    }


@pytest.mark.parametrize(
    ("cls", "code"),
    [
        (errors.InvalidRequestError, "INVALID_ARGUMENT"),
        (errors.ShapeMismatchError, "INVALID_ARGUMENT"),
        (errors.PayloadTooLargeError, "RESOURCE_EXHAUSTED"),
        (errors.RunNotFoundError, "NOT_FOUND"),
        (errors.RunExistsError, "ALREADY_EXISTS"),
        (errors.RunNotActiveError, "FAILED_PRECONDITION"),
        (errors.WorkerUnknownError, "FAILED_PRECONDITION"),
        (errors.IncarnationSupersededError, "FAILED_PRECONDITION"),
        (errors.ChainBrokenError, "FAILED_PRECONDITION"),
        (errors.StaleCommitError, "FAILED_PRECONDITION"),
        (errors.UnknownVersionError, "OUT_OF_RANGE"),
        (errors.WaitExpiredError, "DEADLINE_EXCEEDED"),
        (errors.CorruptStateError, "DATA_LOSS"),
        (errors.AuthenticationError, "UNAUTHENTICATED"),
        (errors.PermissionDeniedError, "PERMISSION_DENIED"),
        (errors.DivergenceError, "INVALID_ARGUMENT"),
        (ChronosError, "INTERNAL"),
    ],
)
def test_codes(cls: type[ChronosError], code: str) -> None:
    assert code_of(cls).name == code


def test_a_wait_that_expired_suggests_a_pause_as_well() -> None:
    packed = status_pb2.Status.FromString(
        dict(to_status(errors.WaitExpiredError("none yet")).trailing_metadata)[BINARY_KEY]
    ).details
    assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in packed)


@given(st.one_of(st.text(max_size=60), st.integers(), st.floats(allow_nan=False)))
@example("3")
@example("3.5")
@example(" 3")
@example('"3"')
@example("NaN")
@example("Infinity")
@example("true")
@example("null")
@example("[1]")
@example("9" * 5000)
@example(float("inf"))
@example(-0.0)
def test_details_keep_value_and_type(value: Detail) -> None:
    text = encode_detail(value)
    back = decode_detail(text)
    if isinstance(value, str) and len(value.encode()) > status.MAX_DETAIL_BYTES:
        assert isinstance(back, str)
        assert len(back.encode()) <= status.MAX_DETAIL_BYTES
    else:
        assert (type(back), back, str(back)) == (type(value), value, str(value))


def test_a_truth_value_travels_as_a_number() -> None:
    assert decode_detail(encode_detail(True)) == 1


def test_text_that_is_not_unicode_does_not_hide_the_error() -> None:
    back = crossed(errors.InvalidRequestError("bad \udcff name", name="\udcff"))
    assert type(back) is errors.InvalidRequestError
    assert back.message == "bad ? name"


@pytest.mark.parametrize(
    ("code", "cls", "words"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.UnavailableError, "cannot be reached"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.UnavailableError, "did not answer in time"),
        (grpc.StatusCode.CANCELLED, errors.UnavailableError, "refused or lost"),
        (grpc.StatusCode.UNIMPLEMENTED, errors.ConfigurationError, "does not know this call"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.PayloadTooLargeError, "refused or lost"),
        (grpc.StatusCode.INVALID_ARGUMENT, errors.InvalidRequestError, "refused or lost"),
        (grpc.StatusCode.NOT_FOUND, errors.RefusalError, "refused or lost"),
        (grpc.StatusCode.INTERNAL, ChronosError, "refused or lost"),
        (grpc.StatusCode.UNKNOWN, ChronosError, "refused or lost"),
    ],
)
def test_a_status_without_details(code: grpc.StatusCode, cls: type[ChronosError], words: str) -> None:
    error = from_rpc_error(rpc_error(code), "the server")
    assert type(error) is cls
    assert str(error).startswith("the server ")
    assert words in str(error)
    assert "why" in str(error)


def test_details_that_cannot_be_read_count_as_none() -> None:
    garbage = rpc_error(grpc.StatusCode.UNAVAILABLE, "why", b"\xff\xff\xff")
    assert type(from_rpc_error(garbage)) is errors.UnavailableError
    contradiction = status_pb2.Status(code=3, message="why").SerializeToString()
    assert type(from_rpc_error(rpc_error(grpc.StatusCode.UNAVAILABLE, "why", contradiction))) is (
        errors.UnavailableError
    )


def test_details_of_somebody_else_count_as_none() -> None:
    info = error_details_pb2.ErrorInfo(reason="STALE_COMMIT", domain="elsewhere")
    foreign = status_pb2.Status(code=9, message="why")
    foreign.details.add().Pack(info)
    error = from_rpc_error(rpc_error(grpc.StatusCode.FAILED_PRECONDITION, "why", foreign.SerializeToString()))
    assert type(error) is errors.RefusalError


def test_a_reason_of_a_newer_release_becomes_the_nearest_class_and_keeps_its_details() -> None:
    info = error_details_pb2.ErrorInfo(reason="QUOTA_OF_TOMORROW", domain="chronos", metadata={"left": "0"})
    newer = status_pb2.Status(code=9, message="why")
    newer.details.add().Pack(info)
    error = from_rpc_error(rpc_error(grpc.StatusCode.FAILED_PRECONDITION, "why", newer.SerializeToString()))
    assert type(error) is errors.RefusalError
    assert error.details == {"left": 0}


def test_a_status_without_a_message() -> None:
    assert "UNKNOWN" in str(from_rpc_error(rpc_error(grpc.StatusCode.UNKNOWN, None)))
