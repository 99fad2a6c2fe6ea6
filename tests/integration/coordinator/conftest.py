"""A whole coordinator in this process: SQLite on a real disk, gRPC on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chronos_common.wire import CoordinatorClient
from chronos_coordinator.app import CoordinatorApp
from tests.support.clients import BUDGET, app_settings, running


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[CoordinatorApp]:
    async with running(app_settings(tmp_path / "store")) as served:
        yield served


@pytest.fixture
async def client(app: CoordinatorApp) -> AsyncIterator[CoordinatorClient]:
    async with CoordinatorClient(app.address, deadlines=BUDGET) as connected:
        yield connected
