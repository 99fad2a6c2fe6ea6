"""The options that secure a connection, on every command that makes one, and the client that they make."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from chronos_common.wire import SyncCoordinatorClient

PANEL: Final = "Security"

_FILES: Final = {
    "tls_ca": "Authority of the coordinator's certificate, PEM; with it the connection is TLS.",
    "tls_cert": "Certificate of this client, PEM, for a coordinator that asks for one.",
    "tls_key": "Private key of that certificate, PEM.",
    "token_file": "File that holds nothing but this client's token.",
}
"""Settings of ``ClientSecurity`` that are options here; all of them are variables, CHRONOS_CLIENT__TLS_CA and so on."""

_given: ContextVar[dict[str, Any]] = ContextVar("chronos_cli_security")


def securable(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of the section ``client``; :func:`connect` reads them."""
    signature = inspect.signature(command, eval_str=True)
    options = [_option(name, text) for name, text in _FILES.items()]

    @functools.wraps(command)
    def wrapper(**values: Any) -> None:
        flags = {f"client.{option.name}": values.pop(option.name, None) for option in options}
        token = _given.set({name: str(value) for name, value in flags.items() if value is not None})
        try:
            command(**values)
        finally:
            _given.reset(token)

    wrapper.__dict__["__signature__"] = signature.replace(
        parameters=[*signature.parameters.values(), *options]
    )
    wrapper.__annotations__ = {
        parameter.name: parameter.annotation for parameter in (*signature.parameters.values(), *options)
    }
    return wrapper


def connect(address: str) -> SyncCoordinatorClient:
    """A client of the coordinator at ``host:port``, secured as options, environment and file say.

    Raises:
        ConfigurationError: security settings that cannot work.
    """
    from chronos_common.cli.settings import CliSettings
    from chronos_common.runtime import load_settings
    from chronos_common.wire import SyncCoordinatorClient

    security = load_settings(CliSettings, flags=_given.get({})).client
    return SyncCoordinatorClient(address, security=security)


def _option(name: str, text: str) -> inspect.Parameter:
    flag = f"--{name.replace('_', '-')}"
    help_text = f"{text} (environment: CHRONOS_CLIENT__{name.upper()})"
    option = typer.Option(flag, metavar="FILE", help=help_text, rich_help_panel=PANEL, show_default=False)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[Path | None, option]
    )
