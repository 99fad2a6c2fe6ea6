"""How predictions look: a table over devices for people, and a plot of time against price."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from chronos_common.errors import ConfigurationError
from chronos_common.prediction.comparison import Outlook
from chronos_common.prediction.intervals import Interval

GIB = 2**30
UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"))


def seconds_text(seconds: float) -> str:
    """A duration with three digits and the unit that suits it."""
    size, unit = _unit(seconds)
    return f"{seconds / size:.3g} {unit}"


def spread_text(found: Interval | None) -> str:
    """p50, and p10 to p90 behind it in the same unit."""
    if found is None:
        return "-"
    size, unit = _unit(found.p50)
    if found.p10 == found.p90:
        return f"{found.p50 / size:.3g} {unit}"
    return f"{found.p50 / size:.3g} {unit} ({found.p10 / size:.3g}-{found.p90 / size:.3g})"


def money_text(dollars: float) -> str:
    """USD, to the cent from a dollar on."""
    return f"{dollars:.2f}" if dollars >= 1 else f"{dollars:.2g}"


def _unit(seconds: float) -> tuple[float, str]:
    return next((each for each in UNITS if seconds >= each[0]), (1e-6, "µs"))


def outlook_table(outlooks: Sequence[Outlook]) -> Table:
    """One row for each device."""
    table = Table(title="p50 (p10 - p90)", title_justify="left", title_style="", box=box.SIMPLE, padding=0)
    table.add_column("device", overflow="fold")
    for heading in ("step", "epoch", "total", "GiB", "OOM", "USD"):
        table.add_column(heading, overflow="fold", justify="right")
    for row in outlooks:
        memory = f"{row.reserved_bytes / GIB:.1f}/{row.device.memory_gb:.0f}" if row.total else "does not fit"
        price = money_text(row.price.p50) if row.price else "-"
        risk = f"{row.memory_risk:.0%}"
        spreads = (spread_text(each) for each in (row.step, row.epoch, row.total))
        table.add_row(row.device.name, *spreads, memory, risk, price)
    return table


def remarks(outlooks: Sequence[Outlook]) -> list[str]:
    """What has to be said beside the table, each once."""
    found = [row.remark for row in outlooks if row.remark]
    unseen = [row.device.name for row in outlooks if row.basis in ("new_device", "prior")]
    if unseen:
        found.append(f"not measured in training, so wider: {', '.join(unseen)}")
    answered = [row for row in outlooks if row.epochs]
    if answered and answered[0].epochs:
        epochs = answered[0].epochs
        exact = epochs.p10 == epochs.p90
        found.append(
            f"{epochs.p50:.0f} epochs"
            if exact
            else f"{epochs.p50:.0f} epochs ({epochs.p10:.0f} - {epochs.p90:.0f})"
        )
    return list(dict.fromkeys(found))


def plot(outlooks: Sequence[Outlook], path: Path) -> None:
    """Writes a picture of time against price, with p10 to p90 on both axes; matplotlib, without a display.

    Raises:
        ConfigurationError: matplotlib is missing, or no device can run it, or the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigurationError("--plot needs matplotlib: pip install 'chronos-nested[demo]'") from error
    rows = [(row.device.name, row.total, row.price) for row in outlooks if row.total and row.price]
    if not rows:
        raise ConfigurationError("no device can run this training, so there is nothing to plot")
    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, total, price in rows:
        hours = total.scaled(1 / 3600)
        axes.errorbar(
            price.p50,
            hours.p50,
            xerr=[[price.p50 - price.p10], [price.p90 - price.p50]],
            yerr=[[hours.p50 - hours.p10], [hours.p90 - hours.p50]],
            fmt="o",
            capsize=2,
            alpha=0.8,
        )
        axes.annotate(name, (price.p50, hours.p50), textcoords="offset points", xytext=(5, 5), fontsize=8)
    if all(price.p10 > 0 for _, _, price in rows):
        axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("price of the training, USD (p10 to p90)")
    axes.set_ylabel("hours (p10 to p90)")
    axes.grid(visible=True, which="both", alpha=0.2)
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"--plot {path} cannot be written: {error}") from error
