"""`chronos run --dry-run`: time, money and memory before anything is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.fake_client import Cli

RIDGE = ("run", "tests.support.problems:Ridge", "--set", "features=8", "--dry-run")


def test_time_money_and_memory_are_said_and_nothing_is_started(cli: Cli, tmp_path: Path) -> None:
    found = cli(*RIDGE, "--versions", "40", "--local", "4", "--data", str(tmp_path / "data"), "--json")
    assert found.code == 0, found.err
    rows = {row["device"]: row for row in json.loads(found.out)["devices"]}
    assert "H100-SXM" in rows
    here = rows["CPU"]
    update, total = here["update_seconds"], here["total_seconds"]
    assert 0 < update["p10"] < update["p50"] < update["p90"]
    # Four workers, a quorum of two: half an update for each version.
    assert total["p50"] == pytest.approx(update["p50"] * 40 * 2 / 4)
    assert here["price_usd"]["p50"] > 0
    assert here["memory_bytes"] > 0
    assert here["fits"] is True
    assert not (tmp_path / "data").exists()


def test_twice_the_versions_take_twice_as_long_as_their_updates(cli: Cli) -> None:
    found = json.loads(cli(*RIDGE, "--versions", "10", "--quorum", "1", "--local", "1", "--json").out)
    for row in found["devices"]:
        assert row["total_seconds"]["p50"] == pytest.approx(10 * row["update_seconds"]["p50"])


def test_a_run_without_an_end_has_no_total(cli: Cli) -> None:
    found = cli(*RIDGE, "--versions", "0")
    assert found.code == 0, found.err
    assert "until stopped" in found.out
    assert "USD" not in found.out


def test_a_problem_that_cannot_be_imported_is_said(cli: Cli) -> None:
    failed = cli("run", "nowhere:Problem", "--dry-run")
    assert failed.code != 0
    assert "cannot be imported" in failed.err
