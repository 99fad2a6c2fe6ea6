"""How long is a run away when its coordinator is killed?

A run of 1,000 float64 parameters, with the default pipelines, gets 10,000 commits through a real coordinator on a real
store (in this process, without gRPC), and then goes on until the next snapshot is all but due, which is the worst
moment to die. Then a coordinator process serves it, and is killed and started again and again. Each time counts from
the launch of the process until its health service says SERVING and a checkout of the run has been answered, whichever
is later. The same is measured on a copy without snapshots, where a restart replays the whole journal.

    python -m benchmarks.restart [--quick] [--json FILE] [--check]
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._harness import Options, Report, run
from chronos_common.codec import encode
from chronos_common.compression import DEFAULT_DOWN, DEFAULT_UP, make_pipeline
from chronos_common.engine import CheckoutQuery, CommitQuery, CompressionConfig, RunConfig
from chronos_common.outer import OuterConfig, OuterSpec
from chronos_common.runtime import ManagedProcess, child_environment
from chronos_common.store import StreamKey, open_store
from chronos_common.store.opening import DATABASE_NAME
from chronos_common.versions import HYPERGRADIENT, RoundConfig
from chronos_common.wire import SyncCoordinatorClient
from chronos_coordinator import Coordinator
from chronos_coordinator.config import ActorConfig, CoordinatorConfig

RUN = "restarted"
SIZE = 1_000
WORKERS = 4
SEED = 0
MARGIN_ENTRIES = 2 * WORKERS
"""How close to the next snapshot the run is left."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """What lies in the store: commits, journal entries, and those of them after the newest snapshot."""

    commits: int
    entries: int
    tail: int


async def build(folder: Path, commits: int, advance: Any) -> Built:
    """Fills a store with a run of at least so many commits; ``advance`` is told of each."""
    config = CoordinatorConfig(actor=ActorConfig())
    every = config.actor.snapshot_entries
    coordinator = Coordinator(lambda: open_store(folder), config=config)
    await coordinator.start()
    definition = RunConfig(
        parameters=(OuterSpec(name="weights", shape=(SIZE,), dtype="float64"),),
        outer=OuterConfig(name="adam", learning_rate=0.01),
        rounds=RoundConfig(quorum=WORKERS // 2),
        compression=CompressionConfig.named(DEFAULT_UP, DEFAULT_DOWN),
    )
    await coordinator.create_run(RUN, definition, encode("identity", {"weights": np.zeros(SIZE)}))
    random = np.random.default_rng(SEED)
    pipeline = make_pipeline(DEFAULT_UP)
    payloads = [pipeline.encode({"weights": random.standard_normal(SIZE)}) for _ in range(64)]
    names = [f"worker-{number}" for number in range(WORKERS)]
    incarnations = [(await coordinator.register(name, "one", "cpu")).incarnation for name in names]
    done, head, snapshot = 0, 0, 0

    async def work(number: int) -> None:
        query = CheckoutQuery(run_id=RUN, worker_id=names[number], incarnation=incarnations[number])
        held = await coordinator.checkout(query)
        commit = CommitQuery(
            worker_id=names[number],
            incarnation=incarnations[number],
            seq=held.last_applied + 1,
            prev_applied=held.last_applied,
            base=held.version,
            kind=HYPERGRADIENT,
            work=1.0,
            payload=payloads[(done + number) % len(payloads)],
            metrics={"outer_loss": 1.0 / (done + 1)},
            timing={"compute": 0.1},
        )
        await coordinator.commit(RUN, commit)

    while done < commits or not every - MARGIN_ENTRIES <= head - snapshot < every:
        await asyncio.gather(*(work(number) for number in range(WORKERS)))
        done += WORKERS
        advance(min(done, commits))
        if done >= commits:
            head, snapshot = await asyncio.to_thread(_span, coordinator)
    await coordinator.stop()
    return Built(commits=done, entries=head, tail=head - snapshot)


def _span(coordinator: Coordinator) -> tuple[int, int]:
    """The journal's head, and the newest snapshot's entry."""
    store = coordinator._owner.store
    record = store.run(RUN)
    seqs = store.snapshot_seqs(StreamKey.of_run(RUN))
    return 0 if record is None else record.head, seqs[0] if seqs else 0


@contextlib.contextmanager
def coordinator_process(folder: Path) -> Iterator[ManagedProcess]:
    """One with its defaults that can be killed and started again."""
    flags = [f"--store-path={folder}", "--port=0", "--metrics-port=none", "--log-level=error"]
    process = ManagedProcess(
        [sys.executable, "-m", "chronos_coordinator", *flags],
        name="coordinator",
        env=child_environment(threads=1),
    )
    try:
        yield process
    finally:
        process.kill()


def seconds_to_serve(process: ManagedProcess) -> float:
    """Launch to the first checkout of a coordinator that says it is healthy."""
    started = time.perf_counter()
    process.start()
    address = str(process.wait_ready(120.0)["address"])
    with SyncCoordinatorClient(address) as client:
        client.wait_until_serving(30.0)
        client.checkout(RUN)
    return time.perf_counter() - started


def restarts(folder: Path, times: int) -> tuple[list[float], float]:
    """Seconds of each restart after a SIGKILL, and the mean CPU seconds of a process from launch to death."""
    seconds: list[float] = []
    with coordinator_process(folder) as process:
        seconds_to_serve(process)
        process.kill()
        before = os.times()
        for _ in range(times):
            seconds.append(seconds_to_serve(process))
            process.kill()
        after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, used / times


def row(case: str, seconds: Sequence[float], cpu_seconds: float, replayed: int) -> dict[str, Any]:
    """Figures of one case; of 20 restarts the 99th percentile is the slowest."""
    return {
        "case": case,
        "restarts": len(seconds),
        "entries_replayed": replayed,
        "median_seconds": statistics.median(seconds),
        "p99_seconds": max(seconds),
        "cpu_seconds": cpu_seconds,
    }


def without_snapshots(folder: Path, copy: Path) -> None:
    """A copy of a store that nobody uses, in which only the journal is left."""
    shutil.copytree(folder, copy)
    connection = sqlite3.connect(copy / DATABASE_NAME)
    with connection:
        connection.execute("DELETE FROM snapshots")
    connection.close()


def measure(options: Options) -> Report:
    """Builds once, kills often."""
    commits, times, whole = (2_000, 3, 1) if options.quick else (10_000, 20, 3)
    report = Report(benchmark="restart", seeds=[SEED])
    with tempfile.TemporaryDirectory() as folder:
        store, copy = Path(folder) / "store", Path(folder) / "copy"
        task = options.progress.add_task("commits", total=commits)
        built = asyncio.run(build(store, commits, lambda done: options.progress.update(task, completed=done)))
        without_snapshots(store, copy)
        for name, place, repetitions, replayed in (
            ("snapshots", store, times, built.tail),
            ("whole journal", copy, whole, built.entries),
        ):
            task = options.progress.add_task(f"restarts, {name}", total=None)
            seconds, cpu_seconds = restarts(place, repetitions)
            options.progress.update(task, total=1, completed=1)
            report.rows.append(row(name, seconds, cpu_seconds, replayed))
    report.require("p99_seconds", report.rows[0]["p99_seconds"], "<=", 2.0)
    report.require("journalled commits", built.commits, ">=", commits)
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    return run("restart", __doc__ or "", measure, argv)


if __name__ == "__main__":
    sys.exit(main())
