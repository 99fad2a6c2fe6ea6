"""How much a peer may send: nothing on the wire is unlimited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chronos_common.errors import ConfigurationError

CHUNK_BYTES: Final = 1 << 20
"""Largest piece of a payload in one message of a stream (1 MiB): larger ones are slower, not faster."""

DATA_CHUNK_BYTES: Final = CHUNK_BYTES - (1 << 12)
"""The same where the whole message, header included, stays within 1 MiB."""

MESSAGE_SLACK_BYTES: Final = 1 << 18
"""Room for everything beside the chunk in a message, a commit's metrics above all."""


@dataclass(frozen=True, kw_only=True)
class WireLimits:
    """Limits of sizes and of concurrency.

    Attributes:
        max_message_bytes: largest single message. Payloads of checkouts and commits travel in chunks far
            below it; it bounds the messages that hold a run's definition and its initial value.
        max_payload_bytes: largest payload of one checkout or commit.
        max_in_flight_bytes: payload bytes that a server takes in at the same time; more are told to
            come again.
        max_calls: calls that a server works on at the same time, waiting ones included.
    """

    max_message_bytes: int = 16 << 20
    max_payload_bytes: int = 1 << 30
    max_in_flight_bytes: int = 2 << 30
    max_calls: int = 10_000

    @property
    def max_received_bytes(self) -> int:
        """Largest message that a server's transport takes in, to refuse it with a reason; above, gRPC itself does."""
        return min(4 * self.max_message_bytes, 2**31 - 1)

    def __post_init__(self) -> None:
        least = CHUNK_BYTES + MESSAGE_SLACK_BYTES
        # gRPC takes its limits as signed 32-bit numbers.
        if not least <= self.max_message_bytes < 2**31:
            raise ConfigurationError(
                f"max_message_bytes is {self.max_message_bytes}; it must hold a chunk and its header, {least} "
                "bytes, and stay below 2 GiB",
                field="max_message_bytes",
            )
        if self.max_payload_bytes < 1:
            raise ConfigurationError(
                f"max_payload_bytes is {self.max_payload_bytes}; it must be 1 or more",
                field="max_payload_bytes",
            )
        if self.max_in_flight_bytes < self.max_payload_bytes:
            raise ConfigurationError(
                f"max_in_flight_bytes is {self.max_in_flight_bytes}, below max_payload_bytes = "
                f"{self.max_payload_bytes}: the largest payload could never be taken",
                field="max_in_flight_bytes",
            )
        if self.max_calls < 1:
            raise ConfigurationError(
                f"max_calls is {self.max_calls}; it must be 1 or more", field="max_calls"
            )
