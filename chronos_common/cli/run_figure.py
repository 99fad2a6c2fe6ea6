"""``report.png`` of any run, and its panels, which the demo's figure has too (matplotlib, without a display)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from chronos_common.cli.figures import BLUE, GREEN, ORANGE, RED, SKY, STYLE
from chronos_common.cli.paces import Loop, Prediction
from chronos_common.cli.run_report import TIMES, RunReport, of_worker
from chronos_common.engine import RunView

SHOWN_WORKERS: Final = 4
"""More beside each other could not be read."""
FEW_TICKS: Final = 10.0
"""A ratio of largest to smallest below which powers of ten are too few ticks."""


def draw(report: RunReport, path: Path) -> None:
    """Writes the figure as PNG, 1800 × 1050 pixels."""
    view = report.view
    with rc_context(STYLE):
        figure = Figure(figsize=(15, 8.75), dpi=120, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.14))
        FigureCanvasAgg(figure)
        upper, lower = np.ravel(figure.subfigures(2, 1, squeeze=False))
        heading(
            figure,
            f"{view.run_id}: {view.config.work.problem}, {len(view.workers)} workers, {view.version} versions",
        )
        panels = upper.subplots(1, 3)
        _loss(panels[0], report)
        staleness(panels[1], view)
        times(panels[2], view)
        predictions(lower, report.prediction)
        figure.savefig(path)


def heading(figure: Figure, text: str) -> None:
    """The line above everything."""
    figure.suptitle(text, fontsize=14, fontweight="bold", x=0.012, ha="left")


def staleness(axes: Axes, view: RunView) -> None:
    """How stale the commits were that counted."""
    bound = view.config.rounds.max_staleness
    counts = [view.staleness.get(versions, 0) for versions in range(bound + 1)]
    bars = axes.bar(range(bound + 1), counts, width=0.6, color=SKY, edgecolor=BLUE)
    axes.bar_label(bars, padding=3)
    axes.set(
        title="Staleness of accepted commits",
        xlabel=f"versions behind when it was judged (bound {bound})",
        ylabel="commits",
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(y=0.12)
    axes.grid(visible=False, axis="x")


def times(axes: Axes, view: RunView) -> None:
    """Compute, wait and communication of each worker."""
    workers = view.workers[::-1]
    names = [worker.worker_id for worker in workers]
    left = np.zeros(len(workers))
    for kind, color, hatch in zip(TIMES, (GREEN, "#d9d9d9", ORANGE), ("", "", "///"), strict=True):
        values = np.array([of_worker(worker)[kind] for worker in workers])
        axes.barh(
            names, values, left=left, height=0.6, color=color, hatch=hatch, edgecolor="white", label=kind
        )
        left = left + values
    axes.set(title="Where each worker's time went", xlabel="seconds")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.6, len(workers) - 0.1)
    axes.legend(loc="upper left", ncols=3, columnspacing=1.2, handlelength=1.4)


def predictions(figure: Figure | SubFigure, prediction: Prediction) -> Sequence[Axes]:
    """What each worker's pieces of work took, on the bands that were predicted for them; a panel for each worker.

    Returns:
        the panels, of the workers with most pieces of work where there are too many.
    """
    workers = prediction.workers()
    most = sorted(workers, key=lambda name: -len(workers[name]))[:SHOWN_WORKERS]
    if not most:
        axes = figure.subplots()
        axes.set(title="Predicted and actual time of work: none was seen", xticks=[], yticks=[])
        return [axes]
    panels = figure.subplots(1, len(most), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, sorted(most), strict=True):
        _worker(axes, name, workers[name])
    left = len(workers) - len(most)
    panels[0].set_ylabel("seconds from checkout to commit" + (f"\n({left} more workers)" if left else ""))
    panels[0].legend(loc="best")
    _seconds_axis(
        panels[0], [value for loop in prediction.loops for value in (loop.actual, loop.p50) if value]
    )
    return list(panels)


def _worker(axes: Axes, name: str, loops: Sequence[Loop]) -> None:
    versions = np.array([loop.version for loop in loops])
    low, middle, high, actual = (
        np.array([value or np.nan for value in column])
        for column in zip(*((loop.p5, loop.p50, loop.p95, loop.actual) for loop in loops), strict=True)
    )
    banded = [loop for loop in loops if loop.p95]
    axes.fill_between(versions, low, high, color=SKY, alpha=0.4, linewidth=0, label="predicted, p5 to p95")
    axes.plot(versions, middle, color=BLUE, linewidth=1.5, label="predicted, median")
    outside = np.array([bool(loop.p95) and not loop.covered for loop in loops])
    axes.scatter(versions[~outside], actual[~outside], s=13, color="#333333", zorder=3, label="actual")
    if outside.any():
        axes.scatter(
            versions[outside],
            actual[outside],
            s=26,
            color=RED,
            marker="x",
            zorder=4,
            label="actual, out of its band",
        )
    share = (
        f"{sum(loop.covered for loop in banded) / len(banded):.0%} of {len(banded)} in band" if banded else ""
    )
    axes.set(title=f"Time of work, {name}" + (f": {share}" if share else ""), xlabel="version")
    axes.set_yscale("log")
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _seconds_axis(axes: Axes, values: Sequence[float]) -> None:
    wide = max(values) / min(values) > FEW_TICKS**2
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _loss(axes: Axes, report: RunReport) -> None:
    points = report.losses()
    axes.plot([version for version, _ in points], [loss for _, loss in points], color=BLUE, linewidth=2.0)
    axes.set(title="Outer loss", xlabel="version", ylabel="as the problem measures it")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.01)
