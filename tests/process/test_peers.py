"""Peer groups of real processes: kills and stops of members, of rank 0, of the coordinator."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.support.clients import FLEET
from tests.support.coordinator_process import coordinator_process
from tests.support.peer_members import MemberProcess, longest_pause, members
from tests.support.peer_process import Orders
from tests.support.polling import poll

pytestmark = [pytest.mark.process, pytest.mark.slow]

CONTINUES_WITHIN_SECONDS = 1.0
MARGIN_SECONDS = 1.0
"""What a busy machine may add."""


def agree(finished: list[MemberProcess]) -> None:
    """All end in the same state, bit for bit."""
    end = max(member.step for member in finished) + 40
    for member in finished:
        member.stop_at(end)
    last = [member.finished() for member in finished]
    assert len({tuple(line["digest"]) for line in last}) == 1
    for member in finished:
        assert [line["step"] for line in member.steps][-1] == end
        assert member.release() == 0


def require_loss_of_one_step_at_most(member: MemberProcess) -> None:
    """It never went back, and did every step itself."""
    assert all(line["done"] == 1 for line in member.steps)
    steps = [line["step"] for line in member.steps]
    assert steps == list(range(steps[0], steps[-1] + 1))


def out_of_the_group(member: MemberProcess, name: str) -> float | None:
    """When a member first said that another was gone from its epoch."""
    return next((line["at"] for line in member.steps if name not in line["members"]), None)


def test_training_goes_on_through_the_loss_of_coordinator_and_members(tmp_path: Path) -> None:
    with coordinator_process(tmp_path / "store") as coordinator, members() as group:

        def orders(name: str) -> Orders:
            return Orders(
                name=name,
                port=coordinator.port,
                keeper="coordinator",
                first=4,
                pause=0.04,
                budget_seconds=5.0,
            )

        everyone = {name: group.start(orders(name)) for name in "abcd"}
        everyone["a"].reach(5)
        senior, *others = everyone["a"].steps[-1]["members"]
        first, second, stopped = (everyone[name] for name in others)
        epoch = first.steps[-1]["epoch"]

        coordinator.kill()
        first.reach(first.step + 10)  # collectives need no coordinator
        coordinator.start()
        first.reach(first.step + 10)
        assert first.steps[-1]["epoch"] == epoch  # nobody was lost, nobody is disturbed

        everyone[senior].signal(signal.SIGKILL)  # its process has the store of the epoch: the worst to lose
        killed = time.time()
        poll(lambda: out_of_the_group(first, senior), "an epoch without the dead")
        first.reach(first.step + 5)
        assert longest_pause(first, killed) < CONTINUES_WITHIN_SECONDS + MARGIN_SECONDS
        require_loss_of_one_step_at_most(first)

        name = stopped.orders.name
        stopped.signal(signal.SIGSTOP)
        began = time.time()
        gone = poll(lambda: out_of_the_group(first, name), "an epoch without the stopped")
        assert gone - began < FLEET.timeout_seconds + CONTINUES_WITHIN_SECONDS + MARGIN_SECONDS
        stopped.signal(signal.SIGCONT)
        poll(
            lambda: name in first.steps[-1]["members"],
            "the stopped back as a joiner",
            timeout_seconds=40.0,
        )
        require_loss_of_one_step_at_most(first)  # joiners disturb nobody
        agree([first, second, stopped])
