"""Options that several commands share, and where the coordinator is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from chronos_common.errors import ConfigurationError

RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run, as `chronos runs` lists it.")]
Coordinator = Annotated[
    str | None,
    typer.Option(
        "--coordinator",
        metavar="HOST:PORT",
        help="Address of the coordinator. (environment: CHRONOS_CLI__COORDINATOR; default: 127.0.0.1:50551)",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write one JSON document to stdout, and nothing else.")]
StorePath = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="PATH",
        help="Read this store directly (a coordinator's directory), without a coordinator; nothing is changed.",
        show_default=False,
    ),
]
ProblemPath = Annotated[
    list[Path],
    typer.Option(
        "--path",
        metavar="DIR",
        help="Directory to import the problem from, before the installed packages; may be repeated.",
    ),
]

HERE: list[Path] = [Path()]


def configured_coordinator(option: str | None) -> str | None:
    """The address from the option, the environment or the configuration file; None when nobody gave one.

    Raises:
        ConfigurationError: it is no ``host:port``.
    """
    from chronos_common.cli.settings import CliSettings
    from chronos_common.runtime import load_settings

    flags = {} if option is None else {"cli.coordinator": option}
    address = load_settings(CliSettings, flags=flags).cli.coordinator
    host, _, port = address.rpartition(":")
    if address and not (host and port.isdecimal()):
        raise ConfigurationError(f"the coordinator's address is {address!r}; write host:port")
    return address or None


def coordinator_address(option: str | None) -> str:
    """As :func:`configured_coordinator`, or the default port of this machine."""
    from chronos_common.wire import DEFAULT_PORT

    return configured_coordinator(option) or f"127.0.0.1:{DEFAULT_PORT}"


def keyword_arguments(config: str, pairs: Sequence[str], what: str) -> dict[str, Any]:
    """A JSON object, with ``key=value`` pairs on top of it; a value that is no JSON is a string.

    Args:
        config: JSON text; empty is an empty object.
        pairs: ``key=value`` each.
        what: what is configured, for messages.

    Raises:
        ConfigurationError: not a JSON object, or a pair without ``=``.
    """
    try:
        values = json.loads(config) if config else {}
    except ValueError as error:
        raise ConfigurationError(f"the configuration of the {what} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigurationError(f"the configuration of the {what} must be a JSON object")
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not (key and separator):
            raise ConfigurationError(f"{pair!r} sets nothing of the {what}; write key=value")
        values[key] = _value(text)
    return values


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
