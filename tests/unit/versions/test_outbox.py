"""The worker's end of the chain: every update ends up on exactly one side."""

from __future__ import annotations

import numpy as np
import pytest

from chronos_common.errors import (
    ChainBrokenError,
    ChronosError,
    IncarnationSupersededError,
    InvalidRequestError,
    NonFiniteError,
    OverloadedError,
    RunNotActiveError,
    StaleCommitError,
    StoreWriteError,
    WaitExpiredError,
)
from chronos_common.tensors import Arrays
from chronos_common.versions import HYPERGRADIENT, PARAMETER_DELTA, Outbox, Resolution


def update(value: float) -> dict[str, np.ndarray]:
    return {"x": np.array([value, -value], dtype=np.float64), "scalar": np.asarray(value, dtype=np.float32)}


def outbox(**fields: object) -> Outbox:
    return Outbox("a", 2, **fields)  # type: ignore[arg-type]


def seqs(box: Outbox) -> list[tuple[int, int]]:
    return [(commit.seq, commit.prev_applied) for commit in box.unresolved]


def chain_broken(last: int, incarnation: int = 2) -> ChainBrokenError:
    return ChainBrokenError("broken", last_applied=last, incarnation=incarnation, seq=0)


def test_commits_follow_what_is_known_to_be_applied() -> None:
    box = outbox(last_applied=7)
    first, second = box.prepare(update(1), 3), box.prepare(update(2), 4, work=0.5)
    assert (first.seq, first.prev_applied, first.base, first.incarnation) == (8, 7, 3, 2)
    assert (second.seq, second.prev_applied, second.work) == (9, 7, 0.5)
    assert box.accepted(8) == Resolution(applied=(8,), dropped=(9,))
    assert box.last_applied == 8
    assert seqs(box) == []
    third = box.prepare(update(4), 4)
    assert (third.seq, third.prev_applied) == (10, 8)
    assert third.update is not None
    np.testing.assert_array_equal(third.update["x"], [6.0, -6.0])


def test_giving_up_returns_what_never_will_be_applied() -> None:
    box = outbox()
    box.prepare(update(1), 0)
    box.prepare(update(2), 0)
    assert box.accepted(2) == Resolution(applied=(2,), dropped=(1,))
    np.testing.assert_array_equal(box.residual["x"], [1.0, -1.0])


@pytest.mark.parametrize(
    "error",
    [
        OverloadedError("later"),
        WaitExpiredError("later"),
        StoreWriteError("nobody can tell"),
        ChronosError("something"),
        IncarnationSupersededError("stop", current=3),
    ],
)
def test_what_is_no_refusal_resolves_nothing(error: ChronosError) -> None:
    box = outbox()
    box.prepare(update(1), 0)
    assert box.refused(1, error) == Resolution()
    assert seqs(box) == [(1, 0)]
    assert box.residual == {}


def test_stale_hypergradients_return_decayed_and_deltas_whole() -> None:
    stale = StaleCommitError("stale", base=0, version=3, staleness=3)
    for kind, kept in (("hypergradient", 0.125), (PARAMETER_DELTA, 1.0)):
        box = outbox(kind=kind, decay=0.5)
        box.prepare(update(8), 0)
        assert box.refused(1, stale) == Resolution(dropped=(1,))
        np.testing.assert_array_equal(box.residual["x"], [8 * kept, -8 * kept])
        assert box.residual["scalar"].dtype == np.float32


def test_the_weight_that_comes_with_a_refusal_goes_before_the_own_decay() -> None:
    told: list[tuple[str, float]] = []
    for kind, kept in (("hypergradient", 0.75), (PARAMETER_DELTA, 1.0)):
        box = outbox(kind=kind, decay=0.5, observe=lambda term, _, share: told.append((term, share)))
        box.prepare(update(8), 0)
        box.refused(1, StaleCommitError("stale", staleness=3, weight=0.75))
        np.testing.assert_array_equal(box.residual["x"], [8 * kept, -8 * kept])
    assert told == [("produced", 1.0), ("discounted", 0.25), ("produced", 1.0)]


def test_beyond_a_cutoff_nothing_of_a_hypergradient_returns() -> None:
    box = outbox()
    box.prepare(update(8), 0)
    box.refused(1, StaleCommitError("stale", staleness=3, weight=0.0))
    np.testing.assert_array_equal(box.residual["x"], [0, 0])


@pytest.mark.parametrize("error", [InvalidRequestError("work"), RunNotActiveError("over")])
def test_other_refusals_return_the_update_whole(error: ChronosError) -> None:
    box = outbox()
    box.prepare(update(8), 0)
    assert box.refused(1, error) == Resolution(dropped=(1,))
    np.testing.assert_array_equal(box.residual["x"], [8.0, -8.0])


