"""Commands against one run: what is answered, what is journalled, and what a refusal leaves alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chronos_common.codec import decode, encode
from chronos_common.engine import (
    ACTIVE,
    FINISHED,
    STOPPED,
    CheckoutAnswer,
    CommitRecord,
    Ended,
    EngineLimits,
    Joined,
    Published,
    RunEngine,
    replay,
    state_digest,
)
from chronos_common.errors import (
    ChainBrokenError,
    ChronosError,
    DtypeMismatchError,
    IncarnationSupersededError,
    InvalidRequestError,
    MalformedPayloadError,
    NameMismatchError,
    NonFiniteError,
    PayloadTooLargeError,
    RunNotActiveError,
    ShapeMismatchError,
    StaleCommitError,
    UnknownVersionError,
    WorkerNotMemberError,
)
from chronos_common.outer import OuterConfig
from chronos_common.versions import MustWait
from tests.support.runs import LEASE_SECONDS, Client, arrays, config


def replayed(client: Client) -> str:
    client.take()
    return state_digest(replay(client.events))


def test_a_round_from_checkout_to_version() -> None:
    client = Client(config(quorum=2))
    first, second = client.checkout("b"), client.checkout("a")
    assert isinstance(first, CheckoutAnswer)
    assert isinstance(second, CheckoutAnswer)
    assert first.snapshot is not None
    assert float(decode(first.snapshot)["scalar"]) == 0.0
    assert (first.version, first.work_seconds, first.not_modified, first.last_applied) == (
        0,
        LEASE_SECONDS,
        False,
        0,
    )
    assert (first.shard, second.shard) == ((0, 1), (0, 2))
    assert client.commit("a", 1.0).version == 0
    answer = client.commit("b", 3.0)
    assert (answer.version, answer.duplicate, answer.status, answer.last_applied) == (1, False, ACTIVE, 1)
    fresh = client.checkout("a", known=0)
    assert isinstance(fresh, CheckoutAnswer)
    assert fresh.snapshot is not None
    np.testing.assert_array_equal(decode(fresh.snapshot)["vector"], [-2.0, 2.0])
    assert [type(event) for event in client.events[1:]] == [
        Joined,
        Joined,
        CommitRecord,
        CommitRecord,
        Published,
    ]
    assert replayed(client) == state_digest(client.engine.state)


def test_what_a_client_holds_is_not_sent_again() -> None:
    client = Client(config())
    answer = client.checkout("a", known=0)
    assert isinstance(answer, CheckoutAnswer)
    assert answer.not_modified
    assert answer.snapshot is None
    assert answer.work_seconds == LEASE_SECONDS


def test_observers_read_without_a_trace() -> None:
    client = Client(config(quorum=1))
    before = client.engine.state
    answer = client.checkout("")
    assert isinstance(answer, CheckoutAnswer)
    assert (answer.work_seconds, answer.shard, answer.last_applied) == (0.0, (0, 1), 0)
    assert isinstance(client.checkout("", min_version=1), MustWait)
    assert client.engine.state is before
    assert client.engine.presence.live == ()


def test_versions_that_do_not_exist_cannot_be_held() -> None:
    client = Client(config())
    for known in (-1, 1):
        with pytest.raises(UnknownVersionError):
            client.checkout("a", known=known)
    assert client.engine.presence.live == ()
    assert len(client.events) == 1


# --- refusals ----------------------------------------------------------------------------------------

NAN = {"vector": np.array([np.nan, 0.0]), "scalar": np.asarray(0.0, dtype=np.float32)}
SHAPE = {"vector": np.zeros(3), "scalar": np.asarray(0.0, dtype=np.float32)}
DTYPE = {"vector": np.zeros(2), "scalar": np.asarray(0.0)}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"worker": "stranger"}, WorkerNotMemberError),
        ({"current": 5}, IncarnationSupersededError),
        ({"prev_applied": 9, "seq": 10}, ChainBrokenError),
        ({"seq": 0}, ChainBrokenError),
        ({"base": 4}, UnknownVersionError),
        ({"base": -1}, UnknownVersionError),
        ({"base": 0}, StaleCommitError),
        ({"work": 0.0}, InvalidRequestError),
        ({"work": math.nan}, InvalidRequestError),
        ({"kind": "parameter_delta"}, InvalidRequestError),
        ({"kind": ""}, InvalidRequestError),
        ({"value": NAN}, NonFiniteError),
        ({"value": SHAPE}, ShapeMismatchError),
        ({"value": DTYPE}, DtypeMismatchError),
        ({"value": {"vector": np.zeros(2)}}, NameMismatchError),
        ({"value": b""}, MalformedPayloadError),
        ({"value": b"garbage of some length, longer than a header"}, MalformedPayloadError),
        ({"value": encode("identity", arrays(1.0))[:-1]}, MalformedPayloadError),
        ({"value": encode("identity", {**arrays(1.0), "more": np.zeros(9999)})}, PayloadTooLargeError),
        ({"metrics": {"loss": math.inf}}, NonFiniteError),
        ({"metrics": {str(i): 0.0 for i in range(11)}}, InvalidRequestError),
        ({"timing": {"compute_seconds": -1.0}}, InvalidRequestError),
        ({"timing": {"compute_seconds": math.nan}}, InvalidRequestError),
    ],
)
def test_a_refused_commit_changes_nothing(change: dict[str, Any], error: type[ChronosError]) -> None:
    client = Client(config(quorum=1))
    client.engine._limits = EngineLimits(max_payload_bytes=4096, max_metrics=10)
    client.checkout("a")
    for _ in range(3):
        client.commit("a")
    client.checkout("a")
    before, digest = client.engine.state, state_digest(client.engine.state)
    lease, event = client.engine.presence.lease("a"), client.engine.presence.next_event(0.0)
    with pytest.raises(error):
        client.commit(**{"worker": "a", **change})
    assert client.engine.state is before
    assert state_digest(client.engine.state) == digest
    assert client.engine.take_events() == ()
    assert client.engine.presence.lease("a") == lease
    assert client.engine.presence.next_event(0.0) == event
    client.commit("a")
    assert client.version == 4


def test_a_repeat_gets_the_stored_answer_whatever_has_happened_since() -> None:
    client = Client(config(quorum=1, max_staleness=0, max_in_flight=1))
    client.checkout("a")
    client.checkout("b")
    client.commit("b")
    first = client.commit("a", seq=1, prev_applied=0)
    client.checkout("b")
    client.commit("b")
    client.engine.stop("enough")
    repeat = client.commit("a", seq=1, prev_applied=0, base=0, current=7)
    assert repeat.duplicate
    assert (repeat.staleness, repeat.weight, repeat.status) == (first.staleness, first.weight, STOPPED)
    with pytest.raises(RunNotActiveError):
        client.commit("a", seq=2, prev_applied=1)


def test_repeats_buy_no_time() -> None:
    client = Client(config(quorum=2))
    client.checkout("a")
    client.checkout("b")
    client.commit("a")
    client.commit("b")
    client.checkout("a")
    client.commit("a")
    client.now = LEASE_SECONDS - 1.0
    assert client.commit("b", seq=1, prev_applied=0, base=0).duplicate
    assert client.version == 1
    client.now = LEASE_SECONDS
    client.engine.tick(client.now)
    assert client.version == 2


def test_a_repeat_of_a_superseded_process_is_no_sign_of_life() -> None:
    client = Client(config(quorum=2))
    client.checkout("a")
    client.commit("a")
    client.engine.leave("a", 0.0)
    assert client.commit("a", seq=1, prev_applied=0, current=3).duplicate
    assert not client.engine.presence.live
    assert client.commit("a", seq=1, prev_applied=0, current=0).duplicate
    assert client.engine.presence.live == ("a",)


def test_a_superseded_checkout_learns_nothing_of_the_newer_chain() -> None:
    client = Client(config())
    client.checkout("a", incarnation=2)
    client.commit("a", incarnation=2, current=2)
    with pytest.raises(IncarnationSupersededError):
        client.checkout("a", incarnation=1)
    assert isinstance(client.checkout("a", incarnation=3), CheckoutAnswer)


# --- waits, time, departures -------------------------------------------------------------------------


def test_time_passes_before_a_command_is_decided() -> None:
    commands: list[Callable[[Client], object]] = [
        lambda client: client.checkout("late"),
        lambda client: client.checkout(""),
        lambda client: client.commit("good"),
        lambda client: client.engine.announce("late", 0, client.now),
        lambda client: client.engine.leave("stranger", client.now),
        lambda client: client.engine.tick(client.now),
    ]
    for command in commands:
        client = Client(config(quorum=2))
        client.checkout("good")
        client.checkout("late")
        client.commit("good")
        client.now = LEASE_SECONDS
        command(client)
        assert client.version >= 1


def test_waiting_for_a_version_may_complete_it() -> None:
    client = Client(config(quorum=2))
    client.checkout("a")
    client.checkout("b")
    client.commit("a")
    answer = client.checkout("b", min_version=1)
    assert isinstance(answer, CheckoutAnswer)
    assert answer.version == 1


def test_waiting_may_finish_the_run() -> None:
    client = Client(config(quorum=2, max_versions=1))
    client.checkout("a")
    client.checkout("b")
    client.commit("a")
    assert isinstance(client.checkout("b", min_version=1), MustWait)
    with pytest.raises(RunNotActiveError):
        client.checkout("b", min_version=1)


def test_a_newcomer_that_must_wait_is_a_member() -> None:
    client = Client(config())
    assert isinstance(client.checkout("a", min_version=1), MustWait)
    assert client.events[1:] == [Joined(worker_id="a")]
    client.engine.stop_waiting("a", 0.0)
    assert client.engine.presence.active(0.0) == {"a"}


def test_only_members_announce() -> None:
    client = Client(config())
    client.engine.announce("stranger", 0, 0.0)
    assert client.engine.presence.live == ()


def test_departures_complete_rounds() -> None:
    client = Client(config(quorum=2))
    client.checkout("a")
    client.checkout("b")
    client.commit("a")
    client.engine.leave("b", 0.0)
    assert client.version == 1


def test_a_restarted_engine_waits_for_the_known() -> None:
    client = Client(config(quorum=1))
    client.checkout("a")
    client.checkout("b")
    again = RunEngine("run", replay(client.events))
    again.restarted(100.0, round_seconds=[2.0, 2.0])
    client.engine, client.now = again, 100.0
    client.commit("a")
    assert client.version == 0
    client.engine.announce("b", 0, 101.0)
    assert client.version == 1
    assert again.presence.timer.lease_seconds() == 6.0


# --- ends --------------------------------------------------------------------------------------------


def test_the_last_version_finishes_the_run() -> None:
    client = Client(config(quorum=1, max_versions=2))
    client.checkout("a")
    assert client.commit("a").status == ACTIVE
    assert client.commit("a").status == FINISHED
    assert client.events[-1] == Ended(status=FINISHED, reason="reached max_versions")
    with pytest.raises(RunNotActiveError):
        client.checkout("a")
    observer = client.checkout("", min_version=99)
    assert isinstance(observer, CheckoutAnswer)
    assert (observer.version, observer.status) == (2, FINISHED)
    client.engine.stop("again")
    client.engine.tick(1e9)
    assert client.take() == ()
    assert replayed(client) == state_digest(client.engine.state)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_divergence_ends_the_run_and_keeps_the_last_version(name: str) -> None:
    outer = OuterConfig(name=name, learning_rate=1e300)
    client = Client(config(quorum=1, outer=outer))
    client.checkout("a")
    huge = {"vector": np.full(2, 1e308), "scalar": np.asarray(1.0, dtype=np.float32)}
    answer = client.commit("a", huge)
    assert (answer.status, answer.version) == (STOPPED, 0)
    assert "not finite" in client.engine.state.reason
    assert float(client.engine.state.published["scalar"]) == 0.0
    assert replayed(client) == state_digest(client.engine.state)


def test_bounds_do_not_hide_a_poisoned_optimiser() -> None:
    outer = OuterConfig(name="sgd", learning_rate=1.0, momentum=0.9)
    client = Client(config(quorum=1, outer=outer, bounds=(-1.0, 1.0)))
    client.checkout("a")
    huge = {"vector": np.full(2, 1.5e308), "scalar": np.asarray(0.0, dtype=np.float32)}
    statuses = [client.commit("a", huge).status for _ in range(2)]
    assert statuses == [ACTIVE, STOPPED]
    assert client.version == 1


def test_the_smallest_work_moves_a_version_like_any_other() -> None:
    client = Client(config(quorum=1))
    client.checkout("a")
    assert client.commit("a", 2.0, work=5e-324).version == 1
    np.testing.assert_array_equal(client.engine.state.published["vector"], [-2.0, 2.0])
    assert float(client.engine.state.published["scalar"]) == -2.0


def test_rounds_of_skips_publish_without_a_step() -> None:
    client = Client(config(quorum=2, outer=OuterConfig(name="adam")))
    client.checkout("a")
    client.checkout("b")
    client.commit("a", None)
    client.commit("b", None)
    published = client.events[-1]
    assert isinstance(published, Published)
    assert published.payload is None
    assert client.version == 1
    assert client.engine.state.optimizer_state.steps == 0
    assert client.engine.state.totals.skipped == 2
    assert replayed(client) == state_digest(client.engine.state)


def test_values_stay_in_their_bounds() -> None:
    client = Client(config(quorum=1, bounds=(-1.0, 0.5)))
    client.checkout("a")
    client.commit("a", 100.0)
    np.testing.assert_array_equal(client.engine.state.published["vector"], [-1.0, 0.5])


def test_totals_add_up() -> None:
    client = Client(config(quorum=1))
    client.checkout("a")
    client.checkout("b")
    client.commit("a", timing={"compute_seconds": 1.5})
    client.commit("b", base=0, timing={"compute_seconds": 2.0})
    client.commit("a", None, timing={"compute_seconds": 1.0, "wait_seconds": 0.5})
    totals = client.engine.state.totals
    assert (totals.accepted, totals.skipped, dict(totals.staleness)) == (3, 1, {0: 2, 1: 1})
    assert dict(totals.timing["a"]) == {"compute_seconds": 2.5, "wait_seconds": 0.5}
    assert client.engine.state.rounds.chains["b"].effective_weight == 0.5


def test_the_run_definition_is_at_hand() -> None:
    client = Client(config(quorum=3))
    assert client.engine.config.rounds.quorum == 3
    assert dataclasses.asdict(client.engine.config.rounds)["quorum"] == 3
