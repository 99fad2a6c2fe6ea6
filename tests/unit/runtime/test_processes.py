"""Children announce themselves, are stopped in time, show their last lines, and never outlive their parent."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chronos_common.errors import ProcessError
from chronos_common.runtime import ManagedProcess, ProcessGroup, announce
from tests.support.polling import poll

pytestmark = pytest.mark.process

READY = "from chronos_common.runtime.processes import announce; announce(address='127.0.0.1:1')\n"
SLEEP = "import time\nwhile True: time.sleep(60)\n"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


def child(source: str, **options: object) -> ManagedProcess:
    return ManagedProcess([sys.executable, "-c", source], name="child", **options)  # type: ignore[arg-type]


def numbers(pids: list[int]) -> Callable[[str], None]:
    def note(line: str) -> None:
        if line.isdigit():
            pids.append(int(line))

    return note


def farewell(name: str, ended: list[str]) -> Callable[[str], None]:
    def note(line: str) -> None:
        if line == "bye":
            ended.append(name)

    return note


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def test_readiness_carries_facts(capsys: pytest.CaptureFixture[str]) -> None:
    with child("print('hello'); print('{not json'); print('[1]')\n" + READY + SLEEP) as process:
        assert process.wait_ready(30) == {"event": "listening", "address": "127.0.0.1:1"}
        assert process.wait_ready(30)["address"] == "127.0.0.1:1"
        process.check_running()
        pid = process.pid
    assert process.wait(1) == -signal.SIGTERM
    assert gone(pid)
    announce("ready", port=3)
    assert json.loads(capsys.readouterr().out) == {"event": "ready", "port": 3}


def test_a_child_that_ends_early_shows_its_last_lines() -> None:
    process = child("import sys; print('about to fail', file=sys.stderr); sys.exit(7)").start()
    with pytest.raises(ProcessError, match=r"(?s)exit code 7.*about to fail"):
        process.wait_ready(30)
    with pytest.raises(ProcessError, match="ended with exit code 7"):
        process.check_running()


def test_a_silent_child_is_given_up_in_time() -> None:
    with child(SLEEP) as process:
        with pytest.raises(ProcessError, match=r"did not become ready within 0.2 s"):
            process.wait_ready(0.2)
        with pytest.raises(ProcessError, match="still running"):
            process.wait(0.05)


def test_a_child_that_ignores_sigterm_is_killed() -> None:
    with child(DEAF + READY + SLEEP) as process:
        process.wait_ready(30)
        assert process.stop(0.2) == -signal.SIGKILL


def test_a_stopped_child_can_be_stopped() -> None:
    with child(READY + SLEEP) as process:
        process.wait_ready(30)
        process.send_signal(signal.SIGSTOP)
        assert process.stop(10) == -signal.SIGTERM


def test_grandchildren_end_with_the_child() -> None:
    spawn = f"p = subprocess.Popen([sys.executable, '-c', {SLEEP!r}])"
    source = f"import subprocess, sys\n{spawn}\nprint(p.pid, flush=True)\n"
    pids: list[int] = []
    with child(source + READY + SLEEP, on_line=numbers(pids)) as process:
        process.wait_ready(30)
    poll(lambda: gone(pids[0]), "the end of the orphan")


def test_no_child_outlives_its_parent() -> None:
    parent = (
        "import os, sys\nfrom chronos_common.runtime import ManagedProcess\n"
        f"c = ManagedProcess([sys.executable, '-c', {READY + SLEEP!r}], name='c').start(); c.wait_ready(30)\n"
        "print(c.pid, flush=True)\n"
    )
    pids: list[int] = []
    process = child(parent + READY + SLEEP, on_line=numbers(pids)).start()
    process.wait_ready(60)
    assert not gone(pids[0])
    os.kill(process.pid, signal.SIGKILL)  # the parent alone, not its group
    process.wait(30)
    poll(lambda: gone(pids[0]), "the end of the orphan")


def test_lines_go_to_the_log_file_and_a_child_can_be_started_again(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    process = child("print('line')", log_file=log)
    with pytest.raises(ProcessError, match="not been started"):
        _ = process.pid
    assert process.start().wait(30) == 0
    assert process.start().wait(30) == 0
    assert log.read_text() == "line\nline\n"
    assert process.tail == "line\nline"
    process.send_signal(signal.SIGTERM)  # nobody there: nothing happens


def test_a_child_is_started_once_at_a_time() -> None:
    with child(SLEEP) as process, pytest.raises(ProcessError, match="running already"):
        process.start()


def test_a_directory_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ProcessError, match="cannot be started"):
        child(SLEEP, cwd="/nonexistent").start()


def test_a_group_stops_the_youngest_first_and_reports_failures() -> None:
    ended: list[str] = []
    report = (
        "import signal, sys\ndef leave(*_):\n    print('bye', flush=True)\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, leave)\n"
    )
    with ProcessGroup(stop_seconds=10) as group:
        for name in ("first", "second"):
            member = group.add(
                child(
                    report + READY + SLEEP,
                    on_line=farewell(name, ended),
                )
            )
            member.wait_ready(30)
        group.check()
        assert len(group.children) == 2
        failed = group.add(child("import sys; sys.exit(1)"))
        failed.wait(30)
        with pytest.raises(ProcessError, match="exit code 1"):
            group.check()
    assert ended == ["second", "first"]
    assert group.children == ()
