"""The worker's health service: what it says, and when."""

from __future__ import annotations

import asyncio

import pytest

from chronos_common.errors import ConfigurationError
from chronos_common.probe import check
from chronos_common.wire import DeadlineConfig, WireLimits
from chronos_worker.health import WORKER_SERVICE, Health, HealthConfig


def make(port: int | None) -> Health:
    return Health(HealthConfig(port=port), deadlines=DeadlineConfig(), limits=WireLimits())


async def asked(health: Health, service: str) -> str:
    return await asyncio.to_thread(check, f"127.0.0.1:{health.port}", service)


async def test_it_serves_from_the_registration_until_it_stops() -> None:
    async with make(0) as health:
        assert await asked(health, "") == "", "the process lives, with or without a coordinator"
        assert "(yet)" in await asked(health, WORKER_SERVICE)
        health.registered()
        await asyncio.sleep(0)
        assert await asked(health, WORKER_SERVICE) == ""
        await health.stopping()
        assert "NOT_SERVING" in await asked(health, WORKER_SERVICE)


async def test_without_a_port_it_is_off() -> None:
    async with make(None) as health:
        health.registered()
        await health.stopping()
        assert health.port is None


@pytest.mark.parametrize("fields", [{"port": -1}, {"port": 65536}, {"host": ""}])
def test_settings_are_checked(fields: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="port|host"):
        HealthConfig(**fields)  # type: ignore[arg-type]  # one field of several types
