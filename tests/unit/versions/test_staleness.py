"""The rules for late commits: 1 when fresh, never more when older, something within the bound."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_common.errors import ConfigurationError
from chronos_common.versions import STALENESS_RULES, RoundConfig, exponential_weight
from chronos_common.versions.staleness import polynomial_weight, smooth_cutoff_weight

rules = st.one_of(
    st.tuples(st.just("exponential"), st.floats(0.05, 1.0)),
    st.tuples(st.just("polynomial"), st.floats(0.0, 10.0)),
    st.tuples(st.just("smooth_cutoff"), st.floats(0.0, 10.0)),
)


def config(name: str, parameter: float, bound: int) -> RoundConfig:
    return RoundConfig(
        max_staleness=bound,
        max_in_flight=bound + 1,
        staleness_rule=name,
        **{STALENESS_RULES[name].parameter: parameter},
    )


@given(rule=rules, bound=st.integers(0, 60))
def test_every_rule_starts_at_one_and_never_rises(rule: tuple[str, float], bound: int) -> None:
    rounds = config(*rule, bound)
    weights = [rounds.staleness_weight(staleness) for staleness in range(bound + 1)]
    assert weights[0] == 1.0
    assert all(0.0 < after <= before for before, after in itertools.pairwise(weights))
    assert 0.0 <= rounds.staleness_weight(bound + 1) <= weights[-1]


@given(staleness=st.integers(0, 200), decay=st.floats(0.01, 1.0))
def test_exponential_is_the_power(staleness: int, decay: float) -> None:
    assert exponential_weight(staleness, decay) == pytest.approx(decay**staleness, rel=1e-12, abs=1e-320)


@pytest.mark.parametrize("decay", [1.0, 0.5, 0.6, 1e-300])
def test_exponential_needs_no_time_for_a_long_absence(decay: float) -> None:
    assert exponential_weight(10**12, decay) in (decay if decay == 1.0 else 0.0, 5e-324)


@given(staleness=st.integers(0, 200), exponent=st.floats(0.0, 8.0))
def test_polynomial_is_the_formula(staleness: int, exponent: float) -> None:
    expected = math.exp(-exponent * math.log1p(staleness))
    assert polynomial_weight(staleness, exponent) == pytest.approx(expected, rel=1e-12)


@given(bound=st.integers(0, 60), rate=st.floats(0.0, 4.0), data=st.data())
def test_the_cutoff_is_the_formula_and_reaches_zero_where_commits_are_refused(
    bound: int, rate: float, data: st.DataObject
) -> None:
    staleness = data.draw(st.integers(0, bound))
    cosine = 0.5 * (1 + math.cos(math.pi * staleness / (bound + 1)))
    expected = cosine * math.exp(-rate * staleness)
    assert smooth_cutoff_weight(staleness, rate, bound) == pytest.approx(expected, rel=1e-9)
    assert smooth_cutoff_weight(bound + 1 + staleness, rate, bound) == 0.0


def test_defaults_of_the_rules() -> None:
    assert RoundConfig().staleness_weight(2) == 0.25
    assert RoundConfig(staleness_rule="polynomial").staleness_weight(3) == 0.5
    smooth = RoundConfig(staleness_rule="smooth_cutoff")
    assert smooth.staleness_weight(1) == pytest.approx(0.75 * math.exp(-0.1))


@pytest.mark.parametrize("name", STALENESS_RULES)
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_parameters_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=STALENESS_RULES[name].parameter):
        config(name, value, 2)


@pytest.mark.parametrize(
    ("name", "parameter", "bound"),
    [("exponential", 0.5, 2000), ("polynomial", 2000.0, 2), ("smooth_cutoff", 1000.0, 2)],
)
def test_a_bound_where_nothing_is_left_is_refused(name: str, parameter: float, bound: int) -> None:
    with pytest.raises(ConfigurationError, match="weight 0"):
        config(name, parameter, bound)
