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
        ({"max_staleness": 10**9, "max_in_flight": 2 * 10**9}, "at most 1000000"),
        ({"staleness_rule": "linear"}, "exponential, polynomial, smooth_cutoff"),
        ({"staleness_rate": 1.0}, "parameter is decay"),
        ({"staleness_rule": "polynomial", "decay": 0.9}, "parameter is staleness_rate"),
        ({"merge": "mode"}, "mean, trimmed_mean, median"),
        ({"trim": 0.2}, "only 'trimmed_mean' trims"),
        ({"merge": "median", "trim": 0.2}, "only 'trimmed_mean' trims"),
        ({"merge": "trimmed_mean", "trim": 0.0}, "trim"),
        ({"merge": "trimmed_mean", "trim": 0.5}, "trim"),
        ({"merge": "trimmed_mean", "trim": math.nan}, "trim"),
        ({"weighting": "age"}, "work, inverse_participation"),
        ({"participation_window": 8}, "only 'inverse_participation' counts"),
        ({"weighting": "inverse_participation", "participation_window": 2}, "participation_window is 2"),
        ({"weighting": "inverse_participation", "merge": "median"}, "needs merge 'mean'"),
        ({"grace_seconds": -1.0}, "grace_seconds"),
        ({"grace_seconds": math.inf}, "grace_seconds"),
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
