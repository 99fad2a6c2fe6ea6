"""``report.png``: what the demo did, and how well its time was predicted (matplotlib, without a display)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter

from chronos_common.cli.demo.arms import ARMS
from chronos_common.cli.demo.outcome import Outcome
from chronos_common.cli.figures import BLUE, GREY, ORANGE, RED, STYLE
from chronos_common.cli.run_figure import heading, predictions, staleness, times

CURVES: Final[dict[str, dict[str, Any]]] = {
    "chronos": {"color": BLUE, "linestyle": "-", "linewidth": 2.0, "zorder": 3},
    "single_node": {"color": ORANGE, "linestyle": "--", "linewidth": 1.8, "zorder": 2},
    "control": {"color": GREY, "linestyle": ":", "linewidth": 1.8, "zorder": 1},
}
CURVE_LABELS: Final = {
    "chronos": "Chronos",
    "single_node": "single node",
    "control": "control (outer learning rate 0)",
}
ARM_LABELS: Final = {
    "validation_only": "validation\nonly",
    "single_node": "single node",
    "chronos": "Chronos",
    "chronos_plus_validation": "Chronos +\nvalidation",
}


def draw(outcome: Outcome, path: Path) -> None:
    """Writes the figure as PNG, 1800 × 1500 pixels."""
    with rc_context(STYLE):
        figure = Figure(figsize=(15, 12.5), dpi=120, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.14))
        FigureCanvasAgg(figure)
        heading(
            figure,
            f"Data hyper-cleaning: 800 digits, {outcome.noise:.0%} wrong labels, seed {outcome.seed}, "
            f"{outcome.workers} workers, {outcome.run.version} versions",
        )
        upper, lower = np.ravel(figure.subfigures(2, 1, squeeze=False, height_ratios=(2, 1)))
        panels = upper.subplots(2, 3)
        _loss(panels[0, 0], outcome)
        _accuracy(panels[0, 1], outcome)
        _arms(panels[0, 2], outcome)
        _weights(panels[1, 0], outcome)
        staleness(panels[1, 1], outcome.run)
        times(panels[1, 2], outcome.run)
        for axes in predictions(lower, outcome.prediction):
            _moments(axes, outcome, named=False)
        figure.savefig(path)


def _loss(axes: Axes, outcome: Outcome) -> None:
    for arm in (arm for arm in CURVES if arm in outcome.curves):
        curve = outcome.curves[arm]
        axes.plot(curve.versions, curve.outer_loss, label=CURVE_LABELS[arm], **CURVES[arm])
    axes.set(title="Outer loss", xlabel="version", ylabel="cross-entropy on validation data (nats)")
    axes.set_ylim(bottom=0)
    _moments(axes, outcome, named=True)
    axes.margins(x=0.01)
    axes.legend()


def _accuracy(axes: Axes, outcome: Outcome) -> None:
    for arm in (arm for arm in CURVES if arm in outcome.curves):
        curve = outcome.curves[arm]
        axes.plot(curve.versions, curve.test_accuracy, label=CURVE_LABELS[arm], **CURVES[arm])
    axes.set(title="Test accuracy while λ is learnt", xlabel="version", ylabel="share of 597 test samples")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.margins(x=0.01)
    _moments(axes, outcome, named=False)
    axes.legend(loc="center right")


def _moments(axes: Axes, outcome: Outcome, *, named: bool) -> None:
    """What was done to processes in mid-run, as lines at the versions where it happened."""
    for moment in outcome.moments:
        axes.axvline(moment.version, color=RED, linewidth=1.2, linestyle="-.", zorder=0)
        if named:
            axes.annotate(
                moment.what,
                (moment.version, 0.97),
                (3, 0),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                rotation=90,
                va="top",
                fontsize=8.5,
                color=RED,
            )


def _arms(axes: Axes, outcome: Outcome) -> None:
    arms = [arm for arm in ARMS if arm in outcome.accuracy][::-1]
    values = [outcome.accuracy[arm] for arm in arms]
    colors = [BLUE if arm.startswith("chronos") else "#9a9a9a" for arm in arms]
    rows = np.arange(len(arms))
    low = max(0.0, min(values) - 0.05)
    axes.hlines(rows, low, values, color=colors, linewidth=2.5)
    axes.scatter(values, rows, color=colors, s=55, zorder=3)
    for row, value in zip(rows, values, strict=True):
        axes.annotate(f"{value:.1%}", (value, row), (8, 0), textcoords="offset points", va="center")
    axes.set_yticks(rows, [ARM_LABELS.get(arm, arm) for arm in arms])
    axes.set(title="Test accuracy after the final training", xlabel="share of 597 test samples")
    axes.set_xlim(low, max(values) + 0.14 * (max(values) - low))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _weights(axes: Axes, outcome: Outcome) -> None:
    clean, wrong = outcome.weights[outcome.clean], outcome.weights[~outcome.clean]
    bins = np.linspace(0.0, 1.0, 21)
    for values, color, hatch, name in ((clean, BLUE, "", "right"), (wrong, RED, "///", "wrong")):
        axes.hist(
            values,
            bins=bins.tolist(),
            color=color,
            alpha=0.55,
            hatch=hatch,
            edgecolor="white",
            label=f"label is {name} ({values.size})",
        )
    axes.axvline(0.5, ymax=0.82, color="#333333", linewidth=1, linestyle="--")
    axes.set(
        title=f"Learnt weights: F1 {outcome.f1:.3f}",
        xlabel="weight σ(λ); above 0.5 the label counts as right",
        ylabel="training samples",
        xlim=(0, 1),
    )
    axes.legend(loc="upper center")
