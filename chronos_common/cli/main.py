"""The `chronos` command, put together; errors become one line and an exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from importlib import metadata
from types import FrameType
from typing import Annotated

import typer

from chronos_common.cli.clan_commands import clan
from chronos_common.cli.data_commands import data
from chronos_common.cli.demo.command import demo
from chronos_common.cli.diagnose_command import diagnose
from chronos_common.cli.export_command import export
from chronos_common.cli.memory_commands import memory
from chronos_common.cli.output import PROGRAM, remark, was_explained
from chronos_common.cli.predict_command import predict
from chronos_common.cli.probe_command import probe
from chronos_common.cli.run_command import run
from chronos_common.cli.runs_commands import runs, show, stop, verify, watch
from chronos_common.cli.securing import securable
from chronos_common.errors import (
    ChronosError,
    ClanNotFoundError,
    ConfigurationError,
    DataPlanNotFoundError,
    RunNotFoundError,
)

FAILED, USAGE, INTERRUPTED, TERMINATED = 1, 2, 130, 143

SIGNALLED = {INTERRUPTED: "interrupted", TERMINATED: "terminated"}
"""What is said of a command that a signal ended, and that had nothing better to say."""

_LIST_RUNS = "list the runs to see their ids"
_LIST_PLANS = "list the plans to see their ids"
_LIST_CLANS = "list the clans to see their ids"
"""What a coordinator advises, which knows of no command line."""

app = typer.Typer(
    name=PROGRAM,
    help="Nested optimisation as a service: versioned outer parameters, workers that may fail, one coordinator.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted (Ctrl-C), 143 terminated.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(demo)
app.command()(diagnose)
app.command()(predict)
app.command()(probe)
for command in (run, runs, show, watch, stop, verify, export):
    app.command()(securable(command))
app.add_typer(memory)
app.add_typer(data)
app.add_typer(clan)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"{PROGRAM} {metadata.version('chronos-nested')}\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Nested optimisation as a service: versioned outer parameters, workers that may fail, one coordinator."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        return _run(arguments)
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: Sequence[str]) -> int:
    try:
        # typer turns an interrupt of a command into SystemExit(130), but not one of its own preparations.
        app(args=list(arguments), prog_name=PROGRAM)
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else FAILED
        if code in SIGNALLED and not was_explained(exit_):
            remark(SIGNALLED[code])
        return code
    except KeyboardInterrupt:
        remark(SIGNALLED[INTERRUPTED])
        return INTERRUPTED
    except ChronosError as error:
        _explain(error, arguments)
        return USAGE if isinstance(error, ConfigurationError) else FAILED
    except Exception as error:
        if "--debug" in arguments:
            raise
        _say(f"unexpected {type(error).__name__}: {error}; `{PROGRAM} --debug ...` shows where it came from")
        return FAILED
    return 0


def _explain(error: ChronosError, arguments: Sequence[str]) -> None:
    if "--debug" in arguments:
        import traceback

        traceback.print_exception(error)
    text = str(error)
    if isinstance(error, RunNotFoundError):
        text = text.replace(_LIST_RUNS, f"`{PROGRAM} runs` lists them")
    if isinstance(error, DataPlanNotFoundError):
        text = text.replace(_LIST_PLANS, f"`{PROGRAM} data list` lists them")
    if isinstance(error, ClanNotFoundError):
        text = text.replace(_LIST_CLANS, f"`{PROGRAM} clan list` lists them")
    _say(text)


def _say(text: str) -> None:
    sys.stderr.write(f"{PROGRAM}: error: {text}\n")


def _terminate(number: int, frame: FrameType | None) -> None:
    """SIGTERM leaves by the way of an exception, so that child processes are stopped on the way."""
    raise SystemExit(TERMINATED)
