"""Warm starts: who may begin from whom, what goes along, and that the journal alone proves it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from chronos_common.engine import Joined, RunEngine, fold, start, verify
from chronos_common.engine.warm_start import (
    best_first,
    candidate,
    incompatibility,
    similarity,
    to_warm_started,
)
from chronos_common.errors import ConfigurationError, CorruptStateError
from chronos_common.outer import OuterConfig, TimescaleConfig
from tests.support.runs import RUN, Client, config, created
from tests.support.states import bits

ADAM = OuterConfig(name="adam", learning_rate=0.1)


def ended(versions: int = 3, **more: Any) -> Client:
    client = Client(config(quorum=1, max_versions=versions, **more))
    client.checkout("a")
    for _ in range(versions):
        client.commit("a", 1.0, metrics={"outer_loss": 0.5})
    return client


def test_a_run_begins_where_the_other_one_ended() -> None:
    source = ended(outer=ADAM).engine.state
    event = to_warm_started(config(outer=ADAM), "other", source, keep_optimizer=True)
    first = created(config(quorum=1, outer=ADAM))
    state = fold(start(first), event)
    assert state.digest == source.digest
    assert state.warm_from == "other"
    assert bits(state.master) == bits(source.published)
    assert bits(state.optimizer_state) == bits(source.optimizer_state)
    assert state.origin == start(first).origin  # so that the same request finds the run again
    engine = RunEngine(RUN, state)
    client = Client(config(quorum=1, outer=ADAM))
    client.engine, client.events = engine, [first, event]
    client.checkout("b")
    client.commit("b", 1.0)
    assert verify(client.events).clean
    assert not verify([first, *client.events[2:]]).clean


def test_the_optimiser_begins_afresh_where_it_is_another_or_is_not_wanted() -> None:
    source = ended(outer=ADAM).engine.state
    fresh = start(created(config()))
    for new, keep in ((config(outer=ADAM), False), (config(), True)):
        event = to_warm_started(new, "other", source, keep_optimizer=keep)
        assert event.steps == 0
        assert fold(start(created(new)), event).optimizer_state.steps == fresh.optimizer_state.steps == 0


LEVELS = OuterConfig(
    name="adam",
    levels=(
        TimescaleConfig(name="slow", parameters=("vector",), period=3, optimizer=OuterConfig(name="m3")),
    ),
)


def test_levels_go_on_where_they_stood() -> None:
    source = ended(versions=4, outer=LEVELS).engine.state
    event = to_warm_started(config(outer=LEVELS), "other", source, keep_optimizer=True)
    first = created(config(quorum=1, outer=LEVELS))
    state = fold(start(first), event)
    assert bits(state.optimizer_state) == bits(source.optimizer_state)
    assert state.flushes == {"slow": (), "base": ()}
    client = Client(config(quorum=1, outer=LEVELS))
    client.engine, client.events = RunEngine(RUN, state), [first, event]
    client.checkout("b")
    for _ in range(2):  # the source's slow level was one version into its second period
        assert bits(client.engine.state.master["vector"]) == bits(source.published["vector"])
        client.commit("b", 1.0)
    assert client.engine.state.flushes["slow"] == (2,)
    assert bits(client.engine.state.master["vector"]) != bits(source.published["vector"])
    assert verify(client.events).clean


def test_the_state_of_other_levels_stays_behind() -> None:
    source = ended(outer=LEVELS).engine.state
    quicker = replace(LEVELS, levels=(replace(LEVELS.levels[0], period=2),))
    for new in (config(outer=ADAM), config(outer=quicker)):
        assert not candidate(new, "other", source, {}).optimizer_state
        assert to_warm_started(new, "other", source, keep_optimizer=True).steps == 0
    kept = to_warm_started(config(outer=LEVELS), "other", source, keep_optimizer=True)
    for outer in (ADAM, replace(LEVELS, levels=(replace(LEVELS.levels[0], name="late"),))):
        with pytest.raises(CorruptStateError):
            fold(start(created(config(outer=outer))), kept)
    with pytest.raises(CorruptStateError, match="another optimiser"):
        fold(start(created(config(outer=LEVELS))), replace(kept, scalars={}))


def test_the_first_difference_is_named() -> None:
    ours = config()
    assert incompatibility(ours, config(outer=ADAM)) == ""
    assert "'vector' has shape (48,), here it is (2,)" in incompatibility(ours, config(size=48))
    assert "'vector' has lower -1.0, here it is None" in incompatibility(ours, config(bounds=(-1.0, 1.0)))
    fewer = replace(ours, parameters=ours.parameters[:1])
    assert "it lacks scalar" in incompatibility(ours, fewer)
    assert "it has scalar" in incompatibility(fewer, ours)
    wide = replace(ours, parameters=(ours.parameters[0], replace(ours.parameters[1], dtype="float64")))
    assert "dtype" in incompatibility(ours, wide)
    with pytest.raises(ConfigurationError, match="shape"):
        to_warm_started(ours, "other", ended(size=48).engine.state, keep_optimizer=False)


def test_the_most_similar_comes_first_then_the_lower_loss_then_the_later() -> None:
    new = config()
    named = replace(new, work=replace(new.work, problem="lab:Mine"))
    state = ended().engine.state
    assert similarity(named, named) == 1.0
    assert (
        0.0
        < similarity(named, new)
        < similarity(named, replace(named, work=replace(named.work, problem_config='{"a": 1}')))
    )
    offers = [
        (1.0, candidate(new, "old", state, {"outer_loss": 0.5})),
        (2.0, candidate(new, "late", state, {"outer_loss": 0.5})),
        (3.0, candidate(new, "bad", state, {"outer_loss": 0.9})),
        (4.0, candidate(new, "unknown", state, {})),
        (5.0, candidate(new, "empty", start(created(new)), {})),
        (6.0, candidate(new, "other", ended(size=48).engine.state, {"outer_loss": 0.1})),
        (0.0, replace(candidate(new, "alike", state, {"outer_loss": 7.0}), similarity=2.0)),
    ]
    assert [found.run_id for found in best_first(offers)] == ["alike", "late", "old", "bad", "unknown"]
    assert "no version" in offers[4][1].problem


def test_it_belongs_at_the_beginning_and_must_fit() -> None:
    source = ended().engine.state
    event = to_warm_started(config(), "other", source, keep_optimizer=False)
    begun = start(created(config()))
    for state in (fold(begun, Joined(worker_id="a")), fold(begun, event)):
        with pytest.raises(CorruptStateError, match="after it has begun"):
            fold(state, event)
    with pytest.raises(CorruptStateError, match="bounds"):
        fold(start(created(config(bounds=(-1.0, 1.0)))), event)
    with pytest.raises(CorruptStateError):
        fold(start(created(config(size=48))), event)
    with pytest.raises(CorruptStateError):
        fold(begun, replace(event, payload=event.payload[:-1]))
    with pytest.raises(CorruptStateError):
        fold(start(created(config(outer=ADAM))), replace(event, steps=3))


def test_masters_that_are_ahead_of_what_was_published_are_left_behind() -> None:
    source = ended(outer=ADAM).engine.state
    ahead = replace(source, master={name: np.asarray(v + 1) for name, v in source.master.items()})
    event = to_warm_started(config(outer=ADAM), "other", ahead, keep_optimizer=True)
    state = fold(start(created(config(outer=ADAM))), event)
    assert bits(state.master) == bits(state.published) == bits(source.published)
