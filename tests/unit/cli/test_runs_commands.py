"""`runs`, `show`, `watch`, `stop`, `verify` with a coordinator that is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from chronos_common.engine import VerifyReport, VersionRecord
from tests.support.fake_client import Cli, FakeClient, run_view, version_record


def test_runs_lists_what_there_is(cli: Cli, fake: type[FakeClient]) -> None:
    done = cli("runs")
    assert done.code == 0
    for part in ("r1", "active", "4/10", "0.25", "1/2", "lab.problems:Ridge"):
        assert part in done.out


def test_runs_says_when_there_is_none(cli: Cli, fake: type[FakeClient]) -> None:
    fake.runs.clear()
    assert "no runs yet" in cli("runs").out


def test_runs_as_json_is_one_document(cli: Cli, fake: type[FakeClient]) -> None:
    document = json.loads(cli("runs", "--json").out)
    assert [run["run_id"] for run in document["runs"]] == ["r1"]


def test_show_tells_people_everything(cli: Cli, fake: type[FakeClient]) -> None:
    done = cli("show", "r1")
    for part in (
        "9 accepted (1 skipped), 2 refused, 3 duplicate",
        "5 × 0, 4 × 1",
        "w1",
        "w2",
        "outer loss",
        "4.0 s",
    ):
        assert part in done.out


def test_show_as_json(cli: Cli, fake: type[FakeClient]) -> None:
    run = json.loads(cli("show", "r1", "--json").out)
    assert run["commits"] == {"accepted": 9, "refused": 2, "skipped": 1, "duplicate": 3, "residuals_lost": 0}
    assert run["staleness"] == {"0": 5, "1": 4}
    assert run["config"]["work"]["problem"] == "lab.problems:Ridge"
    assert run["workers"][0]["seconds"] == {"compute": 4.0, "wait": 2.0, "communication": 1.0}
    assert run["created_at"].startswith("2023-11-14T22:13:20")


def test_show_says_that_residuals_were_lost(cli: Cli, fake: type[FakeClient]) -> None:
    assert "declared lost" not in cli("show", "r1").out
    fake.runs["r1"] = run_view("r1", residuals_lost=2)
    assert "2 declared lost by workers that came back without state" in cli("show", "r1").out
    assert json.loads(cli("show", "r1", "--json").out)["commits"]["residuals_lost"] == 2


def test_show_without_workers(cli: Cli, fake: type[FakeClient]) -> None:
    client = fake("h:1")
    client.create_run(fake.runs["r1"].config, b"", run_id="new")
    assert "worker " not in cli("show", "new").out


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Replaces following a run: versions 5 and 6 are published, then it ends."""
    calls: list[dict[str, object]] = []

    def follow(
        client: FakeClient, run_id: str, *, on_version: Callable[[VersionRecord], object], **options: object
    ) -> str:
        calls.append({"run_id": run_id, **options})
        for version in (5, 6):
            on_version(version_record(version))
        return "finished"

    monkeypatch.setattr("chronos_common.cli.following.follow", follow)
    return calls


def test_watch_follows_and_says_how_it_ended(
    cli: Cli, fake: type[FakeClient], followed: list[dict[str, object]]
) -> None:
    done = cli("watch", "r1", "--after", "4")
    assert done.out == "run r1 has finished\n"
    assert followed == [{"run_id": "r1", "after_version": 4}]
    assert fake.addresses == ["127.0.0.1:50551"]


def test_watch_as_json_is_an_object_a_line(
    cli: Cli, fake: type[FakeClient], followed: list[dict[str, object]]
) -> None:
    done = cli("watch", "r1", "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["version"] for line in lines] == [5, 6]
    assert lines[0]["commits"][0]["staleness"] == 1
    assert done.err == ""


def test_stop(cli: Cli, fake: type[FakeClient]) -> None:
    assert "stopped at version 4 (too slow)" in cli("stop", "r1", "--reason", "too slow").out
    assert json.loads(cli("stop", "r1", "--json").out)["status"] == "stopped"


def test_verify_says_clean_or_not(cli: Cli, fake: type[FakeClient]) -> None:
    done = cli("verify", "r1")
    whole = "run r1 is clean: replayed 4 versions from 14 journal entries, beginning at the first"
    assert (done.code, done.out) == (0, whole + "\n")
    fake.report = VerifyReport(clean=True, versions=4, entries=14, snapshots=2)
    assert cli("verify", "r1").out == whole + "; 2 snapshots agree\n"
    done = cli("verify", "r1", "--from-snapshot")
    assert "beginning at the snapshot at entry 9 (version 3); what led to it was not proved" in done.out
    assert json.loads(cli("verify", "r1", "--json").out)["snapshots"] == 2
    fake.report = VerifyReport(clean=False, versions=2, entries=7, problem="version 3: digest differs")
    done = cli("verify", "r1")
    assert done.code == 1
    assert "NOT CLEAN" in done.out
    assert "version 3: digest differs" in done.out
    done = cli("verify", "r1", "--json")
    assert done.code == 1
    assert json.loads(done.out)["clean"] is False


@pytest.mark.parametrize("by", ["option", "environment", "file"])
def test_the_coordinator_is_found(
    cli: Cli, fake: type[FakeClient], by: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arguments = ["runs"]
    if by == "option":
        monkeypatch.setenv("CHRONOS_CLI__COORDINATOR", "other:1")
        arguments += ["--coordinator", "lab:7"]
    elif by == "environment":
        monkeypatch.setenv("CHRONOS_CLI__COORDINATOR", "lab:7")
    else:
        file = tmp_path / "chronos.toml"
        file.write_text('[cli]\ncoordinator = "lab:7"\n')
        monkeypatch.setenv("CHRONOS_CONFIG", str(file))
    assert cli(*arguments).code == 0
    assert fake.addresses == ["lab:7"]
