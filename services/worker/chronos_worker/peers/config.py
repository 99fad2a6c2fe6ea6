"""Settings of a member of a peer group, and the time limits that follow from the deadline budget."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from chronos_common.errors import ConfigurationError
from chronos_common.runtime import require_kinds
from chronos_common.wire import DeadlineConfig

REDUCTIONS: Final = ("none", "bf16", "int8")
_PLAIN_BYTES: Final = 64 << 20
_COMPRESSED_BYTES: Final = 8 << 20


@dataclass(frozen=True, kw_only=True)
class PeerConfig:
    """How a member exchanges tensors.

    Attributes:
        bucket_bytes: gradients travel in flat buffers of at most this size; ``None``: 64 MiB, or 8 MiB with
            compression, which computes on them and is twice as fast where they stay in the processor's cache.
        compression: of all-reduced means: none, bf16 (half the bytes) or int8 (a quarter), the last two with error
            feedback.
        replicas: members hold the same model: the first epoch starts from rank 0's, and states that differ are
            repaired. Without it each member keeps a state of its own, and only joiners are brought up to date.
        max_attempts: failures of one step, each in an epoch of its own, after which it is given up.
        host: address of this machine that the other members can reach.
        store_port: where this member's store listens, for firewalls; 0 is any free port. The collectives' own ports
            are the kernel's choice in any case (``net.ipv4.ip_local_port_range``).
        patience_seconds: how long one collective, or the meeting of an epoch's members, may take where members live
            but are at work elsewhere; 0: what follows from the deadline budget.
        give_up_seconds: how long a member waits for its next epoch; 0: what follows from the deadline budget.
    """

    bucket_bytes: int | None = None
    compression: str = "none"
    replicas: bool = True
    max_attempts: int = 8
    host: str = "127.0.0.1"
    store_port: int = 0
    patience_seconds: float = 0.0
    give_up_seconds: float = 0.0

    def __post_init__(self) -> None:
        require_kinds(self)
        if self.compression not in REDUCTIONS:
            raise ConfigurationError(
                f"compression is {self.compression!r}; it must be one of {', '.join(REDUCTIONS)}"
            )
        for name in ("bucket_bytes", "max_attempts"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} is {value}; it must be 1 or more")
        if not 0 <= self.store_port <= 65535:
            raise ConfigurationError(f"store_port is {self.store_port}; it must be from 0 to 65535")
        for name in ("patience_seconds", "give_up_seconds"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0.0):
                raise ConfigurationError(f"{name} is {getattr(self, name)}; it must be finite and 0 or more")

    @property
    def buffer_bytes(self) -> int:
        """``bucket_bytes``, or what it is by itself."""
        if self.bucket_bytes is not None:
            return self.bucket_bytes
        return _PLAIN_BYTES if self.compression == "none" else _COMPRESSED_BYTES


def collective_seconds(deadlines: DeadlineConfig, config: PeerConfig) -> float:
    """How long one collective may take; a hang is found sooner, by the heartbeats that fail to come."""
    return config.patience_seconds or deadlines.transfer_seconds(config.buffer_bytes)


def regroup_seconds(deadlines: DeadlineConfig) -> float:
    """How long the living wait for members that do not answer, once a loss is reported: .3 s of 10."""
    return max(0.1, 0.03 * deadlines.budget_seconds)


def enter_seconds(deadlines: DeadlineConfig, config: PeerConfig) -> float:
    """How long the members of an epoch may take to find each other."""
    return config.patience_seconds or deadlines.budget_seconds


def epoch_seconds(deadlines: DeadlineConfig, config: PeerConfig) -> float:
    """How long a member waits for its next epoch."""
    return config.give_up_seconds or deadlines.max_wait_seconds
