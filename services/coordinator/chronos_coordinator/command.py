"""``chronos-coordinator``: the command; ``__main__`` starts it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from chronos_common.errors import ChronosError
from chronos_common.runtime import configure_logging, settings_from_command_line
from chronos_common.wire import run
from chronos_coordinator.app import FENCED, Settings, serve

DESCRIPTION = "Serves runs: versions outer parameters for workers, keeps every decision in its store."
EPILOG = f"""\
When it is ready it writes one JSON line to stdout: {{"event": "listening", "address": "127.0.0.1:50551", ...}}.
SIGTERM drains: accepted calls finish, new ones are refused as unavailable.

exit codes: 0 stopped on request, 1 cannot serve, 2 a setting that cannot work, {FENCED} replaced by another one,
143 or 130 a second SIGTERM or SIGINT ended it at once, or the first came before it could listen
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the coordinator; returns its exit code."""
    settings = settings_from_command_line(
        Settings, argv, prog="chronos-coordinator", description=DESCRIPTION, epilog=EPILOG
    )
    configure_logging(settings.logging, service="coordinator")
    try:
        return run(serve(settings))
    except ChronosError as error:
        sys.stderr.write(f"chronos-coordinator: error: {error}\n")
        return 1
