"""The settings of the command line, as environment and configuration file hold them."""

from __future__ import annotations

from dataclasses import dataclass

from chronos_common.runtime import section
from chronos_common.wire.security import ClientSecurity


@dataclass(frozen=True, kw_only=True)
class CliConfig:
    """How the command line finds its coordinator.

    Attributes:
        coordinator: address of the coordinator, host:port; empty for the default.
    """

    coordinator: str = ""


@dataclass(frozen=True, kw_only=True)
class CliSettings:
    """Everything that ``chronos`` reads from environment and file."""

    cli: CliConfig = section(CliConfig)
    client: ClientSecurity = section(ClientSecurity, flags="")
