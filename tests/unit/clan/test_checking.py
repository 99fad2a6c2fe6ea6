"""What a second decision finds in a journal that was tampered with, and that it finds nothing in one that was not."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from chronos_common.clan.checking import Checker
from chronos_common.clan.job import ClanJob
from chronos_common.clan.records import Ended, Rewound, record_from_parts
from chronos_common.errors import ChronosError, CorruptStateError
from tests.unit.clan.test_job import Table, definition, plain

Journal = list[tuple[str, str]]


def eventful() -> Table:
    """A journal with every kind of record: a joiner, a silent one, a late one, a checkpoint restored."""
    table = Table(definition(round_seconds=10.0))
    table.gather(*"abcd")
    table.play({worker: float(place) for place, worker in enumerate("abcd")})
    checkpoint = json.loads(json.dumps(table.job.clan.to_json()))
    table.job.begin("a", 1, now=30.0)
    table.job.leave("b", 1, "silent")
    table.job.join("e", 1, now=31.0)
    table.job.report("a", 1, number=1, fitness=0.5)
    table.job.report("e", 1, number=1, fitness=math.nan)
    assert table.job.overdue(41.0)
    table.job.rewind(checkpoint)
    table.play({"e": 2.0, "a": 1.0}, now=50.0)
    return table


def verdict(journal: Journal) -> str:
    checker = Checker(ClanJob(definition(round_seconds=10.0)))
    try:
        for kind, text in journal:
            problem = checker.take(record_from_parts(kind, text))
            if problem:
                return problem
    except CorruptStateError as error:
        return str(error)
    return checker.finish()


def tampered(journal: Journal) -> Iterator[tuple[str, Journal]]:
    """Every record with each of its plain fields changed, those left out that only somebody's word stands for."""
    inputs = {"worker", "incarnation", "address", "time", "reason", "deadline"}
    for place, (kind, text) in enumerate(journal):
        parts = json.loads(text)
        for name, value in parts.items():
            other: Any = {bool: not value, int: 7, str: value}.get(type(value))
            if isinstance(value, dict | list | float) or name in inputs:
                continue
            for new in (other, "x", [1]):
                if new != value and (name, new) != ("fitness", None):
                    changed = (kind, json.dumps({**parts, name: new}))
                    yield (
                        f"{place} {kind}.{name} = {new!r}",
                        [*journal[:place], changed, *journal[place + 1 :]],
                    )


def test_a_field_that_is_changed_is_found() -> None:
    journal = eventful().journal
    assert {kind for kind, _ in journal} == {"seated", "vacated", "begun", "reported", "ended", "rewound"}
    assert verdict(journal) == ""
    assert [what for what, other in tampered(journal) if not verdict(other)] == []


def test_a_record_that_is_told_twice_is_found() -> None:
    journal = eventful().journal
    for place, (kind, _) in enumerate(journal):
        twice = [*journal[: place + 1], *journal[place:]]
        assert verdict(twice) or kind == "rewound", kind  # who restores twice changes nothing


def test_a_journal_that_ends_before_the_close_that_its_reports_lead_to_is_found() -> None:
    table = eventful()
    while table.journal[-1][0] != "ended":
        table.journal.pop()
    assert "before the close" in verdict(table.journal[:-1])


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("seated", "member", "x"),
        ("seated", "worker", 5),
        ("vacated", "member", None),
        ("begun", "round", "0"),
        ("reported", "fitness", "good"),
        ("reported", "member", 1.5),
    ],
)
def test_a_field_of_another_kind_is_no_record(kind: str, field: str, value: object) -> None:
    text = next(text for name, text in eventful().journal if name == kind)
    with pytest.raises(CorruptStateError, match=kind):
        record_from_parts(kind, json.dumps({**json.loads(text), field: value}))


WORKERS = st.sampled_from("abcde")
STEPS = st.one_of(
    st.tuples(st.just("join"), WORKERS, st.integers(1, 2), st.sampled_from([None, 0, 1, 3, 9])),
    st.tuples(st.just("leave"), WORKERS, st.integers(1, 2)),
    st.tuples(st.just("begin"), WORKERS, st.integers(1, 2)),
    st.tuples(st.just("report"), WORKERS, st.integers(1, 2), st.integers(-1, 1), st.floats()),
    st.tuples(st.just("remove"), WORKERS, WORKERS),
    st.tuples(st.just("later"), st.floats(0.0, 20.0)),
    st.tuples(st.just("restore")),
    st.tuples(st.just("everybody"), st.floats(-1.0, 1.0)),
)


def act(table: Table, step: tuple[Any, ...], now: float, saved: list[Any]) -> None:
    job = table.job
    if step[0] == "join":
        job.join(step[1], step[2], now=now, member=step[3])
    elif step[0] == "leave":
        job.leave(step[1], step[2])
    elif step[0] == "begin":
        job.begin(step[1], step[2], now=now)
    elif step[0] == "report":
        job.report(step[1], step[2], number=max(0, job.clan.round + step[3]), fitness=step[4])
    elif step[0] == "remove":
        job.remove(step[1], 1, member=job.place_of(step[2]) or 0, epoch=job.epoch)
    elif step[0] == "restore":
        job.rewind(saved[len(saved) // 2])
    elif step[0] == "everybody":
        sitting = tuple(job.occupants.values())
        if sitting and job.begin(sitting[0].worker, sitting[0].incarnation, now=now) is not None:
            number = job.clan.round
            for one in sitting:
                job.report(one.worker, one.incarnation, number=number, fitness=step[1])
    else:
        job.overdue(now)


@given(st.lists(STEPS, max_size=40))
@hypothesis_settings(max_examples=40)
def test_no_order_of_events_closes_a_round_twice_or_waits_for_the_dead(script: list[tuple[Any, ...]]) -> None:
    table = Table(definition(round_seconds=10.0, gather_seconds=5.0))
    for worker in "abc":
        table.job.join(worker, 1, now=0.0)
    table.keep()
    saved, now, closed = [table.job.clan.to_json()], 0.0, set[int]()
    for step in script:
        now += step[1] if step[0] == "later" else 0.1
        before = plain(table.job)
        try:
            act(table, step, now, saved)
        except ChronosError:
            assert plain(table.job) == before
        for record in table.keep():
            if isinstance(record, Rewound):
                closed = {number for number in closed if number < record.state.round}
            elif isinstance(record, Ended):
                assert record.decision.round not in closed
                closed.add(record.decision.round)
                assert table.job.closed(record.decision.round) == record.decision
                saved.append(json.loads(json.dumps(table.job.clan.to_json())))
        clan = table.job.clan
        waiting = [place for place in clan.living if clan.seats[place].reported is None]
        assert not clan.running or waiting or not clan.living
        assert table.job.founding or set(waiting) <= set(table.job.occupants)
    assert plain(table.replayed()) == plain(table.job)
    assert table.problems() == []
