"""What else a clan on a coordinator has to do: checkpoints, and a coordinator that lets not everybody in."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from chronos_common.errors import AuthenticationError
from chronos_common.wire import ClientSecurity
from chronos_coordinator.app import CoordinatorApp
from tests.integration.worker.test_clan_elastic import Loop, connected, together
from tests.support.certificates import Authority
from tests.support.clan_member import Orders
from tests.support.services import serving, settings

SIZE, TOKEN = 2, "0123456789abcdef" * 2


def orders(address: str, place: int) -> Orders:
    return Orders(
        name=f"w{place}",
        address=address,
        member=place,
        size=SIZE,
        steps=50,
        round_length=16,
        competitive=True,
    )


def trained(address: str, place: int, security: ClientSecurity | None = None, **how: Any) -> Loop:
    return connected(orders(address, place), security).run(**how)


async def everyone(address: str, **how: Any) -> list[Loop]:
    return await together(*(partial(trained, address, place, **how) for place in range(SIZE)))


async def test_members_resume_from_checkpoints_on_a_new_coordinator_bit_for_bit(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    async with serving(tmp_path / "whole") as app:
        whole = await everyone(app.address)
    async with serving(tmp_path / "before") as app:
        begun = await everyone(app.address, until=30, save=folder)
    async with serving(tmp_path / "after") as app:
        ended = await everyone(app.address, resume=folder)
    for one, first, second in zip(whole, begun, ended, strict=True):
        assert first.phases + second.phases == one.phases
        assert first.decisions + second.decisions == one.decisions
        assert all(torch.equal(a, b) for a, b in zip(one.weights, second.weights, strict=True))


async def test_a_clan_trains_with_certificates_and_a_token(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    for name, usage in (("server", "serverAuth"), ("client", "clientAuth")):
        authority.issue(name, usage=usage)
    (tmp_path / "tokens").write_text(f"worker clan {TOKEN}\n")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "other").write_text(f"{TOKEN[::-1]}\n")
    server = replace(authority.server(mutual=True), token_file=tmp_path / "tokens")
    client = replace(authority.client("client"), token_file=tmp_path / "token")
    app = CoordinatorApp(settings=replace(settings(tmp_path / "store"), server=server))
    await app.start()
    try:
        with pytest.raises(AuthenticationError):
            await asyncio.to_thread(
                trained, app.address, 0, security=replace(client, token_file=tmp_path / "other")
            )
        first, second = await everyone(app.address, security=client)
    finally:
        await app.stop()
    assert first.clan.finished
    assert all(torch.equal(a, b) for a, b in zip(first.weights, second.weights, strict=True))
