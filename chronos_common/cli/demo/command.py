"""`chronos demo`: options in, report out."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from chronos_common.cli.options import AsJson, configured_coordinator
from chronos_common.cli.output import emit_json, messages, results
from chronos_common.errors import ConfigurationError

QUICK_VERSIONS = 12
WORKERS = 3

SomeCoordinator = Annotated[
    str | None,
    typer.Option(
        "--coordinator",
        metavar="HOST:PORT",
        help="Use this coordinator and its workers. (environment: CHRONOS_CLI__COORDINATOR)",
        show_default=False,
    ),
]


def demo(
    noise: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Probability that a training label is wrong.")
    ] = 0.5,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the split, of the wrong labels and of the runs.")
    ] = 0,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes.", show_default=f"{WORKERS}, when started here"),
    ] = None,
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
    coordinator: SomeCoordinator = None,
    as_json: AsJson = False,
) -> None:
    """Find the wrong labels among 800 digits, with a coordinator and workers as processes of this machine.

    With --coordinator, they are those that run there already; the workers must allow the demo's problem.

    One weight for each training sample is learnt so that the validation loss falls. It is compared with
    equal weights, with the same computation in one process, with an oracle, and with training on the clean
    validation samples alone; every arm ends with the same final training. Writes report.json and report.png.
    """
    _require_extras()
    here = coordinator is None and (workers is not None or chaos)
    address = None if here else configured_coordinator(coordinator)
    if address is not None and (workers is not None or chaos):
        raise ConfigurationError(
            "--workers and --chaos are for processes started here: leave them or --coordinator"
        )
    from chronos_common.cli.demo.demo import PROBLEM_PATH, DemoConfig, conduct, run_demo
    from chronos_common.cli.demo.report import summary, write_report
    from chronos_common.cli.progress import RunProgress
    from chronos_common.cli.remote_cluster import RemoteCluster

    config = DemoConfig(
        noise=noise,
        seed=seed,
        workers=workers or WORKERS,
        versions=min(versions, QUICK_VERSIONS) if quick else versions,
        chaos=chaos,
    )
    with RunProgress(messages(), quiet=as_json) as progress:
        if address is None:
            outcome = run_demo(config, out, progress)
        else:
            outcome = conduct(RemoteCluster(address, problem=PROBLEM_PATH), config, progress)
    paths = write_report(outcome, out)
    if as_json:
        emit_json(outcome.to_json())
    else:
        results().print(summary(outcome, paths))


def _require_extras() -> None:
    missing = [name for name in ("torch", "sklearn", "matplotlib") if find_spec(name) is None]
    if missing:
        raise ConfigurationError(f"the demo needs {', '.join(missing)}: pip install 'chronos-nested[demo]'")
