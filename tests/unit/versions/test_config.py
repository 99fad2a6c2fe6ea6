from __future__ import annotations

import math
from typing import Any

import pytest

from chronos_common.errors import ConfigurationError
from chronos_common.versions import LeaseConfig, RoundConfig


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"max_staleness": -1}, "max_staleness"),
        ({"max_staleness": 3}, "max_in_flight"),
        ({"max_in_flight": 2}, "max_in_flight"),
        ({"quorum": 0}, "quorum"),
        ({"decay": 0.0}, "decay"),
        ({"decay": 1.1}, "decay"),
        ({"decay": math.nan}, "decay"),
        ({"max_local_work": 0.5}, "max_local_work"),
        ({"max_local_work": math.inf}, "max_local_work"),
    ],
)
def test_rounds_that_cannot_work_are_refused(fields: dict[str, Any], names: str) -> None:
    with pytest.raises(ConfigurationError, match=names):
        RoundConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"initial_seconds": 0.0}, "initial_seconds"),
        ({"min_seconds": math.nan}, "min_seconds"),
        ({"max_seconds": math.inf}, "max_seconds"),
        ({"min_seconds": 40.0}, "ordered"),
        ({"max_seconds": 20.0}, "ordered"),
        ({"window": 0}, "window"),
    ],
)
def test_leases_that_cannot_work_are_refused(fields: dict[str, Any], names: str) -> None:
    with pytest.raises(ConfigurationError, match=names):
        LeaseConfig(**fields)


def test_a_barrier_is_a_legal_configuration() -> None:
    assert RoundConfig(max_staleness=0, max_in_flight=1).quorum is None