def test_what_can_never_be_accepted_is_discarded_and_said_so() -> None:
    box = outbox()
    box.prepare(update(8), 0)
    assert box.refused(1, NonFiniteError("nan")) == Resolution(dropped=(1,), discarded=(1,))
    assert box.residual == {}


def test_a_broken_chain_settles_what_it_tells() -> None:
    box = outbox()
    for value in (1, 2, 4):
        box.prepare(update(value), 0)
    assert box.refused(3, chain_broken(2)) == Resolution(applied=(2,), dropped=(1, 3))
    np.testing.assert_array_equal(box.residual["x"], [5.0, -5.0])
    assert box.last_applied == 2


def test_the_seq_of_another_incarnation_is_not_ones_own() -> None:
    box = outbox(last_applied=5)
    box.prepare(update(1), 0)
    assert box.refused(6, chain_broken(6, incarnation=1)) == Resolution(dropped=(6,))
    commit = box.prepare(update(2), 0)
    assert (commit.seq, commit.prev_applied) == (7, 6)
    assert commit.update is not None
    np.testing.assert_array_equal(commit.update["x"], [3.0, -3.0])


def test_a_delayed_answer_does_not_recall_what_may_still_be_applied() -> None:
    box = outbox()
    box.prepare(update(1), 0)
    box.prepare(update(2), 0)
    box.accepted(1)
    box.prepare(update(4), 0)
    assert box.refused(2, chain_broken(1)) == Resolution()
    assert seqs(box) == [(3, 1)]
    assert box.accepted(3) == Resolution(applied=(3,))


def test_late_and_repeated_answers_change_nothing() -> None:
    box = outbox()
    box.prepare(update(1), 0)
    box.accepted(1)
    assert box.accepted(1) == Resolution()
    assert box.refused(1, NonFiniteError("nan")) == Resolution()
    assert box.resume(1) == Resolution()
    assert box.resume(0) == Resolution()
    assert box.last_applied == 1


def test_resuming_learns_what_was_applied() -> None:
    box = outbox()
    for value in (1, 2):
        box.prepare(update(value), 0)
    assert box.resume(2) == Resolution(applied=(2,), dropped=(1,))
    assert box.prepare(None, 0).prev_applied == 2


def test_a_skip_leaves_the_residual_and_returns_nothing() -> None:
    box = outbox()
    box.prepare(update(1), 0)
    box.refused(1, InvalidRequestError("work"))
    skip = box.prepare(None, 0)
    assert skip.update is None
    np.testing.assert_array_equal(box.residual["x"], [1.0, -1.0])
    box.refused(2, StaleCommitError("stale", staleness=3))
    np.testing.assert_array_equal(box.residual["x"], [1.0, -1.0])


def test_what_is_kept_is_a_copy_and_stays_an_array() -> None:
    box = outbox()
    mine = update(1)
    kept = box.prepare(mine, 0)
    mine["x"][:] = 99.0
    mine["scalar"][...] = 99.0
    assert kept.update is not None
    np.testing.assert_array_equal(kept.update["x"], [1.0, -1.0])
    box.refused(1, StaleCommitError("stale", staleness=1))
    merged = box.prepare(update(1), 0).update
    assert merged is not None
    assert isinstance(merged["scalar"], np.ndarray)
    assert merged["scalar"].dtype == np.float32
    assert merged["scalar"].shape == ()
    assert float(merged["scalar"]) == 1.5


def halving(total: Arrays) -> tuple[bytes, Arrays, Arrays]:
    """A compressor that sends half of everything."""
    half = {name: value / 2 for name, value in total.items()}
    return b"half", half, half


def test_a_compressor_leaves_its_rest_in_the_residual() -> None:
    box = outbox(compress=halving)
    first = box.prepare(update(8), 0)
    assert first.update is not None
    np.testing.assert_array_equal(first.update["x"], [4.0, -4.0])
    np.testing.assert_array_equal(box.residual["x"], [4.0, -4.0])
    assert box.payload(first.seq) == b"half"
    second = box.prepare(update(2), 0)
    assert second.update is not None
    np.testing.assert_array_equal(second.update["x"], [3.0, -3.0])
    box.refused(second.seq, InvalidRequestError("no"))
    np.testing.assert_array_equal(box.residual["x"], [6.0, -6.0])
    assert box.payload(second.seq) is None
    box.accepted(first.seq)
    assert box.payload(first.seq) is None
    assert outbox().payload(1) is None


def test_what_cannot_be_encoded_changes_nothing() -> None:
    def refuse(total: Arrays) -> tuple[bytes, Arrays, Arrays]:
        raise NonFiniteError("nan")

    seen: list[str] = []
    box = outbox(compress=refuse, observe=lambda term, arrays, share: seen.append(term))
    box.hold(update(1))
    with pytest.raises(NonFiniteError):
        box.prepare(update(2), 0)
    np.testing.assert_array_equal(box.residual["x"], [1.0, -1.0])
    assert box.unresolved == ()
    assert box.prepare(None, 0).seq == 1
    assert seen == ["produced"]


