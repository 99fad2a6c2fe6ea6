"""A clan as a coordinator keeps it: places, rounds, deadlines, and the fold over what it journals."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from chronos_common.clan import (
    ClanConfig,
    FanOutConfig,
    FitnessReported,
    FloatAllele,
    LogFloatAllele,
    RoundClosed,
    RoundStarted,
    fold,
)
from chronos_common.clan.checking import Checker
from chronos_common.clan.definition import ClanDefinition, algorithm_from_text, definition_from_json
from chronos_common.clan.job import ClanJob
from chronos_common.clan.records import Ended, Record, Reported, record_from_parts, record_to_parts
from chronos_common.errors import (
    ClanFullError,
    ConfigurationError,
    CorruptStateError,
    GenomeMismatchError,
    InvalidRequestError,
    RoundMismatchError,
    SeatTakenError,
    WorkerNotMemberError,
)

GENES = {
    "lr": LogFloatAllele(value=1e-2, domain=(1e-6, 1.0)),
    "dropout": FloatAllele(value=0.1, domain=(0.0, 0.9), specialised=True),
}


def definition(size: int = 4, **changes: Any) -> ClanDefinition:
    config = ClanConfig(
        population_size=size, round_length=10, total_steps=100, fan_out=FanOutConfig(share=0.1)
    )
    return ClanDefinition(**{"config": config, "genes": GENES, "seed": 7, **changes})


class Table:
    """A job with its journal, as text."""

    def __init__(self, wanted: ClanDefinition) -> None:
        self.job = ClanJob(wanted)
        self.journal: list[tuple[str, str]] = []

    def keep(self) -> list[Record]:
        records = self.job.take_records()
        self.journal += [record_to_parts(record) for record in records]
        return records

    def gather(self, *workers: str) -> None:
        for worker in workers:
            self.job.join(worker, 1, now=0.0)
        self.keep()

    def play(self, losses: dict[str, float], now: float = 0.0) -> RoundClosed | None:
        """A round in which these workers report."""
        plan = self.job.begin(next(iter(losses)), 1, now=now)
        assert plan is not None
        for worker, loss in losses.items():
            self.job.report(worker, 1, number=plan.round, fitness=loss)
        self.keep()
        return self.job.closed(plan.round)

    def replayed(self) -> ClanJob:
        job = ClanJob(self.job.definition)
        for kind, text in self.journal:
            job.apply(record_from_parts(kind, text))
        return job

    def problems(self) -> list[str]:
        checker = Checker(ClanJob(self.job.definition))
        found = [checker.take(record_from_parts(kind, text)) for kind, text in self.journal]
        return [problem for problem in (*found, checker.finish()) if problem]


def plain(job: ClanJob) -> Any:
    return json.loads(json.dumps(job.state()))


def test_a_served_clan_decides_what_the_bare_machine_decides() -> None:
    table = Table(definition())
    table.gather(*"abcd")
    state = definition().found()
    number = 0
    while not table.job.clan.finished:
        losses = {worker: math.sin(number * 5 + place) for place, worker in enumerate("abcd")}
        decision = table.play(losses)
        state = fold(state, RoundStarted(round=state.round)).state
        for place, loss in enumerate(losses.values()):
            folded = fold(state, FitnessReported(round=number, member=place, fitness=loss))
            state = folded.state
        assert folded.decisions == (decision,)
        assert table.job.clan == state
        number += 1
    assert number >= 5
    assert plain(table.replayed()) == plain(table.job)
    assert table.problems() == []


def test_the_journal_and_the_snapshot_hold_everything_through_deaths_and_joins() -> None:
    table = Table(definition())
    table.gather(*"abcd")
    table.play({"b": 2.0, "a": 1.0, "d": math.nan, "c": 3.0})
    job = table.job
    job.begin("a", 1, now=0.0)
    job.report("a", 1, number=1, fitness=0.5)
    job.leave("b", 1, "silent")
    assert job.join("e", 1, now=1.0) == 1
    joined = job.occupants[1]
    assert joined.source is not None
    assert job.clan.seats[1].genome.parents == (job.clan.seats[joined.source].genome.genome_id,)
    job.report("e", 1, number=1, fitness=0.1)
    job.report("c", 1, number=1, fitness=-math.inf)
    table.keep()
    restored = ClanJob.restore(json.loads(json.dumps(job.state())))
    for one in (job, restored):
        one.report("d", 1, number=1, fitness=0.2)
    assert plain(restored) == plain(job)
    decision = job.closed(1)
    assert decision is not None
    assert decision.ranking[:3] == (1, 3, 0)
    assert job.history[-1].members[2].fitness == math.inf
    table.keep()
    assert plain(table.replayed()) == plain(job)
    assert table.problems() == []


def test_the_dead_are_not_waited_for_and_the_last_report_that_is_missing_closes_the_round() -> None:
    table = Table(definition())
    table.gather(*"abcd")
    assert table.play({"a": 1.0, "b": 2.0, "c": 3.0}) is None
    table.job.leave("d", 1, "silent")
    kinds = [type(record).__name__ for record in table.keep()]
    assert kinds == ["Vacated", "Ended"]
    decision = table.job.closed(0)
    assert decision is not None
    assert decision.ranking == (0, 1, 2)


def test_who_cannot_be_reached_is_removed_on_another_ones_word_unless_somebody_new_sits_there() -> None:
    table = Table(definition())
    table.gather(*"abcd")
    job = table.job
    table.play({"a": 1.0, "b": 2.0, "c": 3.0})
    epoch = job.epoch
    assert job.remove("a", 1, member=3, epoch=epoch) == epoch + 1
    assert job.closed(0) is not None
    assert job.join("e", 1, now=0.0) == 3
    assert job.remove("b", 1, member=3, epoch=epoch) == epoch + 2
    assert job.place_of("e") == 3
    for member in (0, 4):
        with pytest.raises(InvalidRequestError, match="cannot be removed"):
            job.remove("a", 1, member=member, epoch=epoch)
    with pytest.raises(WorkerNotMemberError):
        job.remove("d", 1, member=0, epoch=epoch)
    table.keep()
    assert table.problems() == []


def test_a_deadline_closes_a_round_but_never_before_somebody_has_reported() -> None:
    table = Table(definition(round_seconds=10.0))
    table.gather(*"abcd")
    table.job.begin("a", 1, now=100.0)
    assert not table.job.overdue(200.0)
    table.job.report("a", 1, number=0, fitness=1.0)
    table.job.report("c", 1, number=0, fitness=0.5)
    assert not table.job.overdue(109.9)
    assert table.job.overdue(110.0)
    decision = table.job.closed(0)
    assert decision is not None
    assert decision.ranking == (2, 0)
    with pytest.raises(WorkerNotMemberError, match="join again"):
        table.job.report("b", 1, number=0, fitness=0.1)
    table.keep()
    assert table.problems() == []


def test_training_begins_without_those_who_do_not_come_when_the_definition_says_so() -> None:
    table = Table(definition(gather_seconds=5.0))
    table.job.join("a", 1, now=10.0)
    table.job.join("b", 1, now=14.0)
    assert table.job.begin("a", 1, now=14.0) is None
    assert not table.job.overdue(14.9)
    assert table.job.overdue(15.0)
    plan = table.job.begin("a", 1, now=15.0)
    assert plan is not None
    assert plan.living == (0, 1)
    table.keep()
    assert table.problems() == []


def test_before_the_first_round_a_place_changes_hands_and_keeps_its_genome() -> None:
    table = Table(definition())
    table.gather(*"abcd")
    genome = table.job.clan.seats[1].genome
    table.job.leave("b", 1)
    assert table.job.join("e", 1, now=0.0) == 1
    assert table.job.occupants[1].source is None
    assert table.job.clan.seats[1].genome == genome


def test_a_newer_process_of_a_worker_takes_the_place_as_a_joiner() -> None:
    table = Table(definition())
    table.gather(*"abcd")
    table.play({worker: float(place) for place, worker in enumerate("abcd")})
    assert table.job.join("c", 2, now=1.0) == 2
    assert table.job.occupants[2].source is not None
    assert table.job.join("c", 2, now=1.0) == 2
    with pytest.raises(WorkerNotMemberError):
        table.job.require_member("c", 1)


def test_what_was_reported_first_counts() -> None:
    table = Table(definition())
    table.gather(*"abcd")
    plan = table.job.begin("a", 1, now=0.0)
    assert plan is not None
    for loss in (1.0, 2.0):
        table.job.report("a", 1, number=0, fitness=loss)
    assert [record.fitness for record in table.keep() if isinstance(record, Reported)] == [1.0]
    table.play({"b": 1.5, "c": 1.75, "d": 3.0})
    table.job.report("a", 1, number=0, fitness=9.0)
    assert table.keep() == []
    assert [member.fitness for member in table.job.history[0].members] == [1.0, 1.5, 1.75, 3.0]


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    table = Table(definition())
    table.gather(*"abcd")
    job = table.job
    with pytest.raises(ClanFullError, match="all 4 places"):
        job.join("e", 1, now=0.0)
    with pytest.raises(SeatTakenError, match="'b'"):
        job.join("e", 1, now=0.0, member=1)
    with pytest.raises(InvalidRequestError, match="no member 9"):
        job.join("e", 1, now=0.0, member=9)
    with pytest.raises(RoundMismatchError, match="has not begun"):
        job.report("a", 1, number=0, fitness=1.0)
    job.begin("a", 1, now=0.0)
    with pytest.raises(RoundMismatchError, match="at round 0"):
        job.report("a", 1, number=3, fitness=1.0)
    with pytest.raises(RoundMismatchError, match="at round 0"):
        job.closed(1)
    with pytest.raises(GenomeMismatchError, match="fetch the round again"):
        job.report("a", 1, number=0, fitness=1.0, genome_id="other")
    with pytest.raises(InvalidRequestError, match="cannot be restored"):
        job.rewind({})
    with pytest.raises(InvalidRequestError, match="another algorithm or seed"):
        job.rewind(definition(seed=8).found().to_json())
    table.keep()
    assert [kind for kind, _ in table.journal] == ["seated"] * 4 + ["begun"]


STATE = definition().found().to_json()


@pytest.mark.parametrize(
    "damage",
    [
        {"round": "x"},
        {"round": -1},
        {"round": 1.5},
        {"step": math.nan},
        {"joins": None},
        {"finished": "no"},
        {"seats": []},
        {"seats": STATE["seats"][:2]},
        {"seats": [{**seat, "alive": 1} for seat in STATE["seats"]]},
        {"births": [{"genome_id": 1, "parents": [], "round": 0, "slot": 0}]},
        {"config": []},
        {"seats": definition(genes={"lr": GENES["lr"]}).found().to_json()["seats"]},
        {
            "seats": definition(
                genes={**GENES, "dropout": FloatAllele(value=0.1, domain=(0.0, 0.5), specialised=True)}
            )
            .found()
            .to_json()["seats"]
        },
    ],
)
def test_a_checkpoint_that_the_clan_could_not_go_on_from_is_refused(damage: dict[str, Any]) -> None:
    table = Table(definition())
    table.gather(*"abcd")
    before = plain(table.job)
    with pytest.raises(InvalidRequestError, match="restore"):
        table.job.rewind({**STATE, **damage})
    assert plain(table.job) == before
    assert table.keep() == []


def test_who_is_refused_another_place_keeps_its_own() -> None:
    table = Table(definition())
    table.gather(*"abcd")
    before = plain(table.job)
    for wanted, error in ((1, SeatTakenError), (9, InvalidRequestError)):
        with pytest.raises(error):
            table.job.join("a", 1, now=1.0, member=wanted)
        with pytest.raises(error):
            table.job.join("a", 2, now=1.0, member=wanted)
    assert plain(table.job) == before
    assert table.keep() == []


def test_going_back_to_a_checkpoint_repeats_what_followed_it_bit_for_bit() -> None:
    table = Table(definition())
    table.gather(*"abcd")
    losses = [{w: math.cos(i + 3 * p) for p, w in enumerate("abcd")} for i in range(4)]
    for index in range(2):
        table.play(losses[index])
    checkpoint = table.job.clan.to_json()
    table.play(losses[2])
    after = table.job.clan
    for worker in "abcd":
        table.job.leave(worker, 1)
    table.gather(*"abcd")
    for _ in range(2):
        table.job.rewind(json.loads(json.dumps(checkpoint)))
    assert [type(record).__name__ for record in table.keep()] == ["Rewound"]
    assert [record.number for record in table.job.history] == [0, 1]
    table.play(losses[2])
    assert table.job.clan == after
    assert table.problems() == []


def test_checking_finds_a_decision_that_the_reports_do_not_lead_to() -> None:
    table = Table(definition())
    table.gather(*"abcd")
    table.play({worker: float(place) for place, worker in enumerate("abcd")})
    kind, text = table.journal[-1]
    ended = record_from_parts(kind, text)
    assert isinstance(ended, Ended)
    table.journal[-1] = (kind, text.replace('"ranking":[0,1', '"ranking":[1,0'))
    assert table.problems()
    table.journal[-1] = (kind, text.replace(ended.after.seats[1].genome.genome_id, "0" * 36))
    assert table.problems()
    del table.journal[-1]
    table.gather()
    table.journal.append(("begun", '{"deadline":null,"round":1}'))
    assert table.problems()


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"a":' * 100_000, "[" * 100_000])
def test_an_algorithm_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        algorithm_from_text(text)


def test_damaged_records_and_states_are_named() -> None:
    for kind, text in (
        ("seated", "{}"),
        ("nothing", "{}"),
        ("ended", "[]"),
        ("begun", "{"),
        ("rewound", "{}"),
    ):
        with pytest.raises(CorruptStateError):
            record_from_parts(kind, text)
    with pytest.raises(CorruptStateError):
        ClanJob.restore({})
    with pytest.raises(CorruptStateError):
        ClanJob(definition()).apply(Reported(round=0, member=99, fitness=1.0))
    with pytest.raises(CorruptStateError):
        definition_from_json({"config": {}})
    assert definition_from_json(json.loads(json.dumps(definition().to_json()))) == definition()
