"""What does a clan on a coordinator lose when a member or the coordinator is killed, or a member stops?

Four processes train one small network as a clan (Clan+), for each seed twice: undisturbed, and with a SIGKILL of one
member in mid-round. Then one is stopped with SIGSTOP and continued, and the coordinator is killed and started again.

    python -m benchmarks.clan_workers [--quick] [--json FILE] [--check]
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import mse_loss
from torch.utils.data import TensorDataset

from benchmarks._harness import Options, Report, run
from chronos_common.runtime import ManagedProcess, child_environment
from chronos_worker.clan import Clan

MEMBERS, STEPS, ROUND = 4, 960, 96
TIMEOUT_SECONDS = 2.0
"""Silence after which a member counts as dead."""

ENDLESS = 10**6


def problem(seed: int) -> tuple[torch.nn.Module, TensorDataset, torch.Tensor, torch.Tensor]:
    """A network, noisy samples of a function to train on, and others of the same kind to test on."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(8, 1, generator=generator)
    inputs = torch.randn(4096, 8, generator=generator)
    clean = torch.sin(inputs @ (2.0 * direction / direction.norm()))
    noisy = clean + 0.3 * torch.randn(clean.shape, generator=generator)
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
    return model, TensorDataset(inputs[:2048], noisy[:2048]), inputs[2048:], noisy[2048:]


def say(**facts: Any) -> None:
    """One line for whoever measures."""
    print(json.dumps({**facts, "at": time.time()}), flush=True)


def train(address: str, name: str, clan_id: str, seed: int, steps: int) -> None:
    """One member of one clan."""
    model, data, inputs, targets = problem(seed)
    held_out = slice(0, 1024)
    clan = Clan(
        model,
        torch.optim.AdamW(model.parameters(), lr=1e-3),
        autobind=["adamw"],
        round_length=ROUND,
        population_size=MEMBERS,
        total_steps=steps if steps < ENDLESS else None,
        seed=seed,
        coordinator=address,
        clan=clan_id,
        worker=name,
    )
    with clan:
        loader, member = clan.loader(data, batch_size=8), clan.round()
        while not clan.finished:  # without an end of the training the loader ends with an epoch
            for x, y in loader:
                number = member.plan.first_step + member.made
                with member.sync_context():
                    torch.autograd.backward(mse_loss(member.model(x), y))
                member.optimizer.step()
                member.optimizer.zero_grad()
                member.step()
                say(clan=clan_id, step=number, phase=member.phase.kind, living=clan.living)
                if member.done:
                    with torch.no_grad():
                        loss = mse_loss(member.model(inputs[held_out]), targets[held_out])
                    clan.step(loss)
                    member = clan.round()
    with torch.no_grad():
        say(clan=clan_id, loss=float(mse_loss(model(inputs[1024:]), targets[1024:])))


