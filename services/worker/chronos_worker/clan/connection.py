"""How a member of a clan reaches its coordinator, and how its peers reach it."""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from chronos_common.clan import Allele, ClanConfig
from chronos_common.clan.definition import ClanDefinition
from chronos_common.errors import ConfigurationError
from chronos_common.runtime import require_kinds
from chronos_common.wire import ClientSecurity, DeadlineConfig


@dataclass(frozen=True, kw_only=True)
class ClanConnection:
    """A member's line to the coordinator that keeps its clan.

    Attributes:
        address: host:port of the coordinator.
        clan: id of the clan; who comes first creates it.
        worker: stable name of this worker, which no other has; its next process has the same one.
        member: the place that it wants, such as its rank; ``None``: any.
        security: TLS and the token; by default neither.
        deadlines: the deadline budget; the coordinator's should be the same.
        host: address of this machine that the other members can reach; by default the one that faces the
            coordinator.
        give_up_seconds: how long the coordinator may be away at the edges of a round, or when members change.
        patience_seconds: how long a member waits for one that lives but is at work elsewhere, before they meet anew.
        round_seconds: see ``ClanDefinition``; the same for all members.
        gather_seconds: see ``ClanDefinition``; the same for all members.

    Raises:
        ConfigurationError: settings that cannot work.
    """

    address: str
    clan: str
    worker: str
    member: int | None = None
    security: ClientSecurity | None = None
    deadlines: DeadlineConfig | None = None
    host: str = ""
    give_up_seconds: float = 60.0
    patience_seconds: float = 60.0
    round_seconds: float = 0.0
    gather_seconds: float = 0.0

    def __post_init__(self) -> None:
        require_kinds(self)
        for name in ("address", "clan", "worker"):
            if not getattr(self, name):
                raise ConfigurationError(
                    f"a clan on a coordinator needs {name}; Clan(..., coordinator='HOST:PORT', clan='topics', "
                    "worker='worker-3')",
                    field=name,
                )
        if not self.address.rpartition(":")[2].isdecimal():
            raise ConfigurationError(
                f"the coordinator's address is {self.address!r}; give HOST:PORT", field="address"
            )
        for name in ("give_up_seconds", "patience_seconds"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0.0):
                raise ConfigurationError(
                    f"{name} is {getattr(self, name)}; it must be finite and above 0", field=name
                )

    def definition(self, config: ClanConfig, genes: Mapping[str, Allele], seed: int) -> ClanDefinition:
        """What the coordinator is told of the clan.

        Raises:
            ConfigurationError: settings that cannot work.
        """
        return ClanDefinition(
            config=config,
            genes=genes,
            seed=seed,
            round_seconds=self.round_seconds,
            gather_seconds=self.gather_seconds,
        )

    @property
    def own_host(self) -> str:
        """Address of this machine that the other members can reach."""
        return self.host or facing(self.address)


def facing(address: str) -> str:
    """This machine's address on the way to another; nothing is sent.

    Raises:
        ConfigurationError: there is no such machine, or no way to it.
    """
    host, _, port = address.rpartition(":")
    try:
        family, kind, _, _, there = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(there)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise ConfigurationError(
            f"there is no way to the coordinator at {address}: {error}; correct the address, or give host",
            field="address",
        ) from error
