"""Names of pipelines, and what cannot work."""

from __future__ import annotations

from typing import Any

import pytest

from chronos_common.compression import (
    SMALL_ELEMENTS,
    GuardConfig,
    PipelineConfig,
    SignificanceConfig,
    default_up,
    make_pipeline,
)
from chronos_common.errors import ConfigurationError


@pytest.mark.parametrize(
    ("name", "density", "quantised"),
    [
        ("identity", 1.0, False),
        ("int8", 1.0, True),
        ("topk10", 0.1, False),
        ("topk10+int8", 0.1, True),
        ("topk1+int8", 0.01, True),
        ("topk0.5+int8", 0.005, True),
        ("topk99.9", 0.999, False),
    ],
)
def test_names_say_what_is_done(name: str, density: float, quantised: bool) -> None:
    config = PipelineConfig(name=name)
    assert (config.density, config.quantised) == (density, quantised)
    assert config.lossless == (name == "identity")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Identity",
        "int4",
        "topk",
        "topk0",
        "topk0.0+int8",
        "topk100",
        "topk-1",
        "topk10%",
        "topk10+int4",
        "topk10+",
        "+int8",
        "int8+topk10",
        "topk10+int8\n",
        "topk１０",  # noqa: RUF001  # other scripts' digits are digits to a careless pattern
        "topk1e1",
        "identity+int8",
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigurationError, match="topk<percent>"):
        make_pipeline(name)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (PipelineConfig, {"dense_below_elements": -1}),
        (PipelineConfig, {"index_encoding": "gap"}),
        (GuardConfig, {"limit": 0.0}),
        (GuardConfig, {"limit": float("nan")}),
        (GuardConfig, {"max_density": 0.0}),
        (GuardConfig, {"max_density": 1.5}),
        (GuardConfig, {"min_rate_scale": 0.0}),
        (GuardConfig, {"patience_versions": 0}),
        (GuardConfig, {"calm_versions": 0}),
        (GuardConfig, {"calm_ratio": 1.0}),
        (SignificanceConfig, {"minimum": 0.2, "maximum": 0.1}),
        (SignificanceConfig, {"minimum": -0.1, "maximum": 0.1}),
        (SignificanceConfig, {"minimum": 0.0, "maximum": 0.1}),
        (SignificanceConfig, {"minimum": 0.1, "maximum": float("inf")}),
        (SignificanceConfig, {"max_skips": 0}),
        (SignificanceConfig, {"target_skips": 1.0}),
        (SignificanceConfig, {"gain": 0.0}),
        (SignificanceConfig, {"floor": 0.0}),
        (SignificanceConfig, {"memory": 1.0}),
    ],
)
def test_numbers_out_of_range_and_crossed_thresholds_are_refused(kind: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(fields))):
        kind(**fields)


def test_only_where_traffic_counts_is_the_default_uplink_sparse() -> None:
    assert PipelineConfig(name=default_up(SMALL_ELEMENTS - 1)).density == 1.0
    assert PipelineConfig(name=default_up(SMALL_ELEMENTS)).density == 0.35
