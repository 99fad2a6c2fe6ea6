"""Peer groups over gRPC: who may belong, who is refused, and what a wait ends with."""

from __future__ import annotations

import asyncio

import pytest

from chronos_common.errors import (
    IncarnationSupersededError,
    InvalidRequestError,
    PeerUnknownError,
    UnavailableError,
    WorkerUnknownError,
)
from chronos_common.fleet import Epoch, GroupConfig, Peer
from chronos_common.pb.chronos.v1 import peers_pb2 as pb
from chronos_common.wire import CoordinatorClient
from chronos_coordinator.app import CoordinatorApp

PAIR = GroupConfig(first_members=2)


async def registered(client: CoordinatorClient, name: str, instance: str = "one") -> Peer:
    answer = await client.register(name, instance)
    return Peer(name=name, instance=str(answer.incarnation), address="127.0.0.1:1")


async def test_members_hear_of_the_epoch_that_they_form(
    app: CoordinatorApp, client: CoordinatorClient
) -> None:
    a, b = await registered(client, "a"), await registered(client, "b")
    view = await client.join_group("g", a, config=PAIR)
    assert (view.epoch, view.forming) == (Epoch(), True)
    waiting = asyncio.create_task(
        client.watch_group("g", a, revision=view.revision, entered=0, wait_seconds=5.0)
    )
    joined = await client.join_group("g", b, config=PAIR)
    assert joined.epoch.members == (a, b)
    assert joined.epoch.number > 1 << 32  # above those of every earlier coordinator
    assert (await waiting).epoch == joined.epoch
    await client.deregister("b", int(b.instance))  # a goodbye is no timeout
    alone = await client.watch_group("g", a, revision=0, entered=joined.epoch.number, wait_seconds=0.0)
    assert alone.epoch.members == (a,)
    assert alone.epoch.since == alone.epoch.number
    with pytest.raises(WorkerUnknownError):
        await client.watch_group(
            "g", Peer(name="c", instance="1", address="x:1"), revision=0, entered=0, wait_seconds=0.0
        )


async def test_a_newer_process_of_a_name_takes_its_place(client: CoordinatorClient) -> None:
    a, b = await registered(client, "a"), await registered(client, "b")
    for peer in (a, b):
        await client.join_group("g", peer, config=PAIR)
    newer = await registered(client, "a", "two")
    with pytest.raises(IncarnationSupersededError):
        await client.report_failure("g", a, epoch=1)
    await client.join_group("g", newer, config=PAIR)
    view = await client.watch_group("g", b, revision=0, entered=0, wait_seconds=0.0)
    assert view.epoch.members == (b, newer)


async def test_what_cannot_be_a_member_is_refused(client: CoordinatorClient) -> None:
    a = await registered(client, "a")
    with pytest.raises(PeerUnknownError, match="join again"):
        await client.watch_group("g", a, revision=0, entered=0, wait_seconds=0.0)
    await client.join_group("g", a, config=PAIR)
    with pytest.raises(InvalidRequestError, match="join it with the same"):
        await client.join_group("g", a, config=GroupConfig())
    with pytest.raises(InvalidRequestError, match="group"):
        await client.join_group("", a, config=PAIR)
    nameless = pb.JoinGroupRequest(group="g", peer=pb.Peer(worker_id="a", incarnation=1))
    with pytest.raises(InvalidRequestError, match="address"):
        await client.call(client.peers().JoinGroup, nameless)
    await client.leave_group("g", a)
    await client.leave_group("g", a)  # a group without members is gone, and leaving it is no error
    assert (await client.join_group("g", a, config=GroupConfig())).epoch.members == (a,)


async def test_a_wait_ends_with_the_coordinator(app: CoordinatorApp, client: CoordinatorClient) -> None:
    a = await registered(client, "a")
    view = await client.join_group("g", a, config=PAIR)
    waiting = asyncio.create_task(
        client.watch_group("g", a, revision=view.revision, entered=0, wait_seconds=5.0)
    )
    await asyncio.sleep(0)
    app.coordinator.drain()
    with pytest.raises(UnavailableError):
        await waiting
