"""What every benchmark shares: options, progress, the table, the JSON, the bars."""

from __future__ import annotations

import argparse
import json
import operator
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A number that a claim stands on: ``value op bound``."""

    name: str
    value: float
    op: str
    bound: float

    @property
    def ok(self) -> bool:
        """Whether the bar is met; NaN never is."""
        return OPERATORS[self.op](self.value, self.bound)


@dataclass(kw_only=True)
class Report:
    """What a benchmark found. ``rows`` are flat dictionaries, ``summary`` what of them is shown if it is given."""

    benchmark: str
    seeds: Sequence[int]
    rows: list[dict[str, Any]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    summary: list[dict[str, Any]] = field(default_factory=list)

    def require(self, name: str, value: float, op: str, bound: float) -> None:
        """Adds a bar."""
        self.bars.append(Bar(name=name, value=value, op=op, bound=bound))

    def to_json(self) -> str:
        """The report as JSON, indented, for files that people read too."""
        parts = {
            "benchmark": self.benchmark,
            "seeds": list(self.seeds),
            "rows": self.rows,
            **({"summary": self.summary} if self.summary else {}),
            "bars": [{**asdict(bar), "ok": bar.ok} for bar in self.bars],
        }
        return json.dumps(parts, indent=1, allow_nan=False) + "\n"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a benchmark was called."""

    quick: bool
    progress: Progress


def run(
    name: str, description: str, body: Callable[[Options], Report], argv: Sequence[str] | None = None
) -> int:
    """Runs a benchmark from the command line.

    Args:
        name: of the benchmark.
        description: first lines of ``--help``.
        body: measures and returns the report.
        argv: arguments; by default this process's.

    Returns:
        The exit code: 1 if ``--check`` was given and a bar was missed.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument(
        "--quick", action="store_true", help="fewer seeds and sizes; bars may be too noisy to mean much"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report as JSON")
    parser.add_argument("--check", action="store_true", help="exit 1 when a bar is missed")
    arguments = parser.parse_args(argv)
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        report = body(Options(quick=arguments.quick, progress=progress))
    show(report)
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(report.to_json())
    return 1 if arguments.check and not all(bar.ok for bar in report.bars) else 0


def show(report: Report) -> None:
    """Prints rows and bars as tables."""
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 140)
    shown = report.summary or report.rows
    if shown:
        columns = list(dict.fromkeys(key for row in shown for key in row))
        rows = Table(title=f"{report.benchmark}, seeds {_span(report.seeds)}")
        for column in columns:
            rows.add_column(column, justify="left" if _is_text(shown, column) else "right")
        for row in shown:
            rows.add_row(*(_cell(row.get(column)) for column in columns))
        console.print(rows)
    bars = Table(title="bars")
    for column in ("bar", "value", "", "bound", "met"):
        bars.add_column(column)
    for bar in report.bars:
        bars.add_row(
            bar.name, _cell(bar.value), bar.op, _cell(bar.bound), "yes" if bar.ok else "[red]NO[/red]"
        )
    console.print(bars)


def mean_and_spread(values: Iterable[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (0 for a single value)."""
    found = list(values)
    return statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else 0.0


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.5g}" if 1.0 <= abs(value) < 1.1 else f"{value:.4g}"


def _is_text(rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    return any(isinstance(row.get(column), str) for row in rows)


def _span(seeds: Sequence[int]) -> str:
    return f"{seeds[0]}–{seeds[-1]}" if len(seeds) > 1 else ", ".join(map(str, seeds))
