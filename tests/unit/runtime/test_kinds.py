from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pytest

from chronos_common.compression import GuardConfig, PipelineConfig, SignificanceConfig
from chronos_common.engine import CompressionConfig, RunConfig, WorkSpec
from chronos_common.errors import ConfigurationError
from chronos_common.fleet import FleetConfig
from chronos_common.runtime import require_kinds
from chronos_common.versions import LeaseConfig, RoundConfig


@dataclass(frozen=True, kw_only=True)
class Inner:
    number: int = 0


@dataclass(frozen=True, kw_only=True)
class Outer:
    count: int = 1
    rate: float = 0.5
    share: float | None = None
    name: str = ""
    switch: bool = False
    inner: Inner = field(default_factory=Inner)
    free: tuple[int, ...] = ()


@pytest.mark.parametrize(
    "given", [{}, {"rate": 1}, {"share": 0.5}, {"rate": math.nan}, {"switch": True}, {"free": "anything"}]
)
def test_what_is_declared_is_taken(given: dict[str, Any]) -> None:
    require_kinds(Outer(**given))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": math.nan}, "count is nan, which has the wrong type; it must be a whole number"),
        ({"count": 1.0}, "a whole number"),
        ({"count": True}, "count is True"),
        ({"rate": "1"}, "rate is '1'.*a number"),
        ({"rate": None}, "a number"),
        ({"share": []}, "a number or left out"),
        ({"name": 3}, "text"),
        ({"switch": 1}, "true or false"),
        ({"inner": "int8"}, "inner is 'int8'.*a Inner"),
    ],
)
def test_what_is_not_is_refused_by_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        require_kinds(Outer(**given))


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (RoundConfig, {"quorum": 1.5}),
        (RoundConfig, {"max_in_flight": math.nan}),
        (LeaseConfig, {"window": math.nan}),
        (FleetConfig, {"max_workers": math.inf}),
        (PipelineConfig, {"dense_below_elements": math.nan}),
        (GuardConfig, {"patience_versions": math.nan}),
        (SignificanceConfig, {"max_skips": math.nan}),
        (CompressionConfig, {"up": "int8"}),
        (CompressionConfig, {"keep_versions": math.nan}),
        (WorkSpec, {"inner_steps": math.nan}),
        (RunConfig, {"parameters": (), "rounds": {}}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_defines_a_run_is_looked_at(kind: Any, given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"{list(given)[-1]} is .*wrong type"):
        kind(**given)
