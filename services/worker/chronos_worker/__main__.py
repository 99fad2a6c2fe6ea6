"""``chronos-worker``: the command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chronos_common.errors import (
    ChronosError,
    ConfigurationError,
    IncarnationSupersededError,
    ProblemNotAllowedError,
)
from chronos_common.runtime import USAGE_ERROR, configure_logging, settings_from_command_line
from chronos_common.wire import run
from chronos_worker.app import Settings, serve

FAILED: Final = 1
SUPERSEDED: Final = 3
NOT_ALLOWED: Final = 4

DESCRIPTION = "Works on runs: checks versions out of a coordinator, trains, and commits hypergradients."
EPILOG = f"""\
example:
  chronos-worker --coordinator 10.0.0.1:50551 --problem 'mylab.problems:*' --device cuda
  chronos-worker --problem 'cleaning:*' --path ~/experiments

Problems are named by the coordinator and imported here, so that only those which match a --problem pattern
are: from the --path directories, PYTHONPATH and what is installed. When the coordinator knows the worker, it
writes one JSON line to stdout: {{"event": "ready", ...}}.
SIGTERM lets it finish the work in hand within --drain-seconds; the lease is returned in any case.

exit codes: 0 stopped on request or the run named with --run is over, {FAILED} the run cannot be worked on,
{USAGE_ERROR} a setting that cannot work, {SUPERSEDED} another process has taken this worker's id,
{NOT_ALLOWED} the run's problem matches no --problem pattern, 143 or 130 a second SIGTERM or SIGINT ended it at
once, or the first came before it could listen
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the worker; returns its exit code."""
    settings = settings_from_command_line(
        Settings, argv, prog="chronos-worker", description=DESCRIPTION, epilog=EPILOG
    )
    configure_logging(settings.logging, service="worker")
    sys.path[:0] = [str(Path(path).resolve()) for path in settings.worker.paths]
    try:
        abandoned = run(serve(settings))
    except ChronosError as error:
        sys.stderr.write(f"chronos-worker: error: {error}{_advice(error)}\n")
        return exit_code(error)
    if abandoned:
        # A thread is in the middle of a tensor operation, which the interpreter cannot end in good order.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0


def exit_code(error: ChronosError) -> int:
    """The exit code that tells an error to whoever started the worker."""
    table: dict[type[ChronosError], int] = {
        IncarnationSupersededError: SUPERSEDED,
        ProblemNotAllowedError: NOT_ALLOWED,
        ConfigurationError: USAGE_ERROR,
    }
    return next((code for kind, code in table.items() if isinstance(error, kind)), FAILED)


def _advice(error: ChronosError) -> str:
    if isinstance(error, ProblemNotAllowedError):
        return f"; to allow it: --problem '{error.details.get('problem', '')}'"
    if isinstance(error, IncarnationSupersededError):
        return "; to run several workers on one machine, give each its own --worker-id"
    return ""


if __name__ == "__main__":
    sys.exit(main())
