"""Draws the bytes of each estimator against the number of inner steps, from a report of ``benchmarks.unrolling``.

python -m benchmarks.hyper.plot benchmarks/results/unrolling.json docs/images/hypergradient-memory.svg
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[int, int]]]:
    """(inner steps, peak bytes) of each estimator."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in rows:
        if row.get("part") == "memory":
            found[row["arm"]].append((row["inner steps"], row["peak bytes"]))
    return {name: sorted(points) for name, points in found.items()}


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes the picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, points in curves(rows).items():
        steps, peaks = zip(*points, strict=True)
        axes.loglog(steps, [peak / 1e6 for peak in peaks], marker="o", label=name)
    axes.set(xlabel="inner steps T", ylabel="peak of live tensors, MB", title="Memory of a hypergradient")
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=130)


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the report and draws."""
    source, target = map(Path, argv if argv is not None else sys.argv[1:])
    draw(json.loads(source.read_text())["rows"], target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
