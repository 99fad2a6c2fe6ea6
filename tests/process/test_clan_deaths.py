"""A clan of real processes that loses one member after the other, each where it hurts."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.process.test_clan_workers import (
    CONTINUES_WITHIN_SECONDS,
    MARGIN_SECONDS,
    further,
    in_company,
    lost_steps,
)
from tests.support.clan_member import Orders
from tests.support.coordinator_process import coordinator_process
from tests.support.peer_members import MemberProcess, longest_pause, members
from tests.support.polling import poll

pytestmark = [pytest.mark.process, pytest.mark.slow]

ROUND = 12


def test_the_others_go_on_wherever_members_die(tmp_path: Path) -> None:
    """In the fan-out; the oldest, which keeps the group's store, between a selection's copies; two at once."""
    with coordinator_process(tmp_path / "store") as coordinator, members() as clan:

        def start(name: str, dies: str = "") -> MemberProcess:
            return clan.start(
                Orders(
                    name=name,
                    address=coordinator.address,
                    size=5,
                    round_length=ROUND,
                    pause=0.01,
                    dies=dies,
                )
            )

        oldest = start("a", "copies")
        poll(lambda: any("begun" in line for line in tuple(oldest.said)), "the oldest", timeout_seconds=60.0)
        early = start("b", "fan_out")
        doomed, last, also = (start(name) for name in "cde")
        poll(lambda: early.ended, "a death in the fan-out", timeout_seconds=60.0)
        poll(lambda: oldest.ended, "a death between copies", timeout_seconds=60.0)
        assert oldest.steps[0]["senior"]
        assert oldest.steps[-1]["phase"] == "cooperative"
        in_company(last, 3)
        further(last, 2 * ROUND)
        killed = time.time()
        for one in (doomed, also):
            one.signal(signal.SIGKILL)
        in_company(last, 1)
        further(last, 2 * ROUND)
        assert longest_pause(last, killed) < CONTINUES_WITHIN_SECONDS + MARGIN_SECONDS
        assert lost_steps(last) == 0
        decided = [line["ranking"] for line in tuple(last.said) if "decided" in line]
        assert len(decided[0]) == 4
        assert len(decided[-1]) == 1
