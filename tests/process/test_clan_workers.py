"""Clans of real processes on a coordinator: kills and stops of members in mid-round, and of the coordinator."""

from __future__ import annotations

import itertools
import signal
import time
from pathlib import Path

import pytest

from tests.support.clan_member import Orders
from tests.support.clients import BUDGET, FLEET
from tests.support.coordinator_process import coordinator_process
from tests.support.peer_members import MemberProcess, longest_pause, members
from tests.support.polling import poll

pytestmark = [pytest.mark.process, pytest.mark.slow]

CONTINUES_WITHIN_SECONDS = 1.0
MARGIN_SECONDS = 1.5
"""What a busy machine may add."""


def further(member: MemberProcess, steps: int) -> None:
    """It goes on for so many steps."""
    wanted = len(member.steps) + steps
    poll(lambda: len(member.steps) >= wanted, f"{steps} steps of {member.orders.name}", timeout_seconds=60)


def in_company(member: MemberProcess, living: int) -> float:
    """When its clan has so many members, as of its last step."""
    poll(lambda: member.steps[-1]["living"] == living, f"a clan of {living}", timeout_seconds=60.0)
    return time.time()


def lost_steps(member: MemberProcess) -> int:
    """Steps that it did again, or never did."""
    steps = [line["step"] for line in member.steps]
    return sum(abs(after - before - 1) for before, after in itertools.pairwise(steps))


def test_training_goes_on_through_kills_and_stops(tmp_path: Path) -> None:
    with coordinator_process(tmp_path / "store") as coordinator, members() as clan:

        def start(name: str) -> MemberProcess:
            return clan.start(Orders(name=name, address=coordinator.address, pause=0.02, round_length=25))

        everyone = {name: start(name) for name in "abcd"}
        first, second, doomed, sleeper = everyone.values()
        poll(
            lambda: first.steps and first.steps[-1]["phase"] == "cooperative",
            "the end of the fan-out",
            timeout_seconds=60.0,
        )
        further(first, 3)

        doomed.signal(signal.SIGKILL)
        killed = time.time()
        in_company(first, 3)
        further(first, 3)
        assert longest_pause(first, killed) < CONTINUES_WITHIN_SECONDS + MARGIN_SECONDS
        assert lost_steps(first) + lost_steps(second) == 0

        newcomer = start("e")
        in_company(first, 4)
        further(newcomer, 30)
        assert newcomer.steps[0]["round"] > 0
        assert lost_steps(newcomer) + lost_steps(first) == 0

        coordinator.kill()
        further(first, 1)
        coordinator.start()
        back = time.time()
        further(first, 30)
        soon = CONTINUES_WITHIN_SECONDS + BUDGET.reconnect_max_seconds + MARGIN_SECONDS
        assert min(line["at"] for line in first.steps if line["at"] > back) - back < soon
        assert first.steps[-1]["living"] == 4

        sleeper.signal(signal.SIGSTOP)
        stopped = time.time()
        in_company(first, 3)
        silent = FLEET.timeout_seconds + CONTINUES_WITHIN_SECONDS + MARGIN_SECONDS
        assert longest_pause(first, stopped) < silent
        sleeper.signal(signal.SIGCONT)
        in_company(first, 4)
        further(sleeper, 30)
        assert sleeper.steps[-1]["round"] >= first.steps[-1]["round"] - 1
        assert lost_steps(first) == 0
