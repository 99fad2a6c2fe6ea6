from __future__ import annotations

import asyncio

import pytest

from chronos_common.errors import DrainingError, OverloadedError, PayloadTooLargeError
from chronos_common.wire.admission import Admission
from chronos_common.wire.limits import WireLimits


async def test_calls_are_counted_and_capped() -> None:
    admission = Admission(WireLimits(max_calls=2))
    with admission.call(), admission.call():
        assert admission.calls == 2
        with pytest.raises(OverloadedError), admission.call():
            pass
        assert admission.calls == 2
    assert admission.calls == 0


async def test_payload_bytes_are_counted_and_capped() -> None:
    admission = Admission(WireLimits(max_payload_bytes=10, max_in_flight_bytes=15))
    with pytest.raises(PayloadTooLargeError), admission.payload(11):
        pass
    with admission.payload(10):
        with pytest.raises(OverloadedError), admission.payload(6):
            pass
        with admission.payload(5):
            assert admission.bytes == 15
    assert admission.bytes == 0


async def test_a_failed_call_gives_its_place_back() -> None:
    admission = Admission(WireLimits())
    with pytest.raises(ZeroDivisionError), admission.call(), admission.payload(7):
        raise ZeroDivisionError
    assert (admission.calls, admission.bytes) == (0, 0)


async def test_draining_takes_nothing_new_and_waits_for_the_rest() -> None:
    admission = Admission(WireLimits())
    with admission.call():
        admission.draining.set()
        with pytest.raises(DrainingError), admission.call():
            pass
        idle = asyncio.ensure_future(admission.idle())
        await asyncio.sleep(0)
        assert not idle.done()
    await idle
