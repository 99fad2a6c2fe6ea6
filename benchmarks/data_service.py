"""How soon does a coordinator hand out the first share, and how large do messages get?

A real coordinator process with its defaults; the members of a plan upload their slices of the sizes, join and wait for
their first shares of batches of 64 x 32 samples. ``first_share_seconds`` counts from the answer to the last upload,
when the coordinator has all sizes, to the arrival of the first share. ``turn_seconds`` is one turn of all members:
shares streamed, reported, durable. At last one plan deals its whole data set as a single batch, whose shares and
checkpoint are as large as they get. Every message of either direction is weighed, without gRPC's own few bytes.

    python -m benchmarks.data_service [--quick] [--json FILE] [--check]
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._harness import Options, Report, run
from benchmarks.restart import coordinator_process
from chronos_common.data import PlanConfig
from chronos_common.data.definition import DataPlanConfig
from chronos_common.wire import CoordinatorClient, DeadlineConfig

MEMBERS = 8
BATCH = 64 * 32
SEED = 0
TURNS = 50
MIB = 1 << 20


class WeighingClient(CoordinatorClient):
    """Knows the largest message that it sent or received."""

    largest = 0

    async def call(self, method: Any, request: Any, seconds: float | None = None) -> Any:
        sent = self._each(request) if isinstance(request, Iterator) else self._weighed(request)
        return self._weighed(await super().call(method, sent, seconds))

    async def stream(self, method: Any, request: Any, seconds: float) -> AsyncGenerator[Any, None]:
        async with aclosing(super().stream(method, self._weighed(request), seconds)) as messages:
            async for message in messages:
                yield self._weighed(message)

    def _each(self, messages: Iterator[Any]) -> Iterator[Any]:
        for message in messages:
            yield self._weighed(message)

    def _weighed(self, message: Any) -> Any:
        self.largest = max(self.largest, message.ByteSize())
        return message


class Member:
    """One member of a plan; all of them share a connection."""

    def __init__(self, client: CoordinatorClient, plan_id: str, number: int) -> None:
        self._client = client
        self._plan_id = plan_id
        self._number = number
        self.name = f"worker-{number}"
        self.incarnation = 0
        self.first_share = 0.0
        self.ends: list[float] = []

    async def join(self) -> None:
        """Registers and joins."""
        registered = await self._client.register(self.name, "one")
        self.incarnation, self._every = registered.incarnation, registered.heartbeat_seconds
        await self._client.join_data(self._plan_id, self.name, self.incarnation, rank=self._number)

    async def live(self) -> None:
        """Heartbeats, until it is cancelled."""
        while True:
            await self._client.heartbeat(self.name, self.incarnation)
            await asyncio.sleep(self._every)

    async def work(self, turns: int) -> None:
        """Reports so many shares; notes when the first came and when each was reported."""
        stream = self._client.stream_shares(self._plan_id, self.name, self.incarnation, epoch=0)
        async with aclosing(stream) as shares:  # type: ignore[type-var]
            async for share in shares:
                self.first_share = self.first_share or time.perf_counter()
                await self._client.finish_shares(
                    self._plan_id, self.name, self.incarnation, [(share.turn, 0.01)]
                )
                self.ends.append(time.perf_counter())
                if len(self.ends) == turns:
                    return


def sizes_of(samples: int) -> NDArray[np.float64]:
    """Log-normal, (N,)."""
    return np.random.default_rng(SEED).lognormal(4.0, 1.0, samples)


async def trial(client: CoordinatorClient, plan_id: str, samples: int, batch: int) -> dict[str, float]:
    """Seconds of one plan's upload, first share and turn."""
    turns = min(TURNS, -(-samples // batch))
    config = DataPlanConfig(
        samples=samples, plan=PlanConfig(batch_size=batch, workers=MEMBERS), workers=MEMBERS
    )
    await client.create_data_plan(plan_id, config)
    members = [Member(client, plan_id, number) for number in range(MEMBERS)]
    for member in members:
        await member.join()
    alive = [asyncio.create_task(member.live()) for member in members]
    tasks = [asyncio.create_task(member.work(turns)) for member in members]
    sizes = sizes_of(samples)
    bounds = [samples * part // MEMBERS for part in range(MEMBERS + 1)]
    began = time.perf_counter()
    for begin, end in itertools.pairwise(bounds):
        await client.upload_sizes(plan_id, begin, sizes[begin:end])
    uploaded = time.perf_counter()
    await asyncio.gather(*tasks)
    last = [max(ends) for ends in zip(*(member.ends for member in members), strict=True)]
    state = await client.save_data(plan_id)
    for task in alive:
        task.cancel()
    return {
        "upload_seconds": uploaded - began,
        "first_share_seconds": max(0.0, min(member.first_share for member in members) - uploaded),
        "turn_seconds": (last[-1] - last[0]) / max(1, turns - 1),
        "state_bytes": len(state),
    }


async def held_state_bytes(client: CoordinatorClient, samples: int) -> int:
    """Bytes of a checkpoint while one batch of the whole data set is open; they go down and up again."""
    plan_id = "one-batch"
    await client.create_data_plan(
        plan_id, DataPlanConfig(samples=samples, plan=PlanConfig(batch_size=samples))
    )
    await client.upload_sizes(plan_id, 0, sizes_of(samples))
    member = Member(client, plan_id, 0)
    await member.join()
    stream = client.stream_shares(plan_id, member.name, member.incarnation, epoch=0)
    async with aclosing(stream) as shares:  # type: ignore[type-var]
        await anext(shares)
    state = await client.save_data(plan_id)
    await client.restore_data(plan_id, state)
    return len(state)


async def all_trials(address: str, options: Options) -> tuple[list[dict[str, Any]], int, int]:
    """Rows, the largest message, and the largest checkpoint."""
    rows = []
    deadlines = DeadlineConfig(budget_seconds=120.0)
    async with WeighingClient(address, deadlines=deadlines) as client:
        cases = [(1_000_000, 2 if options.quick else 7)] + ([] if options.quick else [(10_000_000, 3)])
        for samples, times in cases:
            task = options.progress.add_task(f"{samples:,} samples", total=times)
            found = []
            for number in range(times):
                found.append(await trial(client, f"plan-{samples}-{number}", samples, BATCH))
                options.progress.advance(task)
            middle = {name: statistics.median(one[name] for one in found) for name in found[0]}
            rows.append({"samples": samples, "trials": times, **middle})
        largest_state = await held_state_bytes(client, 1_000_000)
        return rows, client.largest, largest_state


def measure(options: Options) -> Report:
    """One coordinator for all."""
    report = Report(benchmark="data_service", seeds=[SEED])
    with tempfile.TemporaryDirectory() as folder, coordinator_process(Path(folder) / "store") as process:
        process.start()
        address = str(process.wait_ready(120.0)["address"])
        report.rows, largest, state = asyncio.run(all_trials(address, options))
    for row in report.rows:
        row["largest_message_bytes"] = largest
        row["whole_batch_state_bytes"] = state
    report.require("first share, 1e6 samples", report.rows[0]["first_share_seconds"], "<=", 0.2)
    report.require("largest message, bytes", largest, "<=", MIB)
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    return run("data_service", __doc__ or "", measure, argv)


if __name__ == "__main__":
    sys.exit(main())
