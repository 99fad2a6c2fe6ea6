from __future__ import annotations

import itertools

import pytest

from tests.support.polling import poll, poll_async


def test_poll_returns_the_first_true_value() -> None:
    values = iter([None, 0, "ready"])
    assert poll(lambda: next(values), "a value") == "ready"


def test_poll_gives_up_and_says_what_it_saw() -> None:
    counter = itertools.cycle([0])
    with pytest.raises(TimeoutError, match=r"a miracle: not within 0\.05 s; last seen: 0"):
        poll(lambda: next(counter), "a miracle", timeout_seconds=0.05)


def test_poll_lets_failures_through() -> None:
    with pytest.raises(ZeroDivisionError):
        poll(lambda: 1 // 0, "never")


async def test_poll_async_takes_plain_and_async_probes() -> None:
    values = iter([None, 3])

    async def probe() -> int | None:
        return next(values)

    assert await poll_async(probe, "a value") == 3
    assert await poll_async(lambda: 4, "a value") == 4


async def test_poll_async_gives_up_and_says_what_it_saw() -> None:
    with pytest.raises(TimeoutError, match="last seen: None"):
        await poll_async(lambda: None, "a miracle", timeout_seconds=0.05)
