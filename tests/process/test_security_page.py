"""The walk through docs/security.md, run as it stands: and one commit's log lines join up on both sides."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chronos_common.runtime import child_environment
from tests.support.coordinator_process import free_port

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "security.md"
STOP = "\nkill $(jobs -p)\nwait\n"


def commands() -> str:
    blocks: list[str] = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return "".join(blocks)


def lines_of(log: Path, event: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [record for record in records if record["event"] == event]


def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    script = commands().replace("50551", str(free_port()))
    assert script.count("openssl") > 4
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = child_environment(
        threads=1, PATH=path, PYTHONPATH=str(tmp_path), CHRONOS_LOGGING__LEVEL="debug"
    )
    shell = subprocess.Popen(
        ["bash", "-c", "set -euo pipefail\n" + script + STOP],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = shell.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        os.killpg(shell.pid, signal.SIGKILL)
        said, _ = shell.communicate()
        raise AssertionError(said) from None
    finally:
        if shell.poll() is None:
            os.killpg(shell.pid, signal.SIGKILL)
    assert shell.returncode == 0, said
    assert "run secured is clean" in said
    assert_one_trace_for_each_commit(tmp_path / "worker.log", tmp_path / "coordinator.log")
    secrets = [(tmp_path / "secrets" / f"{role}.token").read_text().strip() for role in ("admin", "worker")]
    for log in ("worker.log", "coordinator.log"):
        assert not any(secret in (tmp_path / log).read_text() for secret in secrets)


def assert_one_trace_for_each_commit(worker: Path, coordinator: Path) -> None:
    sent = {line["seq"]: line["trace_id"] for line in lines_of(worker, "committed")}
    durable = {line["seq"]: line["trace_id"] for line in lines_of(coordinator, "commit durable")}
    assert len(sent) >= 3
    assert {seq: durable[seq] for seq in sent} == sent
    assert len(set(sent.values())) == len(sent)
    computed = {line["trace_id"] for line in lines_of(worker, "computed")}
    assert set(sent.values()) <= computed
