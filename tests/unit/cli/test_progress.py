"""Progress on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from chronos_common.cli.progress import PLAIN_INTERVAL_SECONDS, RunProgress, mean_staleness
from tests.support.fake_client import version_record


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def plain() -> Console:
    return Console(file=io.StringIO(), width=200)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_elsewhere_a_line_comes_now_and_then_and_at_the_end(clock: Clock) -> None:
    console = plain()
    with RunProgress(console, clock=clock) as progress:
        progress.step("ridge", total=40)
        for version in range(1, 41):
            clock.now += PLAIN_INTERVAL_SECONDS / 10
            progress.record(version_record(version, loss=1.0 / version))
    lines = written(console).splitlines()
    assert lines[0] == "ridge"
    assert lines[1] == "ridge: round 1/40  outer loss 1  staleness 1.0"
    assert lines[2] == "ridge: round 11/40  outer loss 0.09091  staleness 1.0  ETA 14 s"
    assert lines[-1] == "ridge: round 40/40  outer loss 0.025  staleness 1.0"
    assert len(lines) == 6


def test_without_a_goal_there_is_no_eta(clock: Clock) -> None:
    console = plain()
    with RunProgress(console, clock=clock) as progress:
        progress.step("ridge")
        clock.now = 60.0
        progress.version(7, None)
    assert written(console).splitlines() == ["ridge", "ridge: round 7"]


def test_eta_counts_from_where_this_command_began(clock: Clock) -> None:
    console = plain()
    with RunProgress(console, clock=clock) as progress:
        progress.step("ridge", total=100, start=90)
        for version in range(91, 96):
            clock.now += 2.0
            progress.version(version, 1.0)
    assert "round 91/100  outer loss 1\n" in written(console)
    assert "ETA 12 s" in written(console)


def test_eta_counts_neither_the_start_nor_what_is_long_ago(clock: Clock) -> None:
    console = plain()
    with RunProgress(console, clock=clock) as progress:
        progress.step("ridge", total=200)
        clock.now = 500.0  # the workers start
        for version in range(1, 101):
            clock.now += 10.0 if version < 50 else 0.1
            progress.version(version, None)
        assert "round 4/200  ETA 1960 s" in written(console)
        clock.now += 6.0
        progress.version(101, None)
    assert written(console).splitlines()[-1] == "ridge: round 101/200  ETA 39 s"


def test_quiet_writes_nothing(clock: Clock) -> None:
    console = plain()
    with RunProgress(console, quiet=True, clock=clock) as progress:
        progress.step("ridge", total=1)
        progress.version(1, 0.5)
    assert written(console) == ""


def test_a_terminal_gets_a_bar_for_each_step() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with RunProgress(console) as progress:
        progress.step("first", total=2)
        progress.version(1, 0.5, 0.0)
        progress.step("second")
    text = written(console)
    assert "first" in text
    assert "second" in text
    assert "round 1/2" in text


def test_a_terminal_is_left_alone_after_an_error() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    progress = RunProgress(console)
    progress.__enter__()
    progress.step("first", total=2)
    progress.__exit__(RuntimeError, RuntimeError(), None)
    assert "✓" not in written(console)


def test_mean_staleness() -> None:
    assert mean_staleness(version_record(1, staleness=2).commits) == 2.0
    assert mean_staleness(()) is None
