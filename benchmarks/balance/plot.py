"""Draws the epoch time of each way to divide a batch, from a report of ``benchmarks.data_balance``.

python -m benchmarks.balance.plot benchmarks/results/data_balance.json docs/images/data-balance.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.balance.others import OTHERS
from benchmarks.balance.sizes import SIZES

ARMS = (*OTHERS, "Chronos")
SHOWN = "64×32"


def bars(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Per cent of an epoch that workers wait, by data set and way; of even workers, ``SHOWN``."""
    wanted = {f"{name}, {SHOWN}": name for name in SIZES if name != "heavy tail"}
    return {
        wanted[row["what"]]: {arm: 100 * (row[arm] - 1) for arm in ARMS if arm in row}
        for row in rows
        if row["what"] in wanted
    }


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes the picture."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Otherwise the names inside an SVG are drawn by lot, and each picture differs from the last.
    mpl.rcParams["svg.hashsalt"] = "chronos"
    found = bars(rows)
    figure = Figure(figsize=(7.5, 4.0), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(ARMS)
    for number, arm in enumerate(ARMS):
        places = [place + (number - (len(ARMS) - 1) / 2) * width for place in range(len(found))]
        values = [values.get(arm, 0.0) for values in found.values()]
        axes.bar(places, values, width, label=arm, color="black" if arm == "Chronos" else f"C{number}")
    axes.set_yscale("log")
    axes.set_xticks(range(len(found)), list(found))
    axes.set(
        ylabel="above perfect balance, % of an epoch", title=f"How even is the load? {SHOWN}, lower is better"
    )
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=4, fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=130)


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the report and draws."""
    source, target = map(Path, argv if argv is not None else sys.argv[1:])
    draw(json.loads(source.read_text())["rows"], target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
