"""A run that compresses: what it publishes, what it owes, and that a replay restores both to the bit."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from chronos_common.codec import decode
from chronos_common.compression import (
    GuardConfig,
    Pipeline,
    PipelineConfig,
    SignificanceConfig,
    server_residual,
)
from chronos_common.engine import (
    CheckoutAnswer,
    CompressionConfig,
    Event,
    Published,
    RunConfig,
    from_parts,
    replay,
    state_digest,
    to_parts,
    verify,
)
from chronos_common.errors import ConfigurationError, CorruptStateError, PayloadError
from chronos_common.outer import OuterConfig
from chronos_common.tensors import digest
from tests.support.runs import Client, arrays, compressed, config

SIZE = 300
PIPELINES = ("identity", "int8", "topk10", "topk10+int8", "topk1+int8")


def run_of(down: str, versions: int = 30, **more: Any) -> Client:
    settings = {"quorum": 1, "size": SIZE, "bounds": (-4.0, 4.0)} | more
    outer = OuterConfig(name="adam", learning_rate=0.3)
    client = Client(config(**{"compression": compressed(down), "outer": outer, **settings}))
    client.checkout("a")
    for step in range(versions):
        client.commit("a", float(np.sin(step)) + 0.2, metrics={"loss": 1.0 / (1 + step)})
    return client


def published(client: Client) -> list[Published]:
    return [event for event in client.events if isinstance(event, Published)]


@pytest.mark.parametrize("down", PIPELINES)
def test_a_replay_restores_master_published_value_and_guard(down: str) -> None:
    client = run_of(down)
    state = client.engine.state
    again = replay(from_parts(*to_parts(event)) for event in client.events)
    assert state_digest(again) == state_digest(state)
    assert (again.guard, again.relay, again.account) == (state.guard, state.relay, state.account)
    assert digest(server_residual(again.master, again.published)) == digest(
        server_residual(state.master, state.published)
    )
    assert (down == "identity") == (digest(state.master) == digest(state.published))


def test_a_restart_goes_on_bit_for_bit() -> None:
    whole, cut = run_of("topk5+int8", 40), run_of("topk5+int8", 17)
    cut.engine.state = replay(from_parts(*to_parts(event)) for event in cut.events)
    for step in range(17, 40):
        cut.commit("a", float(np.sin(step)) + 0.2, metrics={"loss": 1.0 / (1 + step)})
    assert cut.events == whole.events


def test_what_is_published_stays_within_the_bounds_and_costs_less() -> None:
    client = run_of("topk10+int8")
    for event in published(client):
        assert event.is_delta
        assert event.payload is not None
        assert len(event.payload) < 0.2 * 8 * SIZE
    assert max(np.abs(client.engine.state.published["vector"])) <= 4.0


def test_small_parameters_are_published_whole_and_exactly() -> None:
    client = Client(config(quorum=1, compression=CompressionConfig.named("topk10+int8", "topk10+int8")))
    client.checkout("a")
    client.commit("a", 1 / 3)
    state = client.engine.state
    assert not published(client)[0].is_delta
    assert digest(state.master) == digest(state.published)
    np.testing.assert_array_equal(state.published["vector"], [-1 / 3, 1 / 3])


def test_an_update_is_applied_as_it_was_decoded() -> None:
    client = Client(config(quorum=1, compression=compressed("identity"), size=SIZE))
    client.checkout("a")
    update = arrays(1.0, SIZE)
    payload = compressed_payload(update)
    client.commit("a", payload)
    np.testing.assert_array_equal(client.engine.state.master["vector"], -decode(payload)["vector"])


def compressed_payload(update: Any) -> bytes:
    return Pipeline(PipelineConfig(name="topk10+int8", dense_below_elements=0)).encode(update)


def test_an_update_of_a_few_bytes_cannot_announce_another_shape() -> None:
    client = Client(config(quorum=1, compression=compressed(), size=SIZE))
    client.checkout("a")
    before = client.engine.state
    with pytest.raises(PayloadError):
        client.commit("a", compressed_payload(arrays(1.0, 1_000_000)))
    assert client.engine.state is before


def test_the_guard_acts_is_journalled_and_scales_the_next_step() -> None:
    guard = GuardConfig(limit=0.01, patience_versions=1, max_density=0.2, min_rate_scale=0.25)
    client = run_of("topk10+int8", 6, compression=compressed(guard=guard))
    recorded = [event.guard for event in published(client)]
    assert [found and found["density"] for found in recorded[:3]] == [0.2, 0.2, 0.2]
    assert [found and found["rate_scale"] for found in recorded[:3]] == [1.0, 0.5, 0.25]
    assert verify(client.events).clean

    slow = Client(config(quorum=1, compression=compressed(guard=guard), size=SIZE))
    slow.checkout("a")
    moves = []
    for _ in range(4):
        before = slow.engine.state.master["vector"]
        slow.commit("a", 1.0)
        moves.append(float(np.abs(slow.engine.state.master["vector"] - before).max()))
    assert moves == pytest.approx([1.0, 1.0, 0.5, 0.25])


def tampered(events: list[Event], change: dict[str, Any]) -> list[Event]:
    place = max(i for i, event in enumerate(events) if isinstance(event, Published))
    event = events[place]
    assert isinstance(event, Published)
    return [*events[:place], dataclasses.replace(event, **change)]


def test_a_tampered_guard_is_found() -> None:
    events = run_of("topk10+int8", 4).events
    event = published(run_of("topk10+int8", 4))[-1]
    assert event.guard is not None
    for name, value in (("density", 0.5), ("rate_scale", 0.5), ("above", 7), ("ratio", None)):
        report = verify(tampered(events, {"guard": {**event.guard, name: value}}))
        assert "state_digest" in report.problem
    for wrong in (None, {}, {**event.guard, "density": 2.0}, {**event.guard, "ratio": "high"}):
        assert not verify(tampered(events, {"guard": wrong})).clean


def test_a_published_value_that_its_master_does_not_explain_is_found() -> None:
    events = run_of("topk10+int8", 4).events
    other = run_of("int8", 4).events
    payload = next(e.payload for e in reversed(other) if isinstance(e, Published))
    assert "digest" in verify(tampered(events, {"payload": payload})).problem
    assert not verify(tampered(events, {"is_delta": False})).clean
    whole = run_of("identity", 4).events
    assert "is_delta" in verify(tampered(whole, {"is_delta": True})).problem


def test_a_snapshot_must_be_the_master() -> None:
    events = run_of("identity", 3).events
    first = published(run_of("identity", 3))[0]
    with pytest.raises(CorruptStateError, match="payload differs"):
        replay(tampered(events, {"payload": first.payload}))


def test_the_ledger_counts_what_entered_versions() -> None:
    client = Client(config(quorum=2, compression=compressed(), size=SIZE))
    client.checkout("a")
    client.checkout("b")
    client.commit("a", 1.0)
    account = client.engine.state.account
    assert account.open_mass == account.ledger.produced != 0.0
    client.commit("b", 2.0)
    client.checkout("a")
    client.checkout("b")
    client.commit("a", 3.0, base=0)  # one behind: half of it is discounted
    client.commit("b", None)
    client.commit("a", 0.5)
    client.engine.stop("enough")
    ledger = client.engine.state.account.ledger
    stale = float(arrays(3.0, SIZE)["vector"].sum() + 3.0)
    assert ledger.discounted == pytest.approx(0.5 * stale)
    assert ledger.discarded == pytest.approx(float(arrays(0.5, SIZE)["vector"].sum() + 0.5))
    assert ledger.imbalance() < 1e-12
    assert client.engine.state.account.terms()["open"] == 0.0


def test_a_reader_gets_the_snapshot_that_was_encoded_once() -> None:
    client = run_of("topk10+int8", 5)
    first, second = client.checkout(""), client.checkout("")
    assert isinstance(first, CheckoutAnswer)
    assert isinstance(second, CheckoutAnswer)
    assert first.snapshot is second.snapshot is not None


def test_a_run_that_compresses_nothing_is_written_as_before() -> None:
    text = json.loads(config().to_json())
    assert text["compression"] == {"up": "identity", "down": "identity"}


def test_every_setting_survives() -> None:
    full = compressed(
        "int8",
        guard=GuardConfig(limit=3.0),
        significance=SignificanceConfig(minimum=0.1, maximum=0.2),
        keep_versions=7,
    )
    again = RunConfig.from_json(config(compression=full).to_json())
    assert again.compression == full


def test_what_cannot_work_says_where() -> None:
    with pytest.raises(ConfigurationError, match="compression down: unknown pipeline 'zip'"):
        CompressionConfig.named("int8", "zip")
    with pytest.raises(ConfigurationError, match="keep_versions"):
        CompressionConfig(keep_versions=-1)


def test_the_default_depends_on_the_number_of_outer_parameters() -> None:
    small = CompressionConfig.default([(100,), ()])
    assert (small.up.name, small.down.name) == ("int8", "topk10+int8")
    large = CompressionConfig.default([(100, 200), ()])
    assert (large.up.name, large.down.name) == ("topk35+int8", "topk10+int8")
    given = CompressionConfig.default([(100, 200)], up="identity", down="int8")
    assert (given.up.name, given.down.name) == ("identity", "int8")
