"""`chronos demo`: options in, report out."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from chronos_common.cli.options import AsJson
from chronos_common.cli.output import emit_json, messages, results
from chronos_common.errors import ConfigurationError

QUICK_VERSIONS = 12


def demo(
    noise: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Probability that a training label is wrong.")
    ] = 0.5,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the split, of the wrong labels and of the runs.")
    ] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 3,
    versions: Annotated[int, typer.Option(min=1, help="Outer steps of each run.")] = 120,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory of report, store and logs.")] = Path(
        "chronos-out"
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help=f"Only {QUICK_VERSIONS} versions: to see it work, not to learn.")
    ] = False,
    chaos: Annotated[
        bool,
        typer.Option(
            "--chaos",
            help="Kill a worker and the coordinator in mid-run, and stop another worker for a while.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find the wrong labels among 800 digits, with a coordinator and workers as processes of this machine.

    One weight for each training sample is learnt so that the validation loss falls. It is compared with
    equal weights, with the same computation in one process, with an oracle, and with training on the clean
    validation samples alone; every arm ends with the same final training. Writes report.json and report.png.
    """
    _require_extras()
    from chronos_common.cli.demo.demo import DemoConfig, run_demo
    from chronos_common.cli.demo.report import summary, write_report
    from chronos_common.cli.progress import RunProgress

    config = DemoConfig(
        noise=noise,
        seed=seed,
        workers=workers,
        versions=min(versions, QUICK_VERSIONS) if quick else versions,
        chaos=chaos,
    )
    with RunProgress(messages(), quiet=as_json) as progress:
        outcome = run_demo(config, out, progress)
    paths = write_report(outcome, out)
    if as_json:
        emit_json(outcome.to_json())
    else:
        results().print(summary(outcome, paths))


def _require_extras() -> None:
    missing = [name for name in ("torch", "sklearn", "matplotlib") if find_spec(name) is None]
    if missing:
        raise ConfigurationError(f"the demo needs {', '.join(missing)}: pip install 'chronos-nested[demo]'")
