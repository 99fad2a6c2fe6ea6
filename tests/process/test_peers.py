"""Peer groups of real processes: kills and stops of members, of rank 0, of the coordinator."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
import torch.distributed as dist

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
    """All ended in the same state, bit for bit, and the model has learnt."""
    last = [member.finished() for member in finished]
    assert len({tuple(line["digest"]) for line in last}) == 1
    for member in finished:
        assert [line["step"] for line in member.steps][-1] == member.orders.steps
        assert member.release() == 0


def require_loss_of_one_step_at_most(member: MemberProcess) -> None:
    """It never went back, and did every step itself."""
    assert all(line["done"] == 1 for line in member.steps)
    steps = [line["step"] for line in member.steps]
    assert steps == list(range(steps[0], steps[-1] + 1))


def out_of_the_group(member: MemberProcess, name: str) -> float | None:
    """When a member first said that another was gone from its epoch."""
    return next((line["at"] for line in member.steps if name not in line["members"]), None)


def test_training_goes_on_without_the_dead_and_the_stopped_and_takes_joiners_in() -> None:
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]

    def orders(name: str) -> Orders:
        return Orders(name=name, port=store.port, first=4, steps=250, pause=0.03)

    with members() as group:
        everyone = {name: group.start(orders(name)) for name in "abcd"}
        everyone["a"].reach(10)
        # Rank 0 has the store of the epoch: the worst member to lose.
        senior = everyone["a"].steps[-1]["members"][0]
        dead = everyone.pop(senior)
        dead.signal(signal.SIGKILL)
        killed = time.time()
        first, stopped = list(everyone.values())[:2]
        poll(lambda: out_of_the_group(first, senior), "an epoch without the dead")
        first.reach(first.step + 5)
        for member in everyone.values():
            pause = longest_pause(member, killed)
            assert pause < CONTINUES_WITHIN_SECONDS + MARGIN_SECONDS
            require_loss_of_one_step_at_most(member)

        stopped.signal(signal.SIGSTOP)
        name = stopped.orders.name
        began = time.time()
        gone = poll(lambda: out_of_the_group(first, name), "an epoch without the stopped")
        assert gone - began < stopped.orders.timeout_seconds + CONTINUES_WITHIN_SECONDS + MARGIN_SECONDS
        require_loss_of_one_step_at_most(first)
        stopped.signal(signal.SIGCONT)
        joiner = group.start(orders(senior))
        poll(
            lambda: {name, senior} <= set(first.steps[-1]["members"]),
            "both of them back as joiners",
            timeout_seconds=30.0,
        )
        assert joiner.said[0]["step"] > 10  # it began where the others were
        require_loss_of_one_step_at_most(first)  # joiners disturb nobody
        agree([*everyone.values(), joiner])


def test_a_coordinator_keeps_a_group_and_may_die_itself(tmp_path: Path) -> None:
    with coordinator_process(tmp_path / "store") as coordinator, members() as group:

        def orders(name: str) -> Orders:
            return Orders(
                name=name,
                port=coordinator.port,
                keeper="coordinator",
                steps=150,
                pause=0.03,
                budget_seconds=5.0,
            )

        everyone = {name: group.start(orders(name)) for name in "abc"}
        a, b, c = everyone.values()
        a.reach(5)
        epoch = a.steps[-1]["epoch"]
        coordinator.kill()
        a.reach(a.step + 10)  # collectives need no coordinator
        coordinator.start()
        a.reach(a.step + 10)
        assert a.steps[-1]["epoch"] == epoch  # nobody was lost, nobody is disturbed
        c.signal(signal.SIGKILL)
        killed = time.time()
        poll(lambda: out_of_the_group(a, "c"), "an epoch without the dead")
        a.reach(a.step + 5)
        assert longest_pause(a, killed) < CONTINUES_WITHIN_SECONDS + MARGIN_SECONDS
        assert a.steps[-1]["epoch"] > epoch
        b.signal(signal.SIGSTOP)
        stopped = time.time()
        gone = poll(lambda: out_of_the_group(a, "b"), "an epoch without the stopped")
        assert gone - stopped < FLEET.timeout_seconds + CONTINUES_WITHIN_SECONDS + MARGIN_SECONDS
        b.signal(signal.SIGCONT)
        poll(lambda: "b" in a.steps[-1]["members"], "the stopped back as a joiner")
        agree([a, b])
        require_loss_of_one_step_at_most(a)
