"""Following a run, with a coordinator that is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Self

import pytest

from chronos_common.cli import following
from chronos_common.cli.following import follow
from chronos_common.engine import RunView
from chronos_common.errors import ProcessError, UnavailableError
from chronos_common.wire import WatchUpdate
from tests.support.fake_client import run_view, version_record


class Watched:
    """A client that publishes two versions, then ends, or hangs."""

    hangs = False

    def __init__(self) -> None:
        self.ended = 0

    @property
    def asynchronous(self) -> Self:
        return self

    def run(self, work: Coroutine[Any, Any, str]) -> str:
        return asyncio.run(work)

    async def watch_run(
        self, run_id: str, *, after_version: int, give_up_seconds: float
    ) -> AsyncIterator[WatchUpdate]:
        try:
            for version in (after_version + 1, after_version + 2):
                yield WatchUpdate(record=version_record(version), status="active")
            if self.hangs:
                await asyncio.Event().wait()
            yield WatchUpdate(record=None, status="finished")
        finally:
            self.ended += 1


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(following, "HEALTH_SECONDS", 0.005)
    return Watched()


def test_versions_come_in_order_and_the_status_at_the_end(watched: Any) -> None:
    versions: list[int] = []
    status = follow(watched, "r1", on_version=lambda r: versions.append(r.version), after_version=4)
    assert (versions, status, watched.ended) == ([5, 6], "finished", 1)


def test_what_the_check_raises_ends_the_wait(watched: Any) -> None:
    watched.hangs = True
    versions: list[int] = []

    def check() -> None:
        if len(versions) == 2:
            raise ProcessError("worker 1 has ended")

    with pytest.raises(ProcessError, match="worker 1"):
        follow(watched, "r1", on_version=lambda r: versions.append(r.version), check=check)
    assert watched.ended == 1


def test_a_run_that_stalls_is_said(watched: Any) -> None:
    watched.hangs = True
    with pytest.raises(UnavailableError, match=r"no version within 0\.05 s"):
        follow(watched, "r1", on_version=lambda _: None, stall_seconds=0.05)


def test_what_a_callback_raises_comes_out(watched: Any) -> None:
    def broken(_: object) -> None:
        raise OSError("the pipe is closed")

    with pytest.raises(OSError, match="pipe"):
        follow(watched, "r1", on_version=broken)


def test_the_run_is_looked_at_unless_the_last_look_knew_the_version(watched: Any) -> None:
    looks: list[int] = []

    async def get_run(_: str) -> RunView:
        return run_view(version=6)

    watched.get_run = get_run
    follow(
        watched, "r1", on_version=lambda _: None, on_view=lambda v: looks.append(v.version), after_version=4
    )
    assert looks == [6]


def test_a_look_that_finds_nobody_ends_nothing(watched: Any) -> None:
    async def get_run(_: str) -> RunView:
        raise UnavailableError("the coordinator is away")

    watched.get_run = get_run
    assert follow(watched, "r1", on_version=lambda _: None, on_view=lambda _: None) == "finished"
