"""The first registration gives up on what never worked; later ones never do."""

from __future__ import annotations

import random
from typing import Any

import pytest

from chronos_common.errors import (
    AuthenticationError,
    ChronosError,
    TlsError,
    UnavailableError,
    UnreachableError,
)
from chronos_common.metrics import WorkerMetrics
from chronos_common.wire import RegisterResult
from chronos_worker.lifecycle import Lifecycle
from chronos_worker.membership import Membership
from chronos_worker.retry import Backoff, Retrier


class Scripted:
    """Answers registrations with errors first; time passes only where somebody sleeps."""

    def __init__(self, *errors: ChronosError) -> None:
        self.errors = list(errors)
        self.now = 0.0

    async def register(
        self, worker_id: str, instance_id: str, *, device: str, machine: object = None
    ) -> RegisterResult:
        if self.errors:
            raise self.errors.pop(0)
        return RegisterResult(incarnation=3, heartbeat_seconds=1.0, chains={}, max_payload_bytes=1)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def clock(self) -> float:
        return self.now


def membership(client: Any) -> Membership:
    def backoff() -> Backoff:
        return Backoff(rng=random.Random(0), sleep=client.sleep, first_seconds=1.0, longest_seconds=1.0)

    return Membership(
        client,
        worker_id="w",
        instance_id="i",
        device="cpu",
        lifecycle=Lifecycle(drain_seconds=1.0, clock=client.clock, sleep=client.sleep),
        retrier=Retrier(backoff, WorkerMetrics()),
        sleep=client.sleep,
    )


def away(count: int) -> list[ChronosError]:
    return [UnavailableError("nothing listens there")] * count


@pytest.mark.parametrize("error", [AuthenticationError("no token"), TlsError("unknown authority")])
async def test_who_is_never_let_in_hears_of_it_at_once(error: ChronosError) -> None:
    client = Scripted(error)
    with pytest.raises(type(error)):
        await membership(client).join(client.clock, None)
    assert client.now == 0.0


async def test_who_was_let_in_once_outlasts_a_change_of_tokens_and_certificates() -> None:
    client = Scripted()
    member = membership(client)
    await member.join(client.clock, 10.0)
    client.errors = [AuthenticationError("removed"), TlsError("expired"), *away(100)]
    await member.register()
    assert member.incarnation == 3
    assert not client.errors


async def test_a_coordinator_that_never_answers_ends_the_wait() -> None:
    client = Scripted(*away(100))
    with pytest.raises(
        UnreachableError, match=r"nothing listens there \(tried for 10 s, --connect-seconds\)"
    ):
        await membership(client).join(client.clock, 10.0)
    assert 10.0 <= client.now < 12.0


async def test_unless_it_may_be_awaited_for_ever() -> None:
    client = Scripted(*away(1000))
    member = membership(client)
    await member.join(client.clock, None)
    assert member.incarnation == 3
