"""Data plans for tests of the wire: there is none, and every call is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence

from chronos_common.data.definition import DataPlanConfig
from chronos_common.data.source import DealtShare
from chronos_common.data.views import DataView
from chronos_common.errors import DataPlanNotFoundError


class FakeData:
    """Refuses every call, and counts it."""

    def __init__(self, calls: Counter[str]) -> None:
        self._calls = calls

    async def create(self, plan_id: str, config: DataPlanConfig) -> DataView:
        raise self._refused("create")

    def describe(self, plan_id: str) -> DataView:
        raise self._refused("describe")

    def plans(self) -> Sequence[DataView]:
        self._calls["plans"] += 1
        return []

    async def add_sizes(self, plan_id: str, begin: int, payload: bytes, number_type: str, node: int) -> int:
        raise self._refused("add_sizes")

    async def join(self, plan_id: str, worker: str, incarnation: int, rank: int, node: int) -> DataView:
        raise self._refused("join")

    async def leave(self, plan_id: str, worker: str, incarnation: int) -> None:
        raise self._refused("leave")

    def shares(
        self,
        plan_id: str,
        worker: str,
        incarnation: int,
        epoch: int,
        after_turn: int,
        wait_seconds: float | None,
    ) -> AsyncIterator[DealtShare]:
        raise self._refused("shares")

    async def finish(
        self, plan_id: str, worker: str, incarnation: int, done: Sequence[tuple[int, float]]
    ) -> Sequence[int]:
        raise self._refused("finish")

    def save(self, plan_id: str) -> bytes:
        raise self._refused("save")

    async def restore(self, plan_id: str, state: bytes) -> DataView:
        raise self._refused("restore")

    def _refused(self, method: str) -> DataPlanNotFoundError:
        self._calls[method] += 1
        return DataPlanNotFoundError("there is no data plan 'plan'", plan_id="plan")
