"""``report.png`` of a clan: fitness, family tree, and each gene over the rounds (matplotlib, without a display)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from chronos_common.clan.alleles import LogFloatAllele
from chronos_common.clan.history import RoundRecord
from chronos_common.clan.views import ClanView
from chronos_common.cli.figures import BLUE, GREY, ORANGE, RED, SKY, STYLE

SHOWN_GENES: Final = 6
"""Panels of genes, in the order of their names."""

ID_DIGITS: Final = 8
"""Of a genome's id, that choose its colour."""

LIVES: Final = [colormaps["tab20"](place) for place in range(20) if place not in (14, 15)]
"""Colours of genomes: all of the map but its greys, which arrows have."""

SETTLED_ROUNDS: Final = 3
"""After the fan-out, from which on a gene's axis shows the rounds after it."""


def draw(view: ClanView, history: Sequence[RoundRecord], path: Path) -> None:
    """Writes the figure as PNG; two panels, and one for each gene."""
    genes = sorted(view.definition.genes)[:SHOWN_GENES]
    columns = max(2, math.ceil(len(genes) / (1 if len(genes) <= 3 else 2)))
    rows = 1 + math.ceil(len(genes) / columns)
    with rc_context(STYLE):
        figure = Figure(
            figsize=(5.2 * columns, 4.2 * rows),
            dpi=110,
            layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.14),
        )
        FigureCanvasAgg(figure)
        last = history[-1]
        figure.suptitle(
            f"Clan {view.clan_id}: {len(view.members)} members, {len(history)} rounds, "
            f"{last.first_step + last.steps:,} steps, seed {view.definition.seed}",
            fontsize=14,
            fontweight="bold",
            x=0.012,
            ha="left",
        )
        grid = figure.add_gridspec(rows, 2 * columns)
        _fitness(figure.add_subplot(grid[0, :columns]), history)
        _family(figure.add_subplot(grid[0, columns:]), view, history)
        for index, gene in enumerate(genes):
            row, column = divmod(index, columns)
            axes = figure.add_subplot(grid[1 + row, 2 * column : 2 * column + 2])
            _gene(axes, view, history, gene)
        figure.savefig(path)


def _fitness(axes: Axes, history: Sequence[RoundRecord]) -> None:
    rounds = np.array([record.number for record in history])
    finite = [[one.fitness for one in record.members if math.isfinite(one.fitness)] for record in history]
    for record, values in zip(history, finite, strict=True):
        axes.scatter([record.number] * len(values), values, s=14, color=SKY, zorder=2, linewidths=0)
    best = np.array([min(values, default=math.nan) for values in finite])
    axes.plot(rounds, best, color=BLUE, linewidth=2.0, label="best", zorder=3)
    axes.plot(
        rounds,
        [float(np.median(values)) if values else math.nan for values in finite],
        color=ORANGE,
        linewidth=1.6,
        linestyle="--",
        label="median",
        zorder=3,
    )
    lost = [(r.number, len(r.members) - len(v)) for r, v in zip(history, finite, strict=True)]
    for number, count in lost:
        if count:
            axes.annotate(
                f"{count} not finite", (number, 0.98), xycoords=("data", "axes fraction"), color=RED
            )
    positive = [value for values in finite for value in values if value > 0.0]
    if positive and max(positive) > 30.0 * min(positive):
        axes.set_yscale("log")
    axes.set(title="Fitness", xlabel="round", ylabel="validation loss, less is better")
    _whole_rounds(axes)
    axes.legend()


def _family(axes: Axes, view: ClanView, history: Sequence[RoundRecord]) -> None:
    """A line for each genome's life at its place, and an arrow from its parent's place where it was born."""
    seen: dict[str, int] = {}
    for (place, genome_id), rounds in _lives(history).items():
        axes.plot(
            [rounds[0] - 0.5, rounds[-1] + 0.5],
            [place] * 2,
            color=LIVES[int(genome_id[:ID_DIGITS], 16) % len(LIVES)],
            linewidth=3.0,
            solid_capstyle="butt",
        )
    for record in history:
        for one in record.members:
            if one.genome_id not in seen and one.parents and one.parents[0] in seen:
                for rank, parent in enumerate(parent for parent in one.parents if parent in seen):
                    axes.annotate(
                        "",
                        (record.number - 0.5, one.member),
                        (record.number - 0.5, seen[parent]),
                        arrowprops={"arrowstyle": "->", "color": GREY, "alpha": 0.9 if rank == 0 else 0.35},
                    )
        seen |= {one.genome_id: one.member for one in record.members}
        axes.plot(record.number, record.decision.ranking[0], marker=".", markersize=5, color="#333333")
    axes.set(
        title="Family tree",
        xlabel="round (arrow: a child takes a place; dot: the best)",
        ylabel="member",
    )
    axes.set_ylim(len(view.members) - 0.5, -0.5)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=9))
    axes.grid(visible=False)
    _whole_rounds(axes)


def _lives(history: Sequence[RoundRecord]) -> dict[tuple[int, str], list[int]]:
    """The rounds of each genome at each place."""
    found: dict[tuple[int, str], list[int]] = {}
    for record in history:
        for one in record.members:
            found.setdefault((one.member, one.genome_id), []).append(record.number)
    return found


def _gene(axes: Axes, view: ClanView, history: Sequence[RoundRecord], gene: str) -> None:
    allele = view.definition.genes[gene]
    options: tuple[Any, ...] = getattr(allele, "options", ())
    rounds = [record.number for record in history]
    values = np.full((len(history), len(view.members)), math.nan)
    for row, record in enumerate(history):
        for one in record.members:
            value = one.genes[gene]
            values[row, one.member] = options.index(value) if options else float(value)
    for place in range(values.shape[1]):
        axes.plot(rounds, values[:, place], color=SKY, linewidth=0.9, alpha=0.8, drawstyle="steps-mid")
    best = [values[row, record.decision.ranking[0]] for row, record in enumerate(history)]
    axes.plot(rounds, best, color=BLUE, linewidth=1.8, drawstyle="steps-mid", label="best member")
    _look_past_the_fan_out(axes, history, values)
    if options:
        axes.set_yticks(range(len(options)), [str(option) for option in options])
    elif isinstance(allele, LogFloatAllele):
        axes.set_yscale("log")
    name = f"{gene} (specialised)" if allele.specialised else gene
    axes.set(
        title=name, xlabel="round", ylabel="without the schedule's factor" if gene == _rate(view) else ""
    )
    _whole_rounds(axes)
    if not options:
        axes.legend()


def _look_past_the_fan_out(axes: Axes, history: Sequence[RoundRecord], values: NDArray[np.float64]) -> None:
    """The fan-out spans decades in which what evolves later would be a flat line: the axis shows the latter."""
    fans = np.array([record.fan_out for record in history])
    later = values[~fans]
    if not fans.any() or len(later) < SETTLED_ROUNDS:
        return
    low, high = np.nanmin(later), np.nanmax(later)
    first = values[fans]
    if np.nanmin(first) < low or np.nanmax(first) > high:
        margin = (high / low) ** 0.15 if low > 0.0 else 1.0
        if low > 0.0 and low < high:
            axes.set_ylim(low / margin, high * margin)
            axes.annotate(
                f"fan-out: {np.nanmin(first):.2g} to {np.nanmax(first):.2g}",
                (0.03, 0.03),
                xycoords="axes fraction",
                color=GREY,
            )


def _rate(view: ClanView) -> str:
    return view.definition.config.rate_gene


def _whole_rounds(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
