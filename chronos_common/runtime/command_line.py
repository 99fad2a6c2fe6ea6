"""The command line of a service: one option for each of its settings, none of them written by hand."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Final, TypeVar

from pydantic_settings import CliSettingsSource

from chronos_common.errors import ConfigurationError
from chronos_common.runtime.settings import CONFIG_VARIABLE, flags_of, load_settings, mirror

DISTRIBUTION: Final = "chronos-nested"
USAGE_ERROR: Final = 2
"""Exit code of a program whose settings cannot work."""

UNITS: Final = ("seconds", "bytes", "versions")

S = TypeVar("S")


def settings_from_command_line(
    model: type[S], argv: Sequence[str] | None, *, prog: str, description: str, epilog: str = ""
) -> S:
    """Settings from flags, environment, file and defaults; ends the program on ``--help`` and on errors.

    Args:
        model: the tree, see :mod:`chronos_common.runtime.settings`.
        argv: arguments without the program's name; None for this process's.
        prog: name of the program.
        description: what it does, above the options in ``--help``.
        epilog: examples and exit codes, below them.

    Raises:
        SystemExit: 0 after ``--help`` and ``--version``, 2 after a setting that cannot work.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description=f"{description}\n\nA flag overrides its environment variable, which overrides the "
        "configuration file (TOML).",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{prog} {metadata.version(DISTRIBUTION)}")
    parser.add_argument(
        "--config", metavar="FILE", help=f"configuration file (TOML) [env: {CONFIG_VARIABLE}]"
    )
    flags = flags_of(model)

    def add(group: argparse._ActionsContainer, *_dotted: str, dest: str, **options: Any) -> None:
        if dest not in flags:  # the library's option for a whole section, as JSON
            return
        unit = dest.rpartition("_")[2]
        if unit in UNITS:
            options["metavar"] = unit.upper()
        elif options.get("action") == "append":
            options |= {"metavar": "TEXT", "help": f"{options['help']} (may be repeated)"}
        group.add_argument(flags[dest], dest=dest, **options)

    CliSettingsSource(mirror(model), root_parser=parser, add_argument_method=add)
    given = vars(parser.parse_args(argv))
    config_file = given.pop("config", None)
    try:
        return load_settings(model, flags=given, config_file=config_file)
    except ConfigurationError as error:
        print(f"{prog}: error: {error}\nTry '{prog} --help'.", file=sys.stderr)  # noqa: T201 - a CLI's error
        raise SystemExit(USAGE_ERROR) from error
