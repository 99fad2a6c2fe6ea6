"""`chronos probe`: measures this machine in about ten seconds and keeps what it found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chronos_common.cli.options import AsJson
from chronos_common.cli.output import PROGRAM, emit_json, remark, results

if TYPE_CHECKING:
    from rich.table import Table

    from chronos_common.prediction.machine import Machine


def default_path() -> Path:
    """Where the machine is kept if nobody says otherwise."""
    return Path(typer.get_app_dir(PROGRAM)) / "machine.json"


def probe(
    device: Annotated[
        str, typer.Option("--device", help="cpu, cuda, cuda:1, or auto: CUDA if it is there.")
    ] = "auto",
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="How long to measure, about.")] = 10.0,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Where to keep it.", show_default="in the user's folder"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure this machine: matrix products by precision, memory, kernel launches, loading.

    `chronos predict --machine FILE` predicts for it, and a worker started with --machine FILE tells its coordinator.
    """
    from chronos_common.cli.probing import measured

    path = out if out is not None else default_path()
    machine = measured(device, seconds, path)
    if as_json:
        emit_json(machine.to_json())
    else:
        results().print(_table(machine))
        remark(f"kept in {path}")


def _table(machine: Machine) -> Table:
    from rich.table import Table

    table = Table("what", "measured", title=machine.label, title_justify="left")
    for precision, rate in machine.matmul_tflops.items():
        table.add_row(f"matrix product, {precision}", f"{rate:.3g} TFLOP/s")
    table.add_row("memory bandwidth", f"{machine.bandwidth_gb_per_second:.3g} GB/s")
    table.add_row("kernel launch", f"{machine.launch_microseconds:.3g} µs")
    table.add_row("loading, one process", f"{machine.loading_samples_per_second:,.0f} images/s of 32 x 32")
    table.add_row("host to device", f"{machine.loading_gb_per_second:.3g} GB/s")
    table.add_row("memory", f"{machine.memory_gb:.3g} GiB")
    return table