def worker(address: str, name: str) -> None:
    """Trains in one clan after the other, as stdin says."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        train(address, name, **json.loads(line))


class Worker:
    """A process of the benchmark, and what it has said."""

    def __init__(self, address: str, name: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.clan_workers", "worker", address, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.said: list[dict[str, Any]] = []
        self._heard: queue.SimpleQueue[None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def order(self, **orders: Any) -> None:
        """Trains in a clan."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(orders) + "\n")
        self.process.stdin.flush()

    def of(self, clan: str) -> list[dict[str, Any]]:
        """Its steps in a clan."""
        return [line for line in tuple(self.said) if line["clan"] == clan and "step" in line]

    def until(self, holds: Any, seconds: float = 180.0) -> dict[str, Any]:
        """The first line that it says from now on for which something holds, or the last that it has said."""
        deadline = time.monotonic() + seconds
        while not (self.said and holds(self.said[-1])):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} last said {self.said[-1:]}")
            with contextlib.suppress(queue.Empty):
                self._heard.get(timeout=0.5)
        return self.said[-1]

    def end(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(json.loads(line))
            self._heard.put(None)


class Cluster:
    """A coordinator and its workers."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.coordinator = ManagedProcess(
            [
                *(
                    sys.executable,
                    "-m",
                    "chronos_coordinator",
                    f"--store-path={folder}",
                    "--metrics-port=none",
                ),
                *(f"--port={self.address.rpartition(':')[2]}", "--log-level=error"),
                *("--fleet-heartbeat-seconds=0.2", f"--fleet-timeout-seconds={TIMEOUT_SECONDS}"),
            ],
            name="coordinator",
            env=child_environment(threads=1),
        )
        self.serve()
        self.workers = [Worker(self.address, f"w{place}") for place in range(MEMBERS)]

    def serve(self) -> float:
        """Starts the coordinator; when it serves."""
        self.coordinator.start()
        self.coordinator.wait_ready(120.0)
        return time.time()

    def order(self, **orders: Any) -> None:
        """All train in a clan."""
        for one in self.workers:
            one.order(**orders)

    def replace(self, place: int) -> Worker:
        """A new process for a worker that is dead."""
        self.workers[place].end()
        self.workers[place] = Worker(self.address, f"w{place}")
        return self.workers[place]

    def close(self) -> None:
        """Ends everything."""
        for one in self.workers:
            one.end()
        self.coordinator.kill()


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """Torn down at the end."""
    with tempfile.TemporaryDirectory() as folder:
        made = Cluster(Path(folder))
        try:
            yield made
        finally:
            made.close()


def cooperating(clan: str, step: int) -> Any:
    """Whether a line is of a shared step of a clan, so many steps in or more."""
    return lambda line: (
        line["clan"] == clan and line.get("step", -1) >= step and line["phase"] == "cooperative"
    )


def pause(lines: Sequence[dict[str, Any]], since: float) -> tuple[float, int]:
    """Seconds from a moment to the next step that began after it, and how many steps were left out or done twice."""
    numbers = [line["step"] for line in lines]
    lost = sum(abs(after - before - 1) for before, after in itertools.pairwise(numbers))
    times = [line["at"] for line in lines]
    gaps = [after - max(before, since) for before, after in itertools.pairwise(times) if after > since]
    return max(gaps[:5], default=float("inf")), lost


def one_seed(made: Cluster, seed: int) -> dict[str, Any]:
    """A training without and one with a death."""
    losses: dict[str, float] = {}
    row: dict[str, Any] = {"seed": seed}
    for arm in ("undisturbed", "killed"):
        clan = f"{arm}-{seed}"
        made.order(clan_id=clan, seed=seed, steps=STEPS)
        victim = made.workers[seed % MEMBERS]
        others = [one for one in made.workers if one is not victim]
        if arm == "killed":
            victim.until(cooperating(clan, STEPS // 2 + 3 * (seed % 5)))
            killed = time.time()
            victim.end()
        for one in others:
            one.until(lambda line, clan=clan: line["clan"] == clan and "loss" in line)
        losses[arm] = others[0].said[-1]["loss"]
        if arm == "killed":
            found = [pause(one.of(clan), killed) for one in others]
            row["next_step_seconds"] = max(seconds for seconds, _ in found)
            row["steps_lost"] = max(lost for _, lost in found)
            made.replace(seed % MEMBERS)
        else:
            victim.until(lambda line, clan=clan: line["clan"] == clan and "loss" in line)
    return {
        **row,
        **{f"loss_{arm}": loss for arm, loss in losses.items()},
        "ratio": losses["killed"] / losses["undisturbed"],
    }


def outages(made: Cluster) -> dict[str, float]:
    """A member that stops and goes on, and a coordinator that dies and comes back, in one endless training."""
    made.order(clan_id="outages", seed=0, steps=ENDLESS)
    first, sleeper = made.workers[0], made.workers[1]
    first.until(cooperating("outages", 3 * ROUND))
    sleeper.process.send_signal(signal.SIGSTOP)
    stopped = time.time()
    out = first.until(lambda line: line["living"] == MEMBERS - 1)["at"] - stopped
    sleeper.process.send_signal(signal.SIGCONT)
    resumed = time.time()
    back = first.until(lambda line: line["living"] == MEMBERS)["at"] - resumed
    first.until(cooperating("outages", first.said[-1]["step"] + 2))
    made.coordinator.kill()
    before = len(first.said)
    time.sleep(1.0)
    during, away = len(first.said) - before, time.time()
    serving = made.serve()
    step = first.said[-1]["step"]
    again = first.until(lambda line: line["step"] > step)["at"]
    return {
        "stopped_out_seconds": out,
        "back_seconds": back,
        "steps_while_away": float(during),
        "coordinator_away_seconds": serving - away + 1.0,
        "next_step_after_return_seconds": max(0.0, again - serving),
    }


def measure(options: Options) -> Report:
    """Kills, stops, and compares."""
    seeds = [111] if options.quick else [111, 112, 113, 114, 115]
    report = Report(benchmark="clan_workers", seeds=seeds)
    with cluster() as made:
        for seed in seeds:
            report.rows.append(one_seed(made, seed))
        found = outages(made)
    report.rows.append({"seed": 0, **found})
    rows = report.rows[:-1]
    worst = {name: max(row[name] for row in rows) for name in ("next_step_seconds", "steps_lost")}
    report.require("SIGKILL of one of 4: next step of the others, s", worst["next_step_seconds"], "<=", 1.0)
    report.require("SIGKILL of one of 4: steps lost", worst["steps_lost"], "<=", 1)
    ratio = statistics.mean(row["ratio"] for row in rows)
    report.require("test loss, with against without, mean", abs(ratio - 1.0), "<=", 0.02)
    report.require(
        "SIGSTOP, timeout 2 s: next step of the others, s",
        found["stopped_out_seconds"],
        "<=",
        TIMEOUT_SECONDS + 1.0,
    )
    report.require("coordinator back: next step, s", found["next_step_after_return_seconds"], "<=", 1.0)
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark, or one of its processes; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["worker"]:
        worker(*arguments[1:])
        return 0
    return run("clan_workers", __doc__ or "", measure, arguments)


if __name__ == "__main__":
    sys.exit(main())
