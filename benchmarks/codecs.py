"""How fast are the codecs, and how small is what they write?

Speeds are medians over repetitions in one process, in GB/s of float32 values that go in (encoding) or come out
(decoding), for whole payloads with their checksum; the selections are timed in turns, so that
a neighbour on the machine slows all of them. The process runs under the allocator settings that the launcher gives to
the services (``chronos_common.runtime.MALLOC_TUNABLES``).

    python -m benchmarks.codecs [--quick] [--json FILE] [--check]
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks._harness import Options, Report, run
from chronos_common.codec import blocks, decode
from chronos_common.codec.indices import encode_block16, encode_gaps
from chronos_common.compression import count_for, make_pipeline, top_k
from chronos_common.runtime import child_environment

SIZE = 10_000_000
DENSITY = 0.01
PIPELINES = ("identity", "int8", "topk10", "topk10+int8", "topk1+int8")
DENSITIES = (0.001, 0.01, 0.1)


def normal(size: int, seed: int) -> Any:
    """Standard normal float32 values."""
    return np.random.default_rng(seed).standard_normal(size, dtype=np.float32)


def medians(tasks: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Median seconds of each task; the tasks take turns, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repetitions + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(found[1:]) for name, found in seconds.items()}


def row(what: str, measure: str, value: float) -> dict[str, Any]:
    """One figure."""
    return {"what": what, "measure": measure, "value": value}


def pipeline_rows(values: Any, repetitions: int) -> list[dict[str, Any]]:
    """Size, and speed both ways, of whole payloads, checksum included."""
    rows = []
    for name in PIPELINES:
        encode = partial(make_pipeline(name).encode, {"x": values})
        payload = encode()
        found = medians({"encode": encode, "decode": partial(decode, payload)}, repetitions)
        rows.append(row(name, "bytes per element", len(payload) / values.size))
        rows += [row(name, f"{way}, GB/s", values.nbytes / seconds / 1e9) for way, seconds in found.items()]
    found = medians({"quantise": partial(blocks.quantise, values, "x")}, repetitions)
    return [*rows, row("int8", "codes and scales alone, GB/s", values.nbytes / found["quantise"] / 1e9)]


def by_sorting(values: Any, k: int) -> Any:
    """Positions of the ``k`` largest magnitudes by a full sort of the magnitudes.

    Sorting values is several times faster than sorting positions (``argsort``); the outcome is the same where no two
    magnitudes are equal at the threshold.
    """
    magnitudes = np.abs(values)
    return np.flatnonzero(magnitudes >= np.sort(magnitudes)[-k])


def selection_rows(values: Any, repetitions: int) -> list[dict[str, Any]]:
    """Three ways to the same top 1 %."""
    k = count_for(DENSITY, values.size)
    ways: dict[str, Callable[[], Any]] = {
        "sampled": partial(top_k, values, k),
        "partition": partial(top_k, values, k, sampled_from=values.size + 1),
        "sort": partial(by_sorting, values, k),
    }
    selected = [way() for way in ways.values()]
    if not all(np.array_equal(selected[0], other) for other in selected):
        raise AssertionError("the selections differ")
    found = medians(ways, repetitions)
    what = f"top {100 * DENSITY:g} %"
    return [
        row(what, "sampled, ms", 1e3 * found["sampled"]),
        row(what, "partition / sampled", found["partition"] / found["sampled"]),
        row(what, "sort / sampled", found["sort"] / found["sampled"]),
    ]


def index_rows(size: int, repetitions: int) -> list[dict[str, Any]]:
    """Bytes for each position that is sent, and nanoseconds to write it."""
    rows = []
    for density in DENSITIES:
        at = np.flatnonzero(np.random.default_rng(0).random(size) < density)
        writers = {"block16": partial(encode_block16, at, size), "gaps": partial(encode_gaps, at)}
        found = medians(writers, repetitions)
        what = f"positions at {100 * density:g} %"
        bits = -(density * math.log2(density) + (1 - density) * math.log2(1 - density)) / density
        rows.append(row(what, "entropy, bytes", bits / 8))
        for name, write in writers.items():
            rows.append(row(what, f"{name}, bytes", len(write()) / at.size))
            rows.append(row(what, f"{name}, ns", 1e9 * found[name] / at.size))
    return rows


def measure(options: Options) -> Report:
    """Every figure, from one process."""
    repetitions = 5 if options.quick else 21
    report = Report(benchmark="codecs", seeds=[0])
    values = normal(SIZE, 0)
    parts = (
        partial(pipeline_rows, values, repetitions),
        partial(selection_rows, values, min(repetitions, 7)),
        partial(index_rows, SIZE // 10, repetitions),
    )
    for part in options.progress.track(parts, description="codecs"):
        report.rows += part()
    figures = {(found["what"], found["measure"]): found["value"] for found in report.rows}
    report.require("int8 payload of 1e7 float32, GB/s", figures["int8", "encode, GB/s"], ">=", 2.0)
    report.require("top 1 % of 1e7, sort / sampled", figures["top 1 %", "sort / sampled"], ">=", 8.0)
    report.require("gap bytes a position at 1 %", figures["positions at 1 %", "gaps, bytes"], "<=", 1.03)
    report.require(
        "block16 bytes a position at 1 %", figures["positions at 1 %", "block16, bytes"], "<=", 2.02
    )
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    return run("codecs", __doc__ or "", measure, argv)


if __name__ == "__main__":
    environment = child_environment()
    if environment["GLIBC_TUNABLES"] != os.environ.get("GLIBC_TUNABLES"):
        # The C library reads its settings once, when a process starts.
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.codecs", *sys.argv[1:]], environment)  # noqa: S606
    sys.exit(main())
