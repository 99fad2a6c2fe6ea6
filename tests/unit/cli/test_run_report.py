"""`run --report`: the files of any run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from chronos_common.cli import report_files
from chronos_common.cli.paces import Loop, Prediction
from chronos_common.cli.run_report import RunRecorder, RunReport
from tests.support.fake_client import Cli, run_view, version_record, worker_view


def test_both_files_say_what_was_predicted_and_what_happened(tmp_path: Path) -> None:
    loops = tuple(
        Loop(worker_id=f"w{worker}", version=version, actual=version / 8, p50=0.25, p95=0.5)
        for worker in range(6)
        for version in range(1, 9)
    )
    report = RunReport(
        view=run_view(), seconds=2.0, records=[version_record(1)], prediction=Prediction(loops=loops)
    )
    content, figure = report.write(tmp_path / "out")
    found = json.loads(content.read_text())
    assert found == report.to_json()
    assert found["prediction"]["coverage"] == pytest.approx(0.5)
    assert (found["problem"], found["versions"]) == ("lab.problems:Ridge", 4)
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_a_run_of_which_nothing_was_seen_has_a_report_too(tmp_path: Path) -> None:
    report = RunRecorder().report(run_view(workers=()))
    _, figure = report.write(tmp_path)
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_a_recorder_keeps_versions_and_paces() -> None:
    times = iter((10.0, 13.5))
    recorder = RunRecorder(clock=lambda: next(times))
    recorder.record(version_record(1))
    recorder.look(run_view(workers=(replace(worker_view("w1"), accepted=0),)))
    timed = replace(worker_view("w1"), accepted=1, actual_seconds=2.0, predicted_seconds=1.0)
    report = recorder.report(run_view(workers=(timed,)))
    assert report.seconds == 3.5
    assert report.losses() == [(1, 0.5)]
    assert [loop.actual for loop in report.prediction.loops] == [2.0]


def test_the_extra_is_named_before_anything_starts(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_files, "find_spec", lambda _: None)
    done = cli("run", "lab.problems:Ridge", "--report", "out")
    assert done.code == 2
    assert "matplotlib: pip install 'chronos-nested[demo]'" in " ".join(done.err.split())


@pytest.mark.parametrize("other", [("--dry-run",), ("--detach", "--coordinator", "lab:7")])
def test_a_report_needs_a_run_that_is_followed(cli: Cli, tmp_path: Path, other: tuple[str, ...]) -> None:
    done = cli("run", "lab.problems:Ridge", "--report", str(tmp_path), *other)
    assert done.code == 2
    assert "followed to its end" in " ".join(done.err.split())
