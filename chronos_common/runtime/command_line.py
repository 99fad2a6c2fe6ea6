"""The command line of a service: one option for each of its settings, none of them written by hand."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Final, TypeVar

from chronos_common.errors import ConfigurationError
from chronos_common.runtime.settings import CONFIG_VARIABLE, Setting, load_settings, settings_of, type_name

DISTRIBUTION: Final = "chronos-nested"
USAGE_ERROR: Final = 2
"""Exit code of a program whose settings cannot work."""

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
    parser = make_parser(model, prog=prog, description=description, epilog=epilog)
    flags = vars(parser.parse_args(argv))
    config_file = flags.pop("config", None)
    try:
        return load_settings(model, flags=flags, config_file=config_file)
    except ConfigurationError as error:
        print(f"{prog}: error: {error}\nTry '{prog} --help'.", file=sys.stderr)  # noqa: T201 - a CLI's error
        raise SystemExit(USAGE_ERROR) from error


def make_parser(
    model: type[Any], *, prog: str, description: str, epilog: str = ""
) -> argparse.ArgumentParser:
    """The parser: options grouped by section; what is not given is absent from the result."""
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
        "--config", metavar="FILE", help=f"Configuration file (TOML). [environment {CONFIG_VARIABLE}]"
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for setting in settings_of(model):
        title = ".".join(setting.path[:-1])
        if title not in groups:
            groups[title] = parser.add_argument_group(f"[{title}]")
        group = groups[title]
        if setting.type is bool:
            group.add_argument(
                setting.flag,
                dest=setting.name,
                action=argparse.BooleanOptionalAction,
                help=help_text(setting),
            )
        else:
            group.add_argument(
                setting.flag,
                dest=setting.name,
                action="append" if setting.repeated else "store",
                metavar=setting.unit.upper() or type_name(setting.type).split(",")[0].upper(),
                help=help_text(setting),
            )
    return parser


def help_text(setting: Setting) -> str:
    """What the setting does, its default, its unit and its environment variable."""
    if setting.default is dataclasses.MISSING:
        default = "required"
    elif setting.repeated:
        default = f"default {', '.join(map(str, setting.default)) or 'none'}; may be repeated"
    else:
        default = f"default {'none' if setting.default is None else value_text(setting.default)}"
        default += f" {setting.unit}" if setting.unit and setting.default is not None else ""
    what = f"{setting.help[:1].upper()}{setting.help[1:]}".replace("%", "%%")
    return f"{what} [{default}; environment {setting.variable}]".replace("  ", " ")


def value_text(value: Any) -> str:
    """A default value as one would type it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) or "empty"
