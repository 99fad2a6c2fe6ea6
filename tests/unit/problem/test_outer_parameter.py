from __future__ import annotations

from typing import Any

import pytest
import torch

from chronos_common.errors import ConfigurationError, ProblemError
from chronos_common.problem import OuterParameter, resolve_outer, resolve_parameters

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"value": float("nan")}, "not finite"),
        ({"value": torch.tensor([1.0, float("inf")])}, "not finite"),
        ({"value": 0.0, "scale": "log"}, "above 0"),
        ({"value": 1.0, "scale": "log", "bounds": (0.0, 2.0)}, "lower bound above 0"),
        ({"value": 1.0, "bounds": (2.0, 0.0)}, "not in order"),
        ({"value": 1.0, "bounds": (float("nan"), None)}, "not in order"),
        ({"value": 3.0, "bounds": (0.0, 2.0)}, "leaves its bounds"),
        ({"value": torch.tensor(1)}, "float32 or float64"),
        ({"value": torch.tensor(1.0, dtype=torch.float16)}, "float32 or float64"),
        ({"value": True}, "is a bool"),
        ({"value": "0.1"}, "is a str"),
    ],
)
def test_what_cannot_work_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        OuterParameter(**arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"scale": "cubic"}, "'cubic'"),
        ({"constraint": "sphere"}, "'sphere'.*'simplex'"),
        ({"constraint": "simplex", "scale": "log"}, "leave out scale"),
        ({"constraint": "simplex", "bounds": (0.0, 1.0)}, "leave out scale"),
        ({"level": "slow"}, r"level.*reserved.*OuterConfig\(levels"),
    ],
)
def test_what_nobody_honours_is_refused_rather_than_ignored(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        OuterParameter(1.0, **arguments)


@pytest.mark.parametrize("value", [[0.5, 0.6], [1.5, -0.5], [[0.5, 0.5], [1.0, 1.0]], 0.9])
def test_rows_that_are_not_on_the_simplex_are_refused(value: Any) -> None:
    with pytest.raises(ProblemError, match="sum to 1"):
        OuterParameter(torch.tensor(value), constraint="simplex")


def test_rows_on_the_simplex_are_taken() -> None:
    OuterParameter(torch.full((2, 3), 1 / 3), constraint="simplex")
    OuterParameter(1.0, constraint="simplex")


def test_floats_become_scalars_of_the_default_dtype() -> None:
    assert OuterParameter(2).tensor().shape == ()
    assert OuterParameter(0.5).tensor().dtype == torch.get_default_dtype()
    assert OuterParameter(torch.ones(2, dtype=torch.float64)).tensor().dtype == torch.float64


def test_a_value_on_its_bound_is_inside_in_its_own_precision() -> None:
    lower, upper = OuterParameter(0.1, bounds=(0.1, 0.1)).limits()
    assert lower == upper == pytest.approx(0.1)
    assert OuterParameter(0.1, bounds=(None, 0.1)).limits()[0] == float("-inf")


def test_bare_values_are_wrapped_and_nothing_at_all_is_refused() -> None:
    ready = OuterParameter(1.0)
    resolved = resolve_parameters({"a": 1.0, "b": torch.ones(2), "c": ready})
    assert resolved["c"] is ready
    assert resolved["b"].tensor().shape == (2,)
    with pytest.raises(ProblemError, match="empty"):
        resolve_parameters({})
    with pytest.raises(ProblemError, match="empty name"):
        resolve_parameters({"": 1.0})
    with pytest.raises(ProblemError, match="'a'"):
        resolve_parameters({"a": torch.ones(1, dtype=torch.int64)})


def test_lambda_may_be_given_in_many_forms() -> None:
    declared = resolve_parameters({"a": 1.0, "b": torch.ones(2, dtype=torch.float64)})
    assert float(resolve_outer(declared, None, CPU)["a"]) == 1.0
    given = resolve_outer(declared, {"a": 3, "b": OuterParameter(torch.zeros(2).double())}, CPU)
    assert float(given["a"]) == 3.0
    assert given["b"].tolist() == [0.0, 0.0]
    double = resolve_parameters({"a": torch.tensor(1.0, dtype=torch.float64)})
    assert resolve_outer(double, {"a": 0.1}, CPU)["a"].dtype == torch.float64
    leaf = torch.tensor(2.0, requires_grad=True)
    assert not resolve_outer(resolve_parameters({"a": 1.0}), {"a": leaf}, CPU)["a"].requires_grad


@pytest.mark.parametrize(
    ("outer", "words"),
    [
        ({}, "declares"),
        ({"a": 1.0, "b": 2.0, "c": 3.0}, "declares"),
        ({"a": 1.0, "b": torch.ones(3)}, r"'b'.*\(3,\)"),
        ({"a": 1.0, "b": torch.ones(2).double()}, "'b'.*float64"),
        ({"a": 1.0, "b": 1.0}, r"'b'.*\(\)"),
    ],
)
def test_lambda_of_another_layout_is_refused(outer: dict[str, Any], words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        resolve_outer(resolve_parameters({"a": 1.0, "b": torch.ones(2)}), outer, CPU)
