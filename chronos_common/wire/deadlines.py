"""Every time limit of the wire, derived from one budget.

Deadlines that are set one by one contradict each other sooner or later: a keepalive longer than a call, a
drain shorter than the calls it waits for. So there is one number, and the rest follows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from chronos_common.errors import ConfigurationError

MIN_BUDGET_SECONDS: Final = 0.2
MAX_BUDGET_SECONDS: Final = 300.0
MIN_KEEPALIVE_SECONDS: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class DeadlineConfig:
    """The deadline budget and what follows from it.

    Attributes:
        budget_seconds: how long a healthy coordinator may take to answer an ordinary call, durable write
            included; a peer that is silent for longer counts as gone.
        min_bytes_per_second: slowest link that a payload may take; it adds time to transfers by size.
    """

    budget_seconds: float = 10.0
    min_bytes_per_second: float = 1e6

    def __post_init__(self) -> None:
        if not MIN_BUDGET_SECONDS <= self.budget_seconds <= MAX_BUDGET_SECONDS:
            raise ConfigurationError(
                f"budget_seconds is {self.budget_seconds}; it must lie between {MIN_BUDGET_SECONDS} and "
                f"{MAX_BUDGET_SECONDS}",
                field="budget_seconds",
            )
        if not (math.isfinite(self.min_bytes_per_second) and self.min_bytes_per_second >= 1.0):
            raise ConfigurationError(
                f"min_bytes_per_second is {self.min_bytes_per_second}; it must be finite and at least 1",
                field="min_bytes_per_second",
            )

    @property
    def call_seconds(self) -> float:
        """Deadline of a unary call."""
        return self.budget_seconds

    @property
    def idle_seconds(self) -> float:
        """Longest silence between two messages of a stream of chunks."""
        return self.budget_seconds

    @property
    def max_wait_seconds(self) -> float:
        """Longest time that a checkout may ask to wait for a version."""
        return 60.0 * self.budget_seconds

    @property
    def scan_seconds(self) -> float:
        """Deadline of a call that reads a run's whole journal."""
        return 60.0 * self.budget_seconds

    @property
    def watch_seconds(self) -> float:
        """Deadline of one watch stream; the client opens the next one by itself."""
        return 60.0 * self.budget_seconds

    @property
    def keepalive_seconds(self) -> float:
        """Silence on a connection after which either side pings."""
        return max(MIN_KEEPALIVE_SECONDS, self.budget_seconds)

    @property
    def keepalive_timeout_seconds(self) -> float:
        """How long the answer to a ping may take before the connection counts as dead."""
        return max(MIN_KEEPALIVE_SECONDS, self.budget_seconds / 2)

    @property
    def connect_seconds(self) -> float:
        """How long an attempt to connect may take: several round trips, for the handshakes of TCP and HTTP/2."""
        return max(self.reconnect_initial_seconds, self.budget_seconds / 5)

    @property
    def reconnect_initial_seconds(self) -> float:
        """Pause after the first failed attempt to connect."""
        return 0.1

    @property
    def reconnect_max_seconds(self) -> float:
        """Longest pause between attempts to connect; gRPC makes it up to a fifth longer or shorter, by chance.

        Short, since whole trainings wait for a coordinator that was restarted; an attempt costs little.
        """
        return max(self.reconnect_initial_seconds, min(0.4, self.budget_seconds / 5))

    @property
    def drain_seconds(self) -> float:
        """How long a stopping server lets accepted calls finish."""
        return self.budget_seconds

    def transfer_seconds(self, payload_bytes: int) -> float:
        """Deadline of a call that moves a payload of at most so many bytes."""
        return self.budget_seconds + payload_bytes / self.min_bytes_per_second
