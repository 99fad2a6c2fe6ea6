"""Runs with a slow level, and clients that follow them."""

from __future__ import annotations

from typing import Any

from chronos_common.engine import CheckoutAnswer, Published, Replica
from chronos_common.outer import OuterConfig, TimescaleConfig
from tests.support.runs import Client


def levels(period: int = 3, *, pattern: str = "vector", **more: Any) -> OuterConfig:
    slow = TimescaleConfig(name="slow", parameters=(pattern,), period=period, **more)
    return OuterConfig(name="sgd", learning_rate=1.0, levels=(slow,))


def publications(client: Client) -> list[Published]:
    return [event for event in client.events if isinstance(event, Published)]


def replica_of(client: Client) -> Replica:
    replica = Replica(client.engine.config.parameters)
    take(client, replica)
    return replica


def take(client: Client, replica: Replica) -> tuple[CheckoutAnswer, Any]:
    answer = client.checkout("", known=replica.version)
    assert isinstance(answer, CheckoutAnswer)
    return answer, replica.take(answer.version, answer.digest, answer.parts)
