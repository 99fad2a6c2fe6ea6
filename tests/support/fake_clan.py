"""Clans for tests of the wire: there is none, and every call is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence

from chronos_common.clan.checking import ClanReport
from chronos_common.clan.definition import ClanDefinition
from chronos_common.clan.events import RoundClosed
from chronos_common.clan.history import RoundRecord
from chronos_common.clan.views import ClanView, FetchedRound, Place
from chronos_common.errors import ClanNotFoundError


class FakeClan:
    """Refuses every call, and counts it."""

    def __init__(self, calls: Counter[str]) -> None:
        self._calls = calls

    async def create(self, clan_id: str, definition: ClanDefinition) -> ClanView:
        raise self._refused("create_clan")

    def describe(self, clan_id: str) -> ClanView:
        raise self._refused("describe_clan")

    def clans(self) -> Sequence[str]:
        self._calls["clans"] += 1
        return []

    def watch(self, clan_id: str) -> AsyncIterator[ClanView]:
        raise self._refused("watch_clan")

    async def history(self, clan_id: str, first_round: int) -> Sequence[RoundRecord]:
        raise self._refused("history")

    async def join(
        self, clan_id: str, worker: str, incarnation: int, member: int | None, address: str
    ) -> Place:
        raise self._refused("join_clan")

    async def leave(self, clan_id: str, worker: str, incarnation: int) -> None:
        raise self._refused("leave_clan")

    async def remove(self, clan_id: str, worker: str, incarnation: int, member: int, epoch: int) -> int:
        raise self._refused("remove_member")

    async def fetch(self, clan_id: str, worker: str, incarnation: int, wait_seconds: float) -> FetchedRound:
        raise self._refused("fetch")

    async def report(
        self, clan_id: str, worker: str, incarnation: int, number: int, fitness: float, genome_id: str
    ) -> bool:
        raise self._refused("report")

    async def close(
        self, clan_id: str, worker: str, incarnation: int, number: int, wait_seconds: float
    ) -> RoundClosed:
        raise self._refused("close")

    async def save(self, clan_id: str) -> bytes:
        raise self._refused("save_clan")

    async def restore(self, clan_id: str, state: bytes) -> ClanView:
        raise self._refused("restore_clan")

    async def verify(self, clan_id: str) -> ClanReport:
        raise self._refused("verify_clan")

    def _refused(self, method: str) -> ClanNotFoundError:
        self._calls[method] += 1
        return ClanNotFoundError("there is no clan 'clan'", clan_id="clan")
