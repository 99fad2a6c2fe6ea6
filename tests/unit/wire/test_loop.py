from __future__ import annotations

import asyncio
import sys

import pytest

from chronos_common.wire import run


async def name_of_the_loop() -> str:
    return type(asyncio.get_running_loop()).__module__


def test_main_runs_on_uvloop() -> None:
    pytest.importorskip("uvloop")
    assert run(name_of_the_loop()).startswith("uvloop")


def test_main_runs_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert run(name_of_the_loop()).startswith("asyncio")
