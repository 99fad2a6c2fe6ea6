"""A slow line in user space: a TCP relay that delays every byte and shares a fixed rate among all connections.

It runs inside a container, with nothing but Python: ``python slow_link.py PORT HOST:PORT RTT_SECONDS BITS_PER_SECOND``.
Each direction takes half of the round trip, and connecting takes a whole one, as TCP's handshake would. Bytes wait
their turn in one queue for each direction: what one connection sends delays the others, as on a real line. It loses
nothing: loss on a TCP connection shows as delay.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field

CHUNK_BYTES = 4096
WINDOW_BYTES = 1 << 18
"""What a sender may have on the line, as with a socket's buffer: above 10 Mbit/s × 100 ms."""


@dataclass(kw_only=True)
class Line:
    """One direction: when its last byte leaves, and how long a byte takes."""

    delay_seconds: float
    bytes_per_second: float
    free_at: float = 0.0

    def arrival(self, now: float, size: int) -> float:
        """When a chunk that is handed over now arrives."""
        self.free_at = max(now, self.free_at) + size / self.bytes_per_second
        return self.free_at + self.delay_seconds


@dataclass(kw_only=True)
class InFlight:
    """Chunks of one connection on the way: time of arrival and content, in order."""

    chunks: asyncio.Queue[tuple[float, bytes]] = field(default_factory=asyncio.Queue)
    size: int = 0
    room: asyncio.Event = field(default_factory=asyncio.Event)


async def relay(source: asyncio.StreamReader, target: asyncio.StreamWriter, line: Line) -> None:
    """Carries one direction of a connection to its end."""
    clock, flight = asyncio.get_running_loop().time, InFlight()

    async def deliver() -> None:
        content = b"-"
        while content:
            at, content = await flight.chunks.get()
            await asyncio.sleep(max(0.0, at - clock()))
            flight.size -= len(content)
            flight.room.set()
            target.write(content)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()

    async with asyncio.TaskGroup() as both:
        both.create_task(deliver())
        content = b"-"
        while content:
            content = await source.read(CHUNK_BYTES)
            flight.size += len(content)
            flight.chunks.put_nowait((line.arrival(clock(), len(content)), content))
            while flight.size > WINDOW_BYTES:
                flight.room.clear()
                await flight.room.wait()


async def listen(port: int, target: str, rtt_seconds: float, bits_per_second: float) -> asyncio.Server:
    """Relays connections to ``target`` from now on."""
    host, _, target_port = target.rpartition(":")
    there, back = (
        Line(delay_seconds=rtt_seconds / 2, bytes_per_second=bits_per_second / 8) for _ in range(2)
    )

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        downstream: asyncio.StreamWriter | None = None
        try:
            await asyncio.sleep(rtt_seconds)
            upstream, downstream = await asyncio.open_connection(host, int(target_port))
            async with asyncio.TaskGroup() as both:
                both.create_task(relay(reader, downstream, there))
                both.create_task(relay(upstream, writer, back))
        except* OSError:
            pass  # an end that is gone ends the connection
        finally:
            for end in (writer, downstream):
                if end is not None:
                    end.close()

    return await asyncio.start_server(accept, "0.0.0.0", port)  # noqa: S104 - of a container


async def main(port: str, target: str, rtt_seconds: str, bits_per_second: str) -> None:
    """Relays for ever."""
    async with await listen(int(port), target, float(rtt_seconds), float(bits_per_second)) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
