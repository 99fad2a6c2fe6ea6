"""The ledger: leases of samples, and what becomes of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from chronos_common.data.events import DataEvent, Dealt, Joined, Left, Rewound, from_parts, to_parts
from chronos_common.data.ledger import Due, Ledger, fold, remaining
from chronos_common.errors import (
    CorruptStateError,
    EpochNotOverError,
    InvalidRequestError,
    ShareLostError,
    WorkerNotMemberError,
)

STEPS = [np.arange(first, first + 6) for first in range(0, 24, 6)]


def dealt(ledger: Ledger, due: Due) -> Dealt:
    """Everybody gets every W-th sample."""
    indices = STEPS[due.step] if due.indices is None else due.indices
    workers = ledger.members
    shares = [indices[position :: len(workers)] for position in range(len(workers))]
    sizes = np.array([float(len(share)) for share in shares])
    return Dealt(
        turn=ledger.next_turn,
        epoch=due.epoch,
        step=due.step,
        part=due.part,
        workers=workers,
        indices=np.concatenate(shares),
        offsets=np.concatenate([[0], np.cumsum([len(share) for share in shares])]),
        costs=2 * sizes,
        sizes=sizes,
    )


def deal_all(ledger: Ledger) -> None:
    while due := ledger.due():
        ledger.apply(dealt(ledger, due[0]))


def make(*workers: str, lookahead: int = 2, quorum: int = 1) -> Ledger:
    ledger = Ledger(steps=len(STEPS), lookahead=lookahead, quorum=quorum)
    return fold(ledger, [Joined(worker=worker, incarnation=1) for worker in workers])


def finish(ledger: Ledger, worker: str, turn: int) -> bool:
    event = ledger.decide_finish(worker, turn, 0.5)
    if event is not None:
        ledger.apply(event)
    return event is not None


def finish_all(ledger: Ledger) -> list[int]:
    """Everybody works until nothing is left; the samples in the order in which they were finished."""
    done: list[int] = []
    deal_all(ledger)
    while not ledger.over:
        for worker in ledger.members:
            for share in ledger.shares(worker)[:1]:
                assert finish(ledger, worker, share.turn)
                done += share.indices.tolist()
        deal_all(ledger)
    return done


def test_steps_are_dealt_as_far_ahead_as_allowed_and_no_further() -> None:
    ledger = make("a", "b", lookahead=2)
    deal_all(ledger)
    assert [share.step for share in ledger.shares("a")] == [0, 1]
    assert finish(ledger, "a", 1)
    assert ledger.due() == []
    assert finish(ledger, "b", 1)
    deal_all(ledger)
    assert [share.step for share in ledger.shares("b")] == [1, 2]
    assert [share.step for share in ledger.shares("b", after=2)] == [2]


def test_a_share_says_what_gradients_are_weighted_by() -> None:
    ledger = make("a", "b", "c", "d")
    deal_all(ledger)
    share = ledger.shares("d")[0]
    assert (share.total_count, share.total_size, share.workers) == (6, 6.0, 4)
    assert (len(share.indices), share.size, share.cost) == (1, 1.0, 2.0)


def test_the_first_step_waits_for_the_quorum_and_no_later_one_does() -> None:
    ledger = make("a", quorum=2)
    assert ledger.due() == []
    ledger.apply(Joined(worker="b", incarnation=1))
    deal_all(ledger)
    ledger.apply(Left(worker="b"))
    assert sorted(finish_all(ledger)) == list(range(24))


def test_what_the_dead_held_goes_to_the_living_as_another_part_of_its_step() -> None:
    ledger = make("a", "b", "c")
    deal_all(ledger)
    held = {share.step: share.indices.tolist() for share in ledger.shares("b")}
    finish(ledger, "b", 1)
    ledger.apply(Left(worker="b"))
    assert ledger.returned_samples == 2
    finish(ledger, "a", 1)
    finish(ledger, "c", 1)
    deal_all(ledger)
    (part,) = [share for share in ledger.shares("a") if share.part]
    other = next(share for share in ledger.shares("c") if share.turn == part.turn)
    assert (part.step, part.part, part.total_count) == (1, 1, 2)
    assert sorted([*part.indices, *other.indices]) == sorted(held[1])


def test_a_share_that_comes_back_twice_is_one_part() -> None:
    ledger = make("a", "b", "c", lookahead=5)
    deal_all(ledger)
    ledger.apply(Left(worker="b"))
    ledger.apply(Left(worker="c"))
    due = [(due.step, due.part, 0 if due.indices is None else len(due.indices)) for due in ledger.due()]
    assert due == [(step, 1, 4) for step in range(4)]


def test_a_joiner_works_from_the_next_turn_on() -> None:
    ledger = make("a")
    deal_all(ledger)
    ledger.apply(Joined(worker="b", incarnation=1))
    assert ledger.shares("b") == []
    finish(ledger, "a", 1)
    deal_all(ledger)
    assert [share.step for share in ledger.shares("b")] == [2]


def test_a_new_process_of_a_worker_does_not_inherit_its_shares() -> None:
    ledger = make("a")
    deal_all(ledger)
    ledger.apply(Joined(worker="a", incarnation=2))
    assert ledger.shares("a") == []
    with pytest.raises(ShareLostError, match="turn 1"):
        ledger.decide_finish("a", 1)
    assert sorted(finish_all(ledger)) == list(range(24))


def test_a_report_twice_counts_once() -> None:
    ledger = make("a")
    deal_all(ledger)
    assert finish(ledger, "a", 1)
    assert not finish(ledger, "a", 1)
    assert ledger.finished == 6


def test_a_report_of_a_stranger_or_of_no_share_is_refused() -> None:
    ledger = make("a")
    deal_all(ledger)
    with pytest.raises(WorkerNotMemberError, match="join again"):
        ledger.decide_finish("b", 1)
    for turn in (0, -1, 3):
        with pytest.raises(InvalidRequestError, match="turn"):
            ledger.decide_finish("a", turn)


def test_an_epoch_begins_when_the_one_before_is_over() -> None:
    ledger = make("a")
    assert ledger.decide_begin(0) is None
    with pytest.raises(EpochNotOverError, match="not over; ask for 0"):
        ledger.decide_begin(1)
    finish_all(ledger)
    with pytest.raises(EpochNotOverError, match="ask for 1"):
        ledger.decide_begin(2)
    event = ledger.decide_begin(1)
    assert event is not None
    ledger.apply(event)
    assert (ledger.epoch, ledger.over, ledger.finished) == (1, False, 0)
    assert sorted(finish_all(ledger)) == list(range(24))


def test_a_restored_ledger_goes_on_where_it_was() -> None:
    ledger = make("a", "b", "c")
    deal_all(ledger)
    finish(ledger, "b", 1)
    ledger.apply(Left(worker="c"))
    again = Ledger.restore(json.loads(json.dumps(ledger.state())), steps=len(STEPS), lookahead=2)
    assert again.state() == ledger.state()
    assert np.array_equal(remaining(again, STEPS), remaining(ledger, STEPS))
    assert sorted(finish_all(again)) == sorted(finish_all(ledger))


def test_going_back_to_a_checkpoint_repeats_what_came_after_it_and_nothing_else() -> None:
    ledger = make("a", "b")
    deal_all(ledger)
    finish(ledger, "a", 1)
    finish(ledger, "b", 1)
    deal_all(ledger)
    finish(ledger, "a", 2)
    checkpoint, left = json.dumps(ledger.state()), remaining(ledger, STEPS).tolist()
    finish(ledger, "b", 2)
    deal_all(ledger)
    finish(ledger, "a", 3)
    ledger.apply(Rewound(state=checkpoint))
    with pytest.raises(ShareLostError):
        ledger.decide_finish("b", 3)
    assert ledger.members == ("a", "b")
    assert sorted(finish_all(ledger)) == left


@pytest.mark.parametrize(
    "change",
    [
        {"turn": 7},
        {"epoch": 1},
        {"step": 2},
        {"workers": ("a",)},
        {"part": 1},
    ],
)
def test_an_event_that_cannot_follow_is_corruption(change: dict[str, object]) -> None:
    ledger = make("a", "b")
    event = dealt(ledger, ledger.due()[0])
    with pytest.raises(CorruptStateError, match="Dealt"):
        ledger.apply(Dealt(**{**vars(event), **change}))


@pytest.mark.parametrize("state", [{}, {"epoch": "x"}])
def test_a_damaged_state_is_refused(state: dict[str, object]) -> None:
    with pytest.raises(CorruptStateError, match="no state"):
        Ledger.restore(state, steps=4)


def test_a_state_of_a_longer_plan_is_refused() -> None:
    ledger = make("a")
    finish_all(ledger)
    with pytest.raises(CorruptStateError, match="another plan"):
        Ledger.restore(ledger.state(), steps=2)


def test_every_event_survives_the_journal() -> None:
    ledger = make("a", "b")
    events: list[DataEvent] = [
        Joined(worker="a", incarnation=3, rank=2, group=1),
        Left(worker="a"),
        dealt(ledger, ledger.due()[0]),
        Rewound(state="{}"),
    ]
    for event in events:
        again = from_parts(*to_parts(event))
        assert to_parts(again) == to_parts(event)
        assert type(again) is type(event)


@pytest.mark.parametrize("entry", [("nothing", "{}", None), ("left", "[]", None), ("dealt", "{", b"")])
def test_a_damaged_entry_is_refused(entry: tuple[str, str, bytes | None]) -> None:
    with pytest.raises(CorruptStateError, match="no event"):
        from_parts(*entry)
