"""Elastic groups: every interleaving of joins, deaths and reports leaves a total order of epochs, and nobody waits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronos_common.errors import ConfigurationError, InvalidRequestError, PeerUnknownError
from chronos_common.fleet import Epoch, Group, GroupConfig, Peer, lost

GRACE = 0.5


def peer(name: str, instance: str = "1") -> Peer:
    return Peer(name=name, instance=instance, address="host:1")


A, B, C, D = peer("a"), peer("b"), peer("c"), peer("d")


def formed(*members: Peer, **config: int) -> Group:
    group = Group(config=GroupConfig(first_members=len(members), grace_seconds=GRACE, **config))
    for member in members:
        group = group.join(member, 0.0)
    assert group.epoch.members == members
    return enter(group, 0.0)


def enter(group: Group, now: float) -> Group:
    for member in group.epoch.members:
        group = group.arrive(member, now, group.epoch.number)
    return group


def test_the_first_epoch_waits_for_its_members() -> None:
    group = Group(config=GroupConfig(first_members=2)).join(A, 0.0).tick(100.0)
    assert group.epoch.number == 0
    group = group.join(B, 100.0)
    assert (group.epoch.number, group.epoch.members, group.forming) == (1, (A, B), None)


def test_a_reported_death_costs_no_more_than_the_grace() -> None:
    group = formed(A, B, C).report(A, 1, 10.0)
    group = group.arrive(C, 10.1)
    assert group.forming is not None
    assert group.deadline == 10.0 + GRACE
    assert group.tick(10.4).epoch.number == 1
    after = group.tick(10.0 + GRACE)
    assert after.epoch == Epoch(number=2, members=(A, C), since=2)
    with pytest.raises(PeerUnknownError, match="join again"):
        after.arrive(B, 11.0)
    assert lost(group.epoch, after.epoch)


def test_a_false_alarm_loses_nobody_and_waits_for_nobody() -> None:
    group = formed(A, B).report(B, 1, 10.0).arrive(A, 10.01)
    assert group.epoch == Epoch(number=2, members=(A, B), since=2)


def test_a_known_death_is_decided_as_soon_as_the_living_answer() -> None:
    group = formed(A, B, C).leave(B, 10.0).arrive(A, 10.0).arrive(C, 10.0)
    assert group.epoch.members == (A, C)


def test_a_report_of_an_old_epoch_disturbs_nobody() -> None:
    group = formed(A, B).report(A, 1, 1.0).arrive(B, 1.0)
    assert group.report(B, 1, 2.0) == group


def test_joiners_come_last_and_a_new_process_replaces_the_old_one() -> None:
    newer = peer("a", "2")
    group = formed(A, B).join(newer, 5.0).arrive(B, 5.0)
    assert group.epoch.members == (B, newer)
    with pytest.raises(PeerUnknownError):
        group.arrive(A, 6.0)


def test_an_epoch_grows_only_when_all_have_entered_it() -> None:
    group = formed(A, B).join(C, 1.0).arrive(A, 1.0).arrive(B, 1.0)
    assert group.epoch == Epoch(number=2, members=(A, B, C), since=1)  # who is in epoch 1 finishes its step
    entering = group.arrive(A, 2.0, 2).arrive(B, 2.0, 2).join(D, 2.0).arrive(A, 2.0).arrive(B, 2.0)
    assert entering.arrive(C, 2.0).epoch.number == 2
    assert entering.arrive(C, 2.0, 2).epoch == Epoch(number=3, members=(A, B, C, D), since=1)
    # One who is lost while entering ends the wait, and everybody's step.
    broken = entering.leave(C, 2.0)
    assert broken.epoch == Epoch(number=3, members=(A, B, D), since=3)


def test_a_report_in_the_middle_of_growth_is_not_forgotten() -> None:
    group = formed(A, B).join(C, 1.0).report(A, 1, 1.0).arrive(B, 1.0)
    assert group.epoch.number == 1  # who answered before may be the one who died
    assert group.arrive(C, 1.0).epoch == Epoch(number=2, members=(A, B, C), since=2)


def test_too_few_wait_for_a_joiner() -> None:
    group = formed(A, B, min_members=2).report(A, 1, 0.0).tick(GRACE)
    assert group.epoch.number == 1
    assert group.forming is not None
    assert group.deadline is None
    assert group.join(C, 50.0).epoch == Epoch(number=2, members=(A, C), since=2)


def test_a_group_that_forgot_everything_takes_up_what_its_members_know() -> None:
    known = Epoch(number=7, members=(A, B), since=5)
    restarted = Group(config=GroupConfig(), floor=100)
    group = restarted.join(B, 0.0, known).join(A, 0.0, known)
    assert (group.epoch, group.forming) == (known, None)
    grown = group.arrive(A, 1.0, 7).join(C, 1.0).arrive(A, 1.0, 7).arrive(B, 1.0, 7)
    assert grown.epoch == Epoch(number=101, members=(A, B, C), since=5)
    assert not lost(known, grown.epoch)
    # What was decided here is not undone by what somebody remembers.
    assert grown.join(A, 2.0, known) == grown


def test_a_newcomer_does_not_displace_those_who_come_back() -> None:
    known = Epoch(number=7, members=(A, B))
    waiting = Group(config=GroupConfig(first_members=2), floor=100).join(C, 0.0)
    group = waiting.join(B, 0.0, known).arrive(A, 0.1, 7)
    assert group.arrive(B, 0.1, 7).epoch == Epoch(number=101, members=(A, B, C))


@pytest.mark.parametrize(
    "changes",
    [{"first_members": 0}, {"min_members": 2}, {"grace_seconds": 0.0}, {"grace_seconds": float("nan")}],
)
def test_what_cannot_work_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        replace(GroupConfig(), **changes)


def test_names_are_checked() -> None:
    with pytest.raises(InvalidRequestError, match="name"):
        peer("")


NAMES = ("a", "b", "c", "d")
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["join", "join again", "die", "report", "arrive", "enter", "tick"]),
        st.sampled_from(NAMES),
        st.sampled_from([0.0, 0.1, GRACE]),
    ),
    max_size=40,
)


def happens(group: Group, event: str, member: Peer, now: float) -> Group:
    try:
        return {
            "join": lambda: group.join(member, now),
            "join again": lambda: group.join(member, now, group.epoch),
            "die": lambda: group.leave(member, now),
            "report": lambda: group.report(member, group.epoch.number, now),
            "arrive": lambda: group.arrive(member, now),
            "enter": lambda: group.arrive(member, now, group.epoch.number),
            "tick": lambda: group.tick(now),
        }[event]()
    except PeerUnknownError:
        assert member not in group.candidates
        return group


def require_sound(before: Group, group: Group, least: int) -> None:
    # Whoever may finish its step does so with everybody whom it began it with.
    orderly = group.epoch.since <= before.epoch.number
    assert not (orderly and before.epoch.number and lost(before.epoch, group.epoch))
    assert group.epoch.since in (before.epoch.since, group.epoch.number)
    # Only candidates, each once, as many as are needed, and nobody who has not answered.
    assert set(group.epoch.members) <= set(group.candidates)
    assert len({member.name for member in group.epoch.members}) == len(group.epoch.members) >= least


def require_progress_of_the_living(
    group: Group, instances: dict[str, int], now: float, heartbeats: bool
) -> None:
    # Whoever is silent from now on cannot hold up the living, who ask again when they were taken for dead.
    config = group.config
    living = [peer(name, str(instances[name])) for name in ("a", "b")]
    for _ in range(4):
        for member in living:
            group = happens(group, "join", member, now)
        for member in living:
            group = happens(group, "enter", member, now)
        reporters = [member for member in living if member in group.epoch.members]
        if heartbeats or not reporters:
            for member in set(group.candidates) - set(living):
                group = group.leave(member, now)
        elif set(group.epoch.members) - set(living):
            group = happens(group, "report", reporters[0], now)
            for member in living:
                group = happens(group, "arrive", member, now)
        now += GRACE
        group = group.tick(now)
    if len(group.candidates) >= (config.min_members if group.epoch.number else config.first_members):
        assert group.forming is None
        assert set(living) <= set(group.epoch.members) == set(group.candidates)
    else:
        assert set(living) <= set(group.candidates)


@settings(max_examples=300)
@given(
    events=EVENTS,
    first=st.integers(1, 3),
    least=st.integers(1, 3),
    floor=st.sampled_from([0, 50]),
    heartbeats=st.booleans(),
)
def test_any_history_orders_epochs_and_never_waits_for_the_dead(
    events: list[tuple[str, str, float]], first: int, least: int, floor: int, heartbeats: bool
) -> None:
    config = GroupConfig(first_members=max(first, least), min_members=least, grace_seconds=GRACE)
    group, now = Group(config=config, floor=floor), 0.0
    instances = dict.fromkeys(NAMES, 1)
    decided: dict[int, tuple[Peer, ...]] = {}
    for event, name, passed in events:
        now += passed
        instances[name] += event == "join" and peer(name, str(instances[name])) not in group.candidates
        member = peer(name, str(instances[name]))
        before, group = group, happens(group, event, member, now)
        assert group.epoch.number >= before.epoch.number
        assert group.revision >= before.revision
        if group.epoch != before.epoch:
            assert group.epoch.number > max(before.epoch.number, floor)
            assert group.epoch.number not in decided
            assert group.revision > before.revision
            decided[group.epoch.number] = group.epoch.members
            require_sound(before, group, least)
        assert group.deadline is None or group.deadline <= now + GRACE
    require_progress_of_the_living(group, instances, now, heartbeats)
