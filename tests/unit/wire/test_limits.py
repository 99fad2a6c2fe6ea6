from __future__ import annotations

import pytest

from chronos_common.errors import ConfigurationError
from chronos_common.wire.limits import CHUNK_BYTES, WireLimits


def test_a_chunk_fits_into_a_message() -> None:
    assert WireLimits().max_message_bytes > CHUNK_BYTES


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_message_bytes", CHUNK_BYTES),
        ("max_message_bytes", 2**31),
        ("max_message_bytes", -1),
        ("max_payload_bytes", 0),
        ("max_in_flight_bytes", 1),
        ("max_calls", 0),
    ],
)
def test_limits_that_cannot_work(name: str, value: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        WireLimits(**{name: value})
    assert caught.value.details["field"] == name