def test_held_updates_wait_for_the_next() -> None:
    box = outbox()
    box.hold(update(1))
    np.testing.assert_array_equal(box.with_residual(update(2))["x"], [3.0, -3.0])
    box.hold(update(2))
    box.prepare(None, 0)
    sent = box.prepare(update(4), 0)
    assert sent.update is not None
    np.testing.assert_array_equal(sent.update["x"], [7.0, -7.0])
    assert box.residual == {}


def test_every_share_is_told() -> None:
    told: list[tuple[str, float, float]] = []
    box = outbox(observe=lambda term, arrays, share: told.append((term, float(arrays["x"][0]), share)))
    for value in (1, 2, 4, 8):
        box.prepare(update(value), 0)
    box.refused(1, StaleCommitError("stale", staleness=1))
    box.refused(2, NonFiniteError("nan"))
    box.accepted(4)
    assert told[:4] == [("produced", value, 1.0) for value in (1.0, 2.0, 4.0, 8.0)]
    assert told[4:] == [("discounted", 1.0, 0.5), ("discarded", 2.0, 1.0), ("applied", 8.0, 1.0)]
    np.testing.assert_array_equal(box.residual["x"], [4.5, -4.5])


@pytest.mark.parametrize(
    ("last", "by", "resolution", "owed"),
    [
        (2, 2, Resolution(applied=(2,), dropped=(1,)), 1 + 0.5),
        (2, 1, Resolution(dropped=(1, 2)), 1 + 2 + 0.5),
        (0, 2, Resolution(dropped=(1, 2)), 1 + 2 + 0.5),
        (7, 3, Resolution(dropped=(1, 2)), 1 + 2 + 0.5),
    ],
)
def test_a_new_process_decides_what_the_old_one_left(
    last: int, by: int, resolution: Resolution, owed: float
) -> None:
    box = outbox(compress=lambda total: (b"p", total, {}))
    box.prepare(update(1), 0)
    box.prepare(update(2), 0)
    box.hold(update(0.5))
    state = box.state()
    assert [payload for _, payload in state.unresolved] == [b"p", b"p"]
    again, found = Outbox.restored("a", 3, state, last_applied=last, applied_by=by)
    assert found == resolution
    np.testing.assert_array_equal(again.residual["x"], [owed, -owed])
    commit = again.prepare(None, 0)
    assert (commit.incarnation, commit.seq, commit.prev_applied) == (3, last + 1, last)


@pytest.mark.parametrize(("kind", "kept"), [(HYPERGRADIENT, 0.5), (PARAMETER_DELTA, 1.0)])
def test_what_returns_too_late_returns_as_a_refusal_would_return_it(kind: str, kept: float) -> None:
    told: list[tuple[str, float]] = []
    box = outbox(kind=kind)
    box.prepare(update(1), 3)
    box.prepare(update(4), 9)
    again, _ = Outbox.restored(
        "a",
        3,
        box.state(),
        last_applied=0,
        applied_by=0,
        kind=kind,
        observe=lambda term, _arrays, share: told.append((term, share)),
        keep=lambda base: 0.5 if base == 3 else 1.0,
    )
    np.testing.assert_array_equal(again.residual["x"], [kept + 4, -kept - 4])
    assert told == ([("discounted", 0.5)] if kept < 1 else [])


@pytest.mark.parametrize(
    ("last", "by", "continues"),
    [
        (5, 1, True),
        (5, 2, True),
        (6, 2, True),
        (7, 2, True),
        (6, 1, False),
        (8, 2, False),
        (4, 1, False),
        (0, 0, False),
    ],
)
def test_a_state_knows_the_chains_that_it_can_continue(last: int, by: int, continues: bool) -> None:
    box = outbox(last_applied=5)
    box.prepare(update(1), 0)
    box.prepare(None, 0)
    assert box.state().continues(last, by) is continues


def test_the_same_process_comes_back_to_what_is_still_open() -> None:
    box = outbox(compress=lambda total: (b"p", total, {}))
    for value in (1, 2):
        box.prepare(update(value), 0)
    state = box.state()
    back, resolution = Outbox.restored("a", 2, state, last_applied=0, applied_by=0)
    assert resolution == Resolution()
    assert (seqs(back), back.payload(2), back.prepare(None, 0).seq) == ([(1, 0), (2, 0)], b"p", 3)
    back, resolution = Outbox.restored("a", 2, state, last_applied=1, applied_by=2)
    assert resolution == Resolution(applied=(1,), dropped=(2,))
    np.testing.assert_array_equal(back.residual["x"], [2.0, -2.0])
    assert back.prepare(None, 0).seq == 3, "never the number of another commit of this process"
