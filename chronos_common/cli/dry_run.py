"""`chronos run --dry-run`: a few inner steps of the problem are timed and counted here, and the rest is predicted.

One update is a straight line in its inner steps, for seconds as for FLOPs, bytes and kernels: it is done with few and
with a few more. Times on this machine follow from the timings, times on other devices from the counts by the physics
prior alone, so that their intervals are wide. With ``W`` workers of one speed and a quorum of ``K``, a version takes
``K / W`` updates.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chronos_common.cli.predict_views import GIB, money_text, spread_text
from chronos_common.codec import decode
from chronos_common.prediction.comparison import interval_to_json
from chronos_common.prediction.counts import Counts, Line
from chronos_common.prediction.devices import DeviceSpec, device, devices
from chronos_common.prediction.intervals import Interval
from chronos_common.prediction.names import Optimizers, Precision
from chronos_common.prediction.predictor import step_time_model
from chronos_common.prediction.query import Query

if TYPE_CHECKING:
    from chronos_common.cli.warm_start import NewRun

FEW, MORE = 2, 6
REPEATS = 3
NORMAL_80, NORMAL_90 = 1.2816, 1.6449
LEAST_SPREAD = 0.1
"""Standard deviation of the log of a predicted time, where the timings happened to agree better."""

TALLIED = (
    "matmul_flops", "conv_flops", "grouped_flops", "matmul_elements", "conv_elements", "grouped_elements",
    "norm_elements", "pointwise_elements",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a run takes on workers of one kind.

    Attributes:
        device: of each worker.
        update: seconds of one update.
        total: seconds of the run; ``None`` for a run without an end.
        price: of all workers, in USD; ``None`` likewise.
        memory_bytes: that tensors of one worker hold at the fullest moment.
        fits: whether the device has that much.
    """

    device: DeviceSpec
    update: Interval
    total: Interval | None
    price: Interval | None
    memory_bytes: float
    fits: bool

    def to_json(self) -> dict[str, Any]:
        """As plain numbers."""
        return {
            "device": self.device.name,
            "update_seconds": interval_to_json(self.update),
            "total_seconds": interval_to_json(self.total),
            "price_usd": interval_to_json(self.price),
            "memory_bytes": self.memory_bytes,
            "fits": self.fits,
        }


@dataclass(frozen=True, kw_only=True)
class _Measured:
    seconds: Line
    spread: float
    counts: Counts
    memory: Line


def costs(run: NewRun, workers: int, *, clock: Callable[[], float] = time.perf_counter) -> list[Cost]:
    """What a run takes on this machine's CPU, first, and on every device of the table.

    Raises:
        ProblemError: a part of the problem broke its contract, or diverged at once.
    """
    found = _measure(run, clock)
    steps = max(1, run.config.work.inner_steps)
    here = _spread(found.seconds.at(steps), found.spread)
    memory = found.memory.at(steps)
    elsewhere = [
        _cost(run, workers, row, _predicted(found.counts, steps, row), memory)
        for row in devices().values()
        if row.name != "CPU"
    ]
    return [_cost(run, workers, device("CPU"), here, memory), *elsewhere]


def lines(found: Sequence[Cost], run: NewRun, workers: int) -> list[str]:
    """For people: this machine in full, others in a line each."""
    here = found[0]
    said = [
        (
            f"{run.config.max_versions or 'no end of'} versions, {workers} workers, {run.config.work.inner_steps} "
            "inner steps each; nothing was started"
        ),
        f"this machine: an update takes {spread_text(here.update)} and {here.memory_bytes / GIB:.3g} GiB of tensors",
    ]
    for cost in found:
        total = "goes on until stopped" if cost.total is None else spread_text(cost.total)
        money = "" if cost.price is None else f", {money_text(cost.price.p50)} USD"
        said.append(
            f"{cost.device.name:>16}: {total}{money}{'' if cost.fits else ', does not fit its memory'}"
        )
    return said


def _measure(run: NewRun, clock: Callable[[], float]) -> _Measured:
    from chronos_common.hypergradient import compute_update
    from chronos_common.hypergradient.live_bytes import LiveBytes
    from chronos_common.prediction.torch.tally import Tally

    work, stored = run.config.work, decode(run.payload)

    def update(steps: int) -> float:
        began = clock()
        compute_update(
            run.problem,
            run.estimator,
            stored,
            num_inner_steps=steps,
            seed=work.seed,
            evaluate=bool(work.evaluate_every),
        )
        return max(clock() - began, 1e-9)

    update(FEW)  # first calls of libraries
    timed = {steps: [update(steps) for _ in range(REPEATS)] for steps in (FEW, MORE)}
    sums: dict[int, dict[str, float]] = {}
    held: dict[int, float] = {}
    for steps in (FEW, MORE):
        with LiveBytes() as live:
            update(steps)
        with Tally(iter(())) as tally:
            update(steps)
        sums[steps], held[steps] = dict(tally.sums), float(live.peak)
    middle = {steps: statistics.median(seconds) for steps, seconds in timed.items()}
    logs = [math.log(each / middle[steps]) for steps, seconds in timed.items() for each in seconds]
    tallied: dict[str, Any] = {name: _line({n: sums[n].get(name, 0.0) for n in sums}) for name in TALLIED}
    kernels = _line({n: sums[n].get("forward_kernels", 0.0) for n in sums}).at(max(1, work.inner_steps))
    return _Measured(
        seconds=_line(middle),
        spread=max(statistics.pstdev(logs), LEAST_SPREAD),
        counts=Counts(**tallied, forward_kernels=kernels),
        memory=_line(held),
    )


def _line(values: dict[int, float]) -> Line:
    slope = max(0.0, (values[MORE] - values[FEW]) / (MORE - FEW))
    return Line(constant=max(0.0, values[FEW] - slope * FEW), per_sample=slope)


def _predicted(counts: Counts, steps: int, row: DeviceSpec) -> Interval:
    query = Query(
        counts=counts,
        batch_size=steps,
        optimizer=Optimizers.SGD,
        precision=Precision.FLOAT32,
        device=row,
    )
    return step_time_model().predict(query).seconds


def _cost(run: NewRun, workers: int, row: DeviceSpec, update: Interval, memory: float) -> Cost:
    versions, quorum = run.config.max_versions, run.config.rounds.quorum
    needed = math.ceil(workers / 2) if quorum is None else quorum
    total = update.scaled(versions * needed / workers) if versions else None
    return Cost(
        device=row,
        update=update,
        total=total,
        price=None if total is None else total.scaled(workers * row.price_per_hour / 3600),
        memory_bytes=memory,
        fits=memory < row.memory_bytes,
    )


def _spread(centre: float, spread: float) -> Interval:
    eighty, ninety = math.exp(NORMAL_80 * spread), math.exp(NORMAL_90 * spread)
    return Interval(
        p10=centre / eighty, p50=centre, p90=centre * eighty, low=centre / ninety, high=centre * ninety
    )
