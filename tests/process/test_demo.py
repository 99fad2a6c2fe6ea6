"""The demo, end to end: real processes, few versions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chronos_common.cli.demo.arms import ARMS
from chronos_common.cli.offline import verify_offline
from chronos_common.store import open_store
from tests.process.test_cli_processes import User

pytestmark = pytest.mark.process


def test_the_demo_reports_what_its_processes_did(tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--seed", "10", "--workers", "2", "--versions", "6"]
    done = subprocess.run(
        [sys.executable, "-m", "chronos_common.cli", "demo", *options, "--out", str(out), "--json"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report == json.loads((out / "report.json").read_text())
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")
    assert list(report["accuracy"]) == list(ARMS)
    assert report["accuracy"]["control"] == report["accuracy"]["uniform"]
    assert report["versions"] == 6
    assert sum(report["staleness"].values()) == report["commits"]["accepted"] >= 6
    assert report["bytes"]["sent"] > 0 < report["bytes"]["received"]
    assert report["seconds"]["compute"] > 0
    assert report["kills"] == {"coordinator": 0, "worker": 0}

    store = open_store(out / "data", read_only=True)
    ids = [record.run_id for record in store.runs()]
    store.close()
    assert sorted(run_id.partition("-")[0] for run_id in ids) == ["chronos", "control"]
    assert all(verify_offline(str(out / "data"), run_id).clean for run_id in ids)


def test_interrupting_the_demo_leaves_no_process_behind(tmp_path: Path) -> None:
    user = User(tmp_path)
    process = user.start("demo", "--seed", "10", "--workers", "1", "--out", "out")
    assert process.stderr is not None
    assert any(line.startswith("chronos: round") for line in iter(process.stderr.readline, ""))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    left = user.processes()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []
