from __future__ import annotations

from typing import Any

import pytest

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient import (
    ESTIMATORS,
    ImplicitDifferentiation,
    UnrolledDifferentiation,
    make_estimator,
)
from chronos_common.hypergradient.solvers.conjugate_gradient import ConjugateGradient


def test_builds_by_name_with_settings() -> None:
    implicit = make_estimator("implicit", cg_steps=3, damping=0.5)
    assert isinstance(implicit, ImplicitDifferentiation)
    assert (implicit.config.solver, implicit.config.damping) == (ConjugateGradient(steps=3), 0.5)
    unrolled = make_estimator("unrolled", truncation=7)
    assert isinstance(unrolled, UnrolledDifferentiation)
    assert unrolled.keep_last == 7


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_every_row_builds_without_settings(name: str) -> None:
    assert type(make_estimator(name)) is ESTIMATORS[name]


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("newton", {}, r"'newton'.*implicit.*unrolled"),
        ("implicit", {"steps": 3}, r"'steps'.*cg_steps"),
        ("unrolled", {"truncation": 0}, "at least 1"),
        ("implicit", {"cg_steps": "many"}, "cannot be built"),
    ],
)
def test_what_does_not_exist_is_refused_with_the_choices(
    name: str, config: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make_estimator(name, **config)
