"""The demo's report, and the command around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from chronos_common.cli.demo import command
from chronos_common.cli.demo import demo as demo_module
from chronos_common.cli.demo.arms import ARMS
from chronos_common.cli.demo.outcome import Curve, Outcome
from chronos_common.cli.demo.report import summary, write_report
from chronos_common.errors import ConfigurationError
from tests.support.fake_client import Cli, run_view

PNG = b"\x89PNG\r\n\x1a\n"


def outcome(**changes: Any) -> Outcome:
    rng = np.random.default_rng(0)
    clean = rng.random(800) < 0.5
    line = Curve(versions=[1, 2, 3], outer_loss=[1.0, 0.5, 0.2], test_accuracy=[0.8, 0.9, 0.94])
    fields: dict[str, Any] = {
        "noise": 0.5,
        "seed": 3,
        "workers": 2,
        "accuracy": {arm: 0.8 + 0.02 * i for i, arm in enumerate(ARMS)},
        "f1": 0.95,
        "weights": np.where(clean, 0.9, 0.1),
        "clean": clean,
        "curves": {"chronos": line, "single_node": line, "control": line},
        "run": run_view(version=120),
        "total_seconds": 12.5,
        "kills": {"coordinator": 0, "worker": 1},
    }
    return Outcome(**{**fields, **changes})


def test_the_report_holds_exactly_what_programs_expect() -> None:
    found = outcome()
    assert found.to_json() == {
        "problem": "hypercleaning",
        "seed": 3,
        "workers": 2,
        "noise": 0.5,
        "accuracy": {arm: 0.8 + 0.02 * i for i, arm in enumerate(ARMS)},
        "f1": 0.95,
        "versions": 120,
        "commits": {"accepted": 9, "refused": 2, "skipped": 1, "duplicate": 3, "residuals_lost": 0},
        "staleness": {"0": 5, "1": 4},
        "bytes": {
            "sent": 500,
            "received": 300,
            "dense_equivalent": 1000,
            "saved_fraction": pytest.approx(0.2),
        },
        "seconds": {"total": 12.5, "compute": 8.0, "wait": 4.0, "communication": 2.0},
        "kills": {"coordinator": 0, "worker": 1},
        "prediction": found.prediction.to_json(),
    }


@pytest.mark.parametrize(("dense", "fraction"), [(0, 0.0), (400, 0.0), (1600, 0.5)])
def test_the_saved_fraction_stays_a_fraction(dense: int, fraction: float) -> None:
    assert outcome(run=run_view(bytes_dense=dense)).to_json()["bytes"]["saved_fraction"] == fraction


def test_both_files_are_written(tmp_path: Path) -> None:
    found = outcome()
    json_path, figure_path = write_report(found, tmp_path / "deep" / "out")
    assert json.loads(json_path.read_text()) == found.to_json()
    content = figure_path.read_bytes()
    assert content.startswith(PNG)
    width, height = int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
    assert (width, height) == (1800, 1500)


def test_a_directory_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="--out"):
        write_report(outcome(), tmp_path / "file" / "out")


def test_the_summary_shows_every_arm_and_figure(capsys: pytest.CaptureFixture[str]) -> None:
    Console(width=100).print(summary(outcome(), [Path("a/report.json")]))
    text = capsys.readouterr().out
    for part in (
        *ARMS,
        "92.0%",
        "F1 0.950",
        "9 accepted",
        "5 × 0, 4 × 1",
        "12.5 s",
        "1 worker",
        "a/report.json",
        "0 declared lost",
    ):
        assert part in text
    assert "residuals_lost" not in text


def test_a_lost_residual_is_reported() -> None:
    found = outcome(run=run_view(residuals_lost=2), kills={"coordinator": 0, "worker": 0})
    assert found.to_json()["commits"]["residuals_lost"] == 2
    with (console := Console(width=100)).capture() as shown:
        console.print(summary(found))
    assert "2 declared lost by workers that came back without state" in shown.get()
    with console.capture() as shown:
        console.print(summary(outcome(kills={"coordinator": 0, "worker": 0})))
    assert "declared lost" not in shown.get()


@pytest.fixture
def demo_runs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replaces the demo by one that has happened already."""
    calls: list[Any] = []

    def run_demo(config: object, directory: Path, progress: object) -> Outcome:
        calls.append((config, directory))
        return outcome()

    monkeypatch.setattr(demo_module, "run_demo", run_demo)
    return calls


def test_the_command_passes_its_options_on(cli: Cli, demo_runs: list[Any], tmp_path: Path) -> None:
    out = str(tmp_path / "o")
    done = cli("demo", "--noise", "0.25", "--seed", "7", "--workers", "2", "--versions", "9", "--out", out)
    assert done.code == 0, done.err
    config, directory = demo_runs[0]
    assert (config.noise, config.seed, config.workers, config.versions) == (0.25, 7, 2, 9)
    assert directory == Path(out)
    assert "chronos_plus_validation" in done.out


def test_the_command_as_json_writes_the_report_and_nothing_else(
    cli: Cli, demo_runs: list[Any], tmp_path: Path
) -> None:
    done = cli("demo", "--quick", "--json", "--out", str(tmp_path))
    assert json.loads(done.out) == json.loads((tmp_path / "report.json").read_text())
    assert done.err == ""
    assert demo_runs[0][0].versions == command.QUICK_VERSIONS


def test_missing_packages_are_named_with_what_to_install(
    cli: Cli, demo_runs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "sklearn" else object())
    done = cli("demo")
    assert done.code == 2
    assert "sklearn: pip install 'chronos-nested[demo]'" in done.err
    assert not demo_runs
