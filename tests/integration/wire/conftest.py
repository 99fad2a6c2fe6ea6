"""A served fake coordinator and a client of it, on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from chronos_common.wire import CoordinatorClient, Server
from tests.support.fake_facade import BUDGET, FakeFacade, server_for


@pytest.fixture
def facade() -> FakeFacade:
    return FakeFacade()


@pytest.fixture
async def server(facade: FakeFacade) -> AsyncIterator[Server]:
    async with server_for(facade) as running:
        yield running


@pytest.fixture
async def client(server: Server) -> AsyncIterator[CoordinatorClient]:
    async with CoordinatorClient(server.address, deadlines=BUDGET) as connected:
        yield connected


@pytest.fixture
def event_never() -> asyncio.Event:
    """Something that does not happen."""
    return asyncio.Event()
