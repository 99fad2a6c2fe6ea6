"""What does an elastic peer group cost against bare ``torch.distributed``, and what does a death cost it?

Four gloo processes take the mean of 40 MB of gradients of a model's shapes, in turn through ``PeerGroup`` and by
``all_reduce`` on one flat buffer that is filled and emptied by hand, pair after pair; figures are medians. Then one
of four processes that train is killed, and another one is stopped.

    python -m benchmarks.peers [--quick] [--json FILE] [--check]
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks._harness import Options, Report, run
from chronos_common.fleet import FleetConfig, GroupConfig
from chronos_worker.peers import PeerConfig, PeerGroup, StoreLink
from chronos_worker.peers.stores import PrefixStore, TCPStore

MEMBERS = 4
SHAPES = [(1024, 1024)] * 8 + [(1024,)] * 24 + [(512, 512)] * 6
"""About 10 million float32: 40 MB."""

ARMS = ("none", "bf16", "int8")
HEARTBEATS = FleetConfig(heartbeat_seconds=0.2, timeout_seconds=1.0)


def gradients(rank: int) -> list[Tensor]:
    """One member's."""
    generator = torch.Generator().manual_seed(rank)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def timed(work: Callable[[], object], barrier: Callable[[], object]) -> float:
    """Seconds from a common start."""
    barrier()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def bare(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    """The mean by hand: into one buffer, all-reduce, out again."""
    start = 0
    for tensor in tensors:
        flat[start : start + tensor.numel()].copy_(tensor.view(-1))
        start += tensor.numel()
    dist.all_reduce(flat)
    start = 0
    for tensor in tensors:
        torch.div(flat[start : start + tensor.numel()].view(tensor.shape), MEMBERS, out=tensor)
        start += tensor.numel()


def member(port: int, rank: int, pairs: int) -> None:
    """One process of the comparison; rank 0 prints its seconds."""
    torch.set_num_threads(1)
    store = TCPStore("127.0.0.1", port, is_master=False, wait_for_workers=False)
    dist.init_process_group("gloo", store=PrefixStore("bare", store), rank=rank, world_size=MEMBERS)
    tensors = gradients(rank)
    flat = torch.empty(sum(tensor.numel() for tensor in tensors))
    groups = {}
    for arm in ARMS:
        link = StoreLink(PrefixStore(arm, store), f"member-{rank}", config=GroupConfig(first_members=MEMBERS))
        groups[arm] = PeerGroup(link, config=PeerConfig(compression=arm))
        groups[arm].join()
    seconds: dict[str, list[float]] = {name: [] for name in ("bare", "bare, flat only", *ARMS)}
    for pair in range(pairs + 1):
        found = {
            "bare": timed(lambda: bare(flat, tensors), dist.barrier),
            "none": timed(lambda: groups["none"].all_reduce_mean(tensors), dist.barrier),
            "bare, flat only": timed(lambda: dist.all_reduce(flat), dist.barrier),
        }
        for arm in ARMS[1:]:
            reduce = groups[arm].all_reduce_mean
            found[arm] = timed(lambda reduce=reduce: reduce(tensors), dist.barrier)  # type: ignore[misc]
        flat.zero_()
        if pair:
            for name, value in found.items():
                seconds[name].append(value)
    dist.barrier()
    for group in groups.values():
        group.leave()
    dist.barrier()
    if rank == 0:
        print(json.dumps(seconds), flush=True)
    os._exit(0)


def trainee(port: int, rank: int) -> None:
    """One process of the faults: steps for ever, and prints one line for each."""
    torch.set_num_threads(1)
    store = TCPStore("127.0.0.1", port, is_master=False, wait_for_workers=False)
    link = StoreLink(
        PrefixStore("train", store),
        f"member-{rank}",
        config=GroupConfig(first_members=MEMBERS),
        fleet=HEARTBEATS,
    )
    tensors = [torch.ones(1000)]
    with PeerGroup(link) as group:
        while True:
            group.step(lambda: tensors)
            time.sleep(0.01)
            print(json.dumps([group.steps, group.size, time.time()]), flush=True)


def started(role: str, port: int, *more: int) -> list[subprocess.Popen[str]]:
    """The processes of a role, by rank."""
    command = [sys.executable, "-m", "benchmarks.peers", role, str(port)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [*command, str(rank), *map(str, more)], stdout=subprocess.PIPE, text=True, env=environment
        )
        for rank in range(MEMBERS)
    ]


def compare(pairs: int) -> dict[str, list[float]]:
    """Seconds of each arm."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    processes = started("member", store.port, pairs)
    output = [process.communicate(timeout=600.0)[0] for process in processes]
    found: dict[str, list[float]] = json.loads(output[0])
    return found


def faults() -> dict[str, float]:
    """Seconds without a step after a SIGKILL, steps lost, seconds until a stopped one is out, and back."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    processes = started("trainee", store.port)
    watched = processes[3]

    def line() -> tuple[int, int, float]:
        assert watched.stdout is not None
        steps, size, at = json.loads(watched.stdout.readline())
        return steps, size, at

    last = (0, MEMBERS, 0.0)

    def until(size: int) -> tuple[float, int, float]:
        """Longest pause, steps left out, and when an epoch of ``size`` took its first step."""
        nonlocal last
        pause, missing = 0.0, 0
        while last[1] != size:
            after = line()
            pause, missing = max(pause, after[2] - last[2]), missing + after[0] - last[0] - 1
            last = after
        return pause, missing, last[2]

    try:
        while last[0] < 50:
            last = line()
        processes[0].kill()
        pause, missing, _ = until(3)
        processes[1].send_signal(signal.SIGSTOP)
        stopped = time.time()
        out = until(2)[2] - stopped
        processes[1].send_signal(signal.SIGCONT)
        resumed = time.time()
        back = until(3)[2] - resumed
        return {
            "killed_pause_seconds": pause,
            "steps_left_out": float(missing),
            "stopped_out_seconds": out,
            "back_seconds": back,
        }
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(options: Options) -> Report:
    """Compares, then kills."""
    report = Report(benchmark="peers", seeds=[0])
    seconds = compare(4 if options.quick else 15)
    megabytes = 4e-6 * sum(torch.Size(shape).numel() for shape in SHAPES)
    for name, values in seconds.items():
        ratio = statistics.median(b / v for b, v in zip(seconds["bare"], values, strict=True))
        report.rows.append(
            {
                "arm": name if name.startswith("bare") else f"group, compression {name}",
                "megabytes": megabytes,
                "median_seconds": statistics.median(values),
                "speed_against_bare": ratio,
            }
        )
    report.require("all-reduce, speed against bare", report.rows[2]["speed_against_bare"], ">=", 0.9)
    found = [faults() for _ in range(1 if options.quick else 5)]
    worst = {name: max(each[name] for each in found) for name in found[0]}
    report.require("SIGKILL of one of 4: longest pause, s", worst["killed_pause_seconds"], "<=", 1.0)
    report.require("SIGKILL of one of 4: steps left out", worst["steps_left_out"], "<=", 1)
    limit = HEARTBEATS.timeout_seconds + 1.0
    report.require(
        "SIGSTOP, timeout 1 s: next step of the others, s", worst["stopped_out_seconds"], "<=", limit
    )
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark, or one of its processes; returns the exit code."""
    arguments: list[Any] = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["member"]:
        member(*map(int, arguments[1:]))
    if arguments[:1] == ["trainee"]:
        trainee(*map(int, arguments[1:]))
    return run("peers", __doc__ or "", measure, arguments)


if __name__ == "__main__":
    sys.exit(main())
