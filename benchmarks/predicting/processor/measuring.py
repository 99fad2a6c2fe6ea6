"""Times steps on a busy machine: one thread, time of the process, interleaved rounds, medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from benchmarks.predicting.processor.modules import Model
from chronos_common.prediction.devices import DeviceSpec
from chronos_common.prediction.machine import Machine
from chronos_common.prediction.names import Optimizers, Precision
from chronos_common.prediction.query import Query
from chronos_common.prediction.torch.counting import count
from chronos_common.prediction.torch.probing import probe

UPDATES: Final[Mapping[Optimizers, Callable[..., torch.optim.Optimizer]]] = {
    Optimizers.ADAMW: torch.optim.AdamW,
    Optimizers.MOMENTUM: lambda parameters: torch.optim.SGD(parameters, 1e-3, momentum=0.9),
    Optimizers.ADAM: torch.optim.Adam,
}
ROUND_SECONDS: Final = 0.05
PROBE_SECONDS: Final = 3.0

Step = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One step, measured.

    Attributes:
        name: of the model.
        query: the question, on the probed machine.
        milliseconds: of a step, the median of the rounds.
        noise: standard deviation of the rounds over their mean.
    """

    name: str
    query: Query
    milliseconds: float
    noise: float


def measured(models: Sequence[Model], batches: Sequence[int], *, rounds: int) -> tuple[Machine, list[Timed]]:
    """Probes the processor, and times every model at every batch size."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    machine = probe(torch.device("cpu"), seconds=PROBE_SECONDS, clock=time.process_time)
    found: list[tuple[str, Query]] = []
    steps: list[Step] = []
    for model in models:
        counts = count(model.module, model.shape, dtype=model.dtype)
        for batch in batches:
            optimizer = list(UPDATES)[len(found) % len(UPDATES)]
            found.append((model.name, _query(counts, batch, optimizer, machine.device())))
            steps.append(step_of(model, batch, optimizer))
    times = interleaved(steps, rounds)
    return machine, [
        Timed(
            name=name,
            query=query,
            milliseconds=1000 * statistics.median(each),
            noise=statistics.stdev(each) / statistics.fmean(each),
        )
        for (name, query), each in zip(found, times, strict=True)
    ]


def interleaved(steps: Sequence[Step], rounds: int) -> list[list[float]]:
    """Seconds of the process for each step and round; in a round, every step has its turn."""
    repeats = []
    for step in steps:
        step()
        repeats.append(max(1, int(ROUND_SECONDS / max(_seconds(step, 1), 1e-6))))
    found: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds):
        for step, repeat, times in zip(steps, repeats, found, strict=True):
            step()  # what another step has put out of the caches
            times.append(_seconds(step, repeat))
    return found


def step_of(model: Model, batch: int, optimizer: Optimizers) -> Step:
    """A training step on samples in memory."""
    module = model.module.train()
    update = UPDATES[optimizer](module.parameters())
    inputs = (
        torch.randint(0, model.tokens, (batch, *model.shape))
        if model.tokens
        else torch.randn(batch, *model.shape)
    )
    targets: Any = None

    def step() -> None:
        nonlocal targets
        update.zero_grad()
        output = module(inputs)
        if output.dim() == 2:
            targets = torch.zeros(batch, dtype=torch.int64) if targets is None else targets
            loss = nn.functional.cross_entropy(output, targets)
        else:
            loss = output.square().mean()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        update.step()

    return step


def _query(counts: Any, batch: int, optimizer: Optimizers, device: DeviceSpec) -> Query:
    return Query(
        counts=counts, batch_size=batch, optimizer=optimizer, precision=Precision.FLOAT32, device=device
    )


def _seconds(step: Step, repeat: int) -> float:
    began = time.process_time()
    for _ in range(repeat):
        step()
    return (time.process_time() - began) / repeat
