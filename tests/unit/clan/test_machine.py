"""The round machine: what it decides, that it is a fold, and that every part has its switch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from chronos_common.clan import (
    PRESETS,
    Adopted,
    ClanConfig,
    ClanState,
    Decision,
    FanOutConfig,
    FitnessReported,
    FloatAllele,
    LogFloatAllele,
    MemberDied,
    MemberJoined,
    Move,
    RoundClosed,
    RoundPlan,
    RoundStarted,
    ScheduleConfig,
    event_from_json,
    event_to_json,
    fold,
    found,
    line_of,
    plan,
    preset,
    rate_factor,
    state_from_json,
)
from chronos_common.errors import ConfigurationError, CorruptStateError, InvalidRequestError

LR = LogFloatAllele(value=1e-3, domain=(1e-7, 10.0))
DROPOUT = FloatAllele(value=0.2, domain=(0.0, 0.8), specialised=True)


def settled(**settings: Any) -> ClanState:
    """A clan past its fan-out (without one)."""
    config = ClanConfig(
        **{"population_size": 8, "round_length": 100, "fan_out": FanOutConfig(enabled=False), **settings}
    )
    return found(config, {"lr": LR}, seed=1)


def close(state: ClanState, losses: dict[int, float]) -> tuple[ClanState, RoundClosed]:
    """A whole round."""
    number = state.round
    state = fold(state, RoundStarted(round=number)).state
    decision: Decision | None = None
    for member, loss in losses.items():
        folded = fold(state, FitnessReported(round=number, member=member, fitness=loss))
        state, decision = folded.state, (folded.decisions or (None,))[0]
    assert isinstance(decision, RoundClosed)
    return state, decision


def rates(state: ClanState) -> list[float]:
    return [seat.genome.alleles["lr"].expressed for seat in state.seats]


def test_the_fan_out_spreads_rates_and_all_become_the_winner() -> None:
    state = found(ClanConfig(total_steps=1000), {"lr": LR}, seed=0)
    assert rates(state) == pytest.approx([1e-3 * 10 ** (3 * i / 7 - 1.5) for i in range(8)], rel=1e-9)
    first = plan(state)
    assert [(phase.kind, phase.steps) for phase in first.phases] == [("fan_out", 50)]
    assert {rate_factor(state.config, step, first.schedule_start) for step in range(50)} == {1.0}
    state, decision = close(state, {i: abs(i - 5.0) for i in range(8)})
    assert set(decision.moves) == {Move(target=i, source=5) for i in range(8) if i != 5}
    assert rates(state) == [rates(found(ClanConfig(), {"lr": LR}, seed=0))[5]] * 8
    assert plan(state).schedule_start == plan(state).first_step == 50
    assert plan(state).phases[0].kind == "cooperative"


@pytest.mark.parametrize("winner", [0, 7])
def test_a_winner_at_the_end_of_the_range_is_the_centre_of_another(winner: int) -> None:
    state = found(ClanConfig(total_steps=1000), {"lr": LR}, seed=0)
    centre = rates(state)[winner]
    state, decision = close(state, {i: abs(i - winner) + 1.0 for i in range(8)})
    assert not decision.restart
    assert plan(state).phases[0].kind == "fan_out"
    assert rates(state)[0] == pytest.approx(centre * 10**-1.5)
    state, _ = close(state, {i: abs(i - winner) + 1.0 for i in range(8)})
    assert plan(state).phases[0].kind == "cooperative"


def test_when_all_diverge_the_fan_out_begins_anew_around_the_lowest_rate() -> None:
    state = found(ClanConfig(total_steps=1000), {"lr": LR}, seed=0)
    lowest = rates(state)[0]
    state, decision = close(state, dict.fromkeys(range(8), math.nan))
    assert decision.restart
    assert rates(state)[0] == pytest.approx(lowest * 10**-1.5)


def test_the_bottom_quarter_becomes_mutated_children_of_the_top_quarter() -> None:
    before = settled()
    state, decision = close(before, {i: float(i) for i in range(8)})
    assert decision.ranking == tuple(range(8))
    assert {move.target for move in decision.moves} == {6, 7}
    assert {move.source for move in decision.moves} <= {0, 1}
    assert decision.soup == (0, 1, 2, 3)
    assert rates(state)[:6] == rates(before)[:6]
    for move in decision.moves:
        child = state.seats[move.target].genome
        assert child.parents == (state.seats[move.source].genome.genome_id,)
        assert child.alleles["lr"].expressed != LR.value
        assert line_of(state.births, child.genome_id)[1:] == [child.parents[0]]


def test_nan_ranks_last_and_never_enters_the_soup() -> None:
    _, decision = close(settled(), {0: math.nan, 1: math.inf, **{i: float(i) for i in range(2, 8)}})
    assert decision.ranking == (2, 3, 4, 5, 6, 7, 0, 1)
    _, decision = close(settled(), {0: 1.0, **dict.fromkeys(range(1, 8), math.nan)})
    assert decision.soup == (0,)


def test_the_last_round_ends_at_the_total_and_nothing_follows() -> None:
    state = settled(total_steps=150)
    assert plan(state).steps == 100
    state, decision = close(state, dict.fromkeys(range(8), 1.0))
    assert plan(state).steps == 50
    state, decision = close(state, {i: float(8 - i) for i in range(8)})
    assert decision.finished
    assert decision.ranking[0] == 7
    assert not decision.moves
    with pytest.raises(InvalidRequestError, match="ended"):
        fold(state, RoundStarted(round=state.round))


def test_members_compete_only_for_specialised_genes_and_long_enough() -> None:
    config = ClanConfig(round_length=100, fan_out=FanOutConfig(enabled=False))
    kinds = [(p.kind, p.steps) for p in plan(found(config, {"lr": LR, "dropout": DROPOUT}, seed=0)).phases]
    assert kinds == [("cooperative", 80), ("competitive", 20)]
    assert [p.kind for p in plan(found(config, {"lr": LR}, seed=0)).phases] == ["cooperative"]
    described = preset("published", round_length=100)
    kinds = [(p.kind, p.steps) for p in plan(found(described, {"lr": LR}, seed=0)).phases]
    assert kinds == [("cooperative", 85), ("competitive", 15)]
    alone = preset("pbt", round_length=100)
    assert [p.kind for p in plan(found(alone, {"lr": LR}, seed=0)).phases] == ["independent"]


def test_while_gradients_are_shared_specialised_genes_are_at_consensus() -> None:
    state = found(ClanConfig(fan_out=FanOutConfig(enabled=False)), {"lr": LR, "dropout": DROPOUT}, seed=0)
    assert plan(state).consensus == {"dropout": pytest.approx(0.2)}


def test_a_death_closes_the_round_for_those_who_wait() -> None:
    state = fold(settled(), RoundStarted(round=0)).state
    for member in range(7):
        state = fold(state, FitnessReported(round=0, member=member, fitness=float(member))).state
    folded = fold(state, MemberDied(member=7))
    (decision,) = folded.decisions
    assert isinstance(decision, RoundClosed)
    assert decision.ranking == tuple(range(7))
    assert plan(folded.state).living == tuple(range(7))
    assert plan(folded.state).genomes[7] is None


def test_a_joiner_takes_over_the_best_of_the_living() -> None:
    state, _ = close(settled(), {i: abs(i - 3.0) for i in range(8)})
    state = fold(state, MemberDied(member=0)).state
    folded = fold(state, MemberJoined(member=0))
    assert folded.decisions == (Adopted(target=0, source=3),)
    newcomer = folded.state.seats[0].genome
    assert newcomer.parents == (state.seats[3].genome.genome_id,)
    assert newcomer.alleles == state.seats[3].genome.alleles
    assert plan(folded.state).living == tuple(range(8))


def test_what_was_said_before_changes_nothing() -> None:
    state, _ = close(settled(), dict.fromkeys(range(8), 1.0))
    for event in (
        FitnessReported(round=0, member=1, fitness=9.0),
        RoundStarted(round=0),
        MemberJoined(member=2),
    ):
        assert fold(state, event).state is state
    state = fold(state, RoundStarted(round=1)).state
    state = fold(state, FitnessReported(round=1, member=0, fitness=1.0)).state
    assert fold(state, FitnessReported(round=1, member=0, fitness=5.0)).state is state
    again = fold(state, RoundStarted(round=1))
    assert again.state == state
    assert isinstance(again.decisions[0], RoundPlan)
    dead = fold(state, MemberDied(member=5)).state
    assert fold(dead, MemberDied(member=5)).state is dead


@pytest.mark.parametrize(
    "event",
    [
        RoundStarted(round=1),
        FitnessReported(round=0, member=0, fitness=1.0),
        FitnessReported(round=0, member=8, fitness=1.0),
        FitnessReported(round=3, member=0, fitness=1.0),
        MemberDied(member=-1),
        MemberJoined(member=8),
    ],
)
def test_what_cannot_be_is_refused(event: Any) -> None:
    with pytest.raises(InvalidRequestError):
        fold(settled(), event)


def test_a_gene_for_the_rate_is_needed_where_it_is_used() -> None:
    with pytest.raises(ConfigurationError, match="rate_gene"):
        found(ClanConfig(), {"dropout": DROPOUT}, seed=0)
    with pytest.raises(ConfigurationError, match="total_steps"):
        preset("data_parallel_cosine")
    with pytest.raises(ConfigurationError, match="clan_plus"):
        preset("clan_minus")


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_same_events_give_the_same_bits_also_through_json_after_each(name: str) -> None:
    config = preset(name, total_steps=500, round_length=100)
    histories = []
    for stored in (False, True):
        state, decisions = found(config, {"lr": LR, "dropout": DROPOUT}, seed=3), []
        for event in history(state, lambda round_, member: ((member * 5 + round_ * 3) % 8) + 0.5):
            if stored:
                state = state_from_json(json.loads(json.dumps(state.to_json())))
                event = event_from_json(json.loads(json.dumps(event_to_json(event))))
            folded = fold(state, event)
            state = folded.state
            decisions += folded.decisions
        histories.append((state.to_json(), decisions))
    assert histories[0] == histories[1]
    other = found(config, {"lr": LR, "dropout": DROPOUT}, seed=4)
    assert [b.genome_id for b in other.births] != [b["genome_id"] for b in histories[0][0]["births"][:8]]


def history(state: ClanState, loss: Callable[[int, int], float]) -> Any:
    """Events of some rounds, with a death and a joiner on the way."""
    for number in range(4):
        yield RoundStarted(round=number)
        if number == 1:
            yield MemberDied(member=2)
        if number == 3:
            yield MemberJoined(member=2)
        for member in range(8):
            if member != 2 or number in (0, 3):
                yield FitnessReported(round=number, member=member, fitness=loss(number, member))


@given(st.lists(st.tuples(st.sampled_from("rfdj"), st.integers(0, 3), st.floats()), max_size=40))
@hypothesis_settings(max_examples=40)
def test_no_history_breaks_it(script: list[tuple[str, int, float]]) -> None:
    state = found(ClanConfig(population_size=4, round_length=10, total_steps=60), {"lr": LR}, seed=0)
    for kind, member, loss in script:
        event = {
            "r": RoundStarted(round=state.round),
            "f": FitnessReported(round=state.round, member=member, fitness=loss),
            "d": MemberDied(member=member),
            "j": MemberJoined(member=member),
        }[kind]
        before = state
        try:
            folded = fold(state, event)
        except InvalidRequestError:
            assert state is before
            continue
        state = folded.state
        for decision in folded.decisions:
            if isinstance(decision, RoundClosed):
                assert set(decision.ranking) == set(before.living) - ({member} if kind == "d" else set())
                assert {move.target for move in decision.moves} <= set(decision.ranking)
                assert {move.source for move in decision.moves} <= set(decision.ranking)
        assert state.step <= 60
    stored = json.dumps(state.to_json())
    assert json.dumps(state_from_json(json.loads(stored)).to_json()) == stored


def test_damaged_states_are_refused() -> None:
    for damaged in ({}, {"revision": 1}, {**settled().to_json(), "revision": 9}):
        with pytest.raises(CorruptStateError):
            state_from_json(damaged)


def test_the_schedule_warms_up_is_stable_and_decays_to_its_floor() -> None:
    config = ClanConfig(total_steps=1050, schedule=ScheduleConfig(warm_up=0.1, decay=0.4, floor=0.02))
    factor = [rate_factor(config, step, 50) for step in range(1050)]
    assert factor[:50] == [1.0] * 50
    assert factor[50:150] == pytest.approx([(i + 1) / 100 for i in range(100)])
    assert factor[150:650] == [1.0] * 500
    assert factor[850] == pytest.approx(0.02 + 0.98 * 0.5)
    assert factor[-1] == pytest.approx(0.02, abs=0.003)
    cosine = preset("data_parallel_cosine", total_steps=1050)
    assert rate_factor(cosine, 1049, 50) == pytest.approx(0.0, abs=1e-4)
    assert rate_factor(cosine, 560, 50) == pytest.approx(0.5, abs=0.01)
    assert {rate_factor(preset("pbt"), step, 0) for step in (0, 10, 10**6)} == {1.0}


def test_a_schedule_without_an_end_falls_with_the_square_root_of_the_time() -> None:
    config = ClanConfig(round_length=100, schedule=ScheduleConfig(warm_up=0.0))
    factor = [rate_factor(config, 50 + step, 50) for step in (0, 200, 600, 200 * 9999)]
    assert factor == pytest.approx([1.0, 0.5**0.5, 0.5, 0.01])
    flat = ClanConfig(round_length=100, schedule=ScheduleConfig(warm_up=0.0, decay=0.0))
    assert rate_factor(flat, 10**6, 50) == 1.0
