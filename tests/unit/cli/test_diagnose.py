"""`chronos diagnose` on a problem of this folder, without a coordinator."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.fake_client import Cli

RIDGE = "tests.support.problems:Ridge"


def test_the_report_is_shown_for_people_and_as_json(cli: Cli) -> None:
    arguments = ("diagnose", RIDGE, "--set", "features=4", "--inner-steps", "150", "--estimator", "exact")
    shown = cli(*arguments)
    assert shown.code == 0, shown.err
    for words in ("against exact", "cosine 1.000000", "residual", "bytes", "decay: cosine 1.0000, curvature"):
        assert words in shown.out
    written = json.loads(cli(*arguments, "--json").out)
    assert written["cosine"] > 0.999999
    assert written["peak_bytes"] > 0
    assert written["curvature"].keys() == {"decay"}


def test_what_has_no_figure_is_null(cli: Cli) -> None:
    found = cli(
        "diagnose", RIDGE, "--estimator", "unrolled", "--inner-steps", "5", "--no-curvature", "--json"
    )
    written = json.loads(found.out)
    assert written["residual"] is None
    assert written["curvature"] == {}


def test_mistakes_are_said_in_a_line(cli: Cli, tmp_path: Path) -> None:
    for arguments, words in (
        (("nowhere:Problem", "--path", str(tmp_path)), "cannot be imported"),
        ((RIDGE, "--estimator", "guess"), "no hypergradient estimator"),
        ((RIDGE, "--estimator-set", "cg_steps=0"), "cg_steps must be at least 1"),
    ):
        failed = cli("diagnose", *arguments)
        assert failed.code != 0
        assert words in failed.err
