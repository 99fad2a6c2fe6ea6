"""A line of 100 ms and 10 Mbit/s: the first attempt to connect is not given up too soon."""

from __future__ import annotations

import asyncio

from chronos_common.wire import CoordinatorClient, DeadlineConfig, Server
from tests.support.containers.slow_link import listen

RTT_SECONDS = 0.1


async def test_the_first_call_over_a_slow_line_is_answered(server: Server) -> None:
    async with await listen(0, server.address, RTT_SECONDS, 10e6) as line:
        address = f"127.0.0.1:{line.sockets[0].getsockname()[1]}"
        async with CoordinatorClient(address, deadlines=DeadlineConfig()) as client:
            clock = asyncio.get_running_loop().time
            await client.deregister(
                "w", 1, reason="it is never repeated, so that it fails with its connection"
            )
            began = clock()
            await client.list_runs()
            assert clock() - began >= RTT_SECONDS, "the line is slow"
