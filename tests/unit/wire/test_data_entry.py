"""Joining a plan: who tells which sizes, while the coordinator comes and goes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from chronos_common.data import PlanConfig
from chronos_common.data.definition import DataPlanConfig
from chronos_common.errors import ConfigurationError, UnavailableError
from chronos_common.wire import join_plan

SIZES = np.arange(1.0, 11.0)
WHOLE = DataPlanConfig(samples=10, plan=PlanConfig(batch_size=5, workers=3), workers=3)
PARTED = DataPlanConfig(samples=10, plan=PlanConfig(batch_size=5, workers=3), workers=3, partitioned=True)


class Refusing:
    """A client whose coordinator is away for the first calls, and that ends where the source would begin."""

    instance_id = "one"
    asynchronous = SimpleNamespace(deadlines=SimpleNamespace(reconnect_initial_seconds=0.0))

    def __init__(self, sized: int = 0, away: int = 0) -> None:
        self.view = SimpleNamespace(sized=sized, first_missing=sized)
        self.told: list[tuple[int, list[float], int]] = []
        self.away = away

    def create_data_plan(self, plan_id: str, config: DataPlanConfig) -> Any:
        return self.view

    def upload_sizes(self, plan_id: str, begin: int, sizes: Any, *, node: int = 0) -> int:
        if self.away:
            self.away -= 1
            raise UnavailableError("away")
        self.told.append((begin, list(sizes), node))
        return 0

    def register(self, worker_id: str, instance_id: str) -> Any:
        raise InterruptedError(f"{worker_id} would register as {instance_id}")


def told(client: Refusing, config: DataPlanConfig = WHOLE, sizes: Any = SIZES, **place: Any) -> Any:
    with pytest.raises(InterruptedError, match="w would register as one"):
        join_plan(client, "plan", "w", config=config, sizes=sizes, **place)  # type: ignore[arg-type]
    return client.told


def test_every_rank_tells_its_part_and_late_ones_what_is_missing() -> None:
    parts = [told(Refusing(), rank=rank)[0] for rank in range(3)]
    assert [begin for begin, _, _ in parts] == [0, 3, 6]
    assert [size for _, part, _ in parts for size in part] == SIZES.tolist()
    assert told(Refusing(sized=7), rank=3) == [(7, [8.0, 9.0, 10.0], 0)]
    assert told(Refusing(sized=10), rank=0) == []
    assert told(Refusing(), PARTED, SIZES[:4], rank=1, first=6, node=2) == [(6, [1.0, 2.0, 3.0, 4.0], 2)]


def test_a_coordinator_that_is_away_in_the_middle_of_an_upload_is_waited_for() -> None:
    assert told(Refusing(away=2), rank=0) == [(0, [1.0, 2.0, 3.0], 0)]
    with pytest.raises(UnavailableError):
        join_plan(Refusing(away=9**9), "plan", "w", config=WHOLE, sizes=SIZES, rank=0, give_up_seconds=0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "sizes", "place"),
    [
        (WHOLE, SIZES, {"rank": -1}),
        (WHOLE, SIZES[:9], {"rank": 0}),
        (WHOLE, SIZES, {"rank": 0, "first": 0}),
        (PARTED, SIZES, {"rank": 0}),
    ],
)
def test_what_does_not_fit_is_told(config: DataPlanConfig, sizes: Any, place: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        join_plan(Refusing(), "plan", "w", config=config, sizes=sizes, **place)  # type: ignore[arg-type]
