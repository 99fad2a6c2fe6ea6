"""A worker that dies at any moment: with a state directory nothing is lost or applied twice, without one it is said."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronos_common.compression import PipelineConfig, SignificanceConfig
from chronos_common.engine import CompressionConfig, RunConfig, replay, verify
from chronos_common.errors import StateDirectoryError
from chronos_common.outer import OuterSpec
from chronos_worker.state_directory import StateDirectory
from tests.support.fake_coordinator import RUN, SIZE, run_config
from tests.support.faulty_client import DELIVER, FAULTS, LOSE_ANSWER, STALE
from tests.support.mortal import (
    AFTER_ANSWER,
    AFTER_SEND,
    AFTER_WRITE,
    BEFORE_WRITE,
    DEATHS,
    Mortal,
    first_then_deliver,
)

FILTER = SignificanceConfig(minimum=0.9, maximum=1.1, max_skips=2)
COMPRESSIONS = {
    "identity": CompressionConfig(),
    "topk5": CompressionConfig(up=PipelineConfig(name="topk5", dense_below_elements=0)),
    "topk10+int8": CompressionConfig(up=PipelineConfig(name="topk10+int8", dense_below_elements=0)),
    "filter": CompressionConfig(significance=FILTER),
}


def run_of(name: str) -> RunConfig:
    return run_config(compression=COMPRESSIONS[name])


@pytest.fixture
def mortal(tmp_path: Path) -> Mortal:
    return Mortal(tmp_path, run_of("topk5"))


def check_ledger(mortal: Mortal) -> np.ndarray:
    """The kept ledger closes, and joins the coordinator's; what is applied or owed, by update."""
    kept = mortal.kept()
    residual = kept.outbox.residual.get("u", np.zeros(SIZE))
    pending = sum(c.update["u"].sum() for c, _ in kept.outbox.unresolved if c.update is not None)
    assert kept.ledger.imbalance(residual=float(residual.sum()), pending=pending) < 1e-12
    journal = replay(mortal.coordinator.events()).account.ledger
    if not pending:
        assert abs(kept.ledger.applied - journal.produced) <= 1e-6 * max(1.0, kept.ledger.gross)
    assert verify(mortal.coordinator.events()).clean
    seqs = [record.seq for record in mortal.records]
    assert seqs == sorted(set(seqs))
    return mortal.coordinator.applied("w") + residual


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("death", DEATHS)
def test_wherever_a_process_dies_the_next_one_goes_on(tmp_path: Path, death: str, compression: str) -> None:
    mortal = Mortal(tmp_path, run_of(compression))
    mortal.live(3, death)
    mortal.live(2, death)
    mortal.live(3)
    found = check_ledger(mortal)
    produced = np.ones(8)
    if death == BEFORE_WRITE:  # work that was never entered anywhere
        produced[[2, 4]] = 0.0
    np.testing.assert_allclose(found[:8], produced, atol=1e-6)
    assert not found[8:].any()
    assert mortal.declared == []
    assert {record.incarnation for record in mortal.records} >= {1, 3}


@pytest.mark.parametrize(("death", "applied"), [(AFTER_WRITE, 2), (AFTER_SEND, 3), (AFTER_ANSWER, 3)])
def test_one_write_before_the_commit_allows_both_ends(tmp_path: Path, death: str, applied: int) -> None:
    mortal = Mortal(tmp_path, run_of("identity"))
    mortal.live(3, death)
    kept = mortal.kept()
    assert [commit.seq for commit, _ in kept.outbox.unresolved] == [3], "nothing was written after the answer"
    assert len(mortal.records) == applied
    mortal.live(1)
    again = mortal.coordinator.applied("w")
    np.testing.assert_array_equal(again[:4], np.ones(4))
    assert mortal.records[-1].seq == 4 if applied == 3 else 3


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[int, str | None, list[tuple[str, str]]]]:
    faults = st.lists(
        st.tuples(st.sampled_from(("checkout", "commit", "commit", "register")), st.sampled_from(FAULTS)),
        max_size=3,
    )
    life = st.tuples(st.integers(1, 3), st.sampled_from((*DEATHS, None)), faults)
    return draw(st.lists(life, min_size=1, max_size=3))


@pytest.mark.histories
@given(history=lives(), compression=st.sampled_from(sorted(COMPRESSIONS)))
@settings(max_examples=20)
def test_through_all_histories_of_crashes_and_faults_the_ledger_holds(
    history: list[tuple[int, str | None, list[tuple[str, str]]]], compression: str
) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        mortal = Mortal(folder, run_of(compression))
        for updates, death, faults in [*history, (1, None, [])]:
            mortal.live(updates, death, first_then_deliver(*faults))
        found = check_ledger(mortal)
        stale = any(fault == STALE for _, _, faults in history for _, fault in faults)
        entered = found[: mortal.compute.produced]
        assert (entered > -1e-6).all()
        assert (entered < 1 + 1e-6).all(), "applied twice"
        if not stale:  # a stale one comes back smaller
            assert (np.minimum(abs(entered), abs(entered - 1)) < 1e-6).all(), "lost in part"
            assert (entered < 0.5).sum() <= sum(death == BEFORE_WRITE for _, death, _ in history)
        assert mortal.declared == []
    finally:
        shutil.rmtree(folder)


def test_what_comes_back_beyond_the_bound_is_decayed_as_a_refusal_would(mortal: Mortal) -> None:
    """Had it been refused as stale, and nobody lived to hear of it, it would look the same."""
    mortal.live(1, AFTER_ANSWER)
    mortal.live(1, AFTER_WRITE)
    mortal.coordinator.overtake(versions=5)
    mortal.live(2)
    np.testing.assert_allclose(check_ledger(mortal)[:4], [1.0, 0.5**5, 1.0, 1.0])


def test_what_comes_back_within_the_bound_is_whole(mortal: Mortal) -> None:
    mortal.live(1, AFTER_WRITE)
    mortal.coordinator.overtake(versions=2)
    mortal.live(1)
    np.testing.assert_allclose(check_ledger(mortal)[:2], np.ones(2))


# --- without a directory -----------------------------------------------------------------------------------


@pytest.mark.parametrize("death", [AFTER_WRITE, AFTER_ANSWER, None])
def test_without_a_directory_the_next_process_declares_the_loss_once(
    tmp_path: Path, death: str | None
) -> None:
    mortal = Mortal(tmp_path, run_of("topk5"), durable=False)
    mortal.live(3, death)
    first = len(mortal.records)
    mortal.live(3)
    assert mortal.declared == [first]
    assert replay(mortal.coordinator.events()).account.residuals_lost == 1


def test_a_loss_is_declared_until_a_commit_that_says_so_is_applied(tmp_path: Path) -> None:
    mortal = Mortal(tmp_path, run_of("identity"), durable=False)
    mortal.live(1, AFTER_ANSWER)
    client = mortal.live(3, plan=first_then_deliver(("commit", STALE), ("commit", LOSE_ANSWER)))
    assert [commit.residual_lost for commit in client.commits] == [True, True, True, False]
    assert mortal.declared == [1]


def test_a_loss_that_nobody_has_heard_of_yet_survives_a_crash(mortal: Mortal) -> None:
    mortal.live(1, AFTER_ANSWER)
    mortal.directory.remove(RUN, "outbox")
    mortal.live(1, AFTER_WRITE)
    assert mortal.kept().declares
    mortal.live(1, AFTER_SEND)
    mortal.live(1)
    assert mortal.declared == [1]
    assert not mortal.kept().declares


def test_a_first_process_has_nothing_to_declare(tmp_path: Path) -> None:
    mortal = Mortal(tmp_path, run_of("topk5"), durable=False)
    mortal.live(3)
    assert mortal.declared == []


# --- files that cannot be used -----------------------------------------------------------------------------


def flipped(content: bytes) -> bytes:
    return content[:100] + bytes([content[100] ^ 1]) + content[101:]


def newer(content: bytes) -> bytes:
    return content[:4] + b"\x02\0\0\0" + content[8:]


@pytest.mark.parametrize("damage", [flipped, newer, lambda c: c[:-1], lambda _: b""])
def test_a_damaged_file_is_set_aside_and_declared(mortal: Mortal, damage: Callable[[bytes], bytes]) -> None:
    mortal.live(2, AFTER_ANSWER)
    content = mortal.directory.read(RUN, "outbox")
    assert content is not None
    mortal.directory.write(RUN, "outbox", damage(content))
    mortal.live(2)
    assert mortal.declared == [2]
    [aside] = mortal.directory.path.glob("*.outbox.damaged")
    assert aside.read_bytes() == damage(content)
    assert mortal.registry.get_sample_value("chronos_worker_state_failures_total", {"operation": "read"}) == 1
    mortal.live(2, AFTER_SEND)
    mortal.live(1)
    assert mortal.declared == [2]


def test_a_damaged_file_proves_that_there_was_a_predecessor(mortal: Mortal) -> None:
    mortal.live(1, AFTER_WRITE)
    assert mortal.records == []
    mortal.directory.write(RUN, "outbox", b"torn")
    mortal.live(1)
    assert mortal.declared == [0]


def test_an_older_file_is_not_taken_for_the_truth(mortal: Mortal) -> None:
    """A backup that was put back, or a process in between that kept nothing."""
    mortal.live(2, AFTER_ANSWER)
    old = mortal.directory.read(RUN, "outbox")
    assert old is not None
    mortal.live(2, AFTER_ANSWER)
    mortal.directory.write(RUN, "outbox", old)
    mortal.live(1)
    assert mortal.declared == [4]
    seqs = [record.seq for record in mortal.records]
    assert seqs == sorted(set(seqs))


@pytest.mark.parametrize(
    "change", [{}, {"parameters": (OuterSpec(name="u", shape=(SIZE,), dtype="float32"),)}]
)
def test_another_run_of_the_same_name_gets_nothing(
    tmp_path: Path, mortal: Mortal, change: dict[str, Any]
) -> None:
    """The coordinator's store was lost and the run made anew: what was owed to the old one is owed to nobody."""
    mortal.live(2, AFTER_WRITE)
    successor = Mortal(tmp_path, run_config(**change))
    successor.coordinator.created_at = 5.0 if not change else 0.0
    successor.compute.dtype = "float32" if change else "float64"
    successor.live(2)
    assert successor.declared == []
    np.testing.assert_array_equal(successor.coordinator.applied("w")[:3], [1.0, 1.0, 0.0])
    assert list(mortal.directory.path.glob("*.outbox.damaged"))


def test_a_coordinator_that_was_set_back_is_told_that_the_residual_is_lost(mortal: Mortal) -> None:
    mortal.live(2, AFTER_ANSWER)
    journal = list(mortal.coordinator.journals[RUN])
    mortal.live(2, AFTER_ANSWER)
    mortal.coordinator.journals[RUN] = journal
    mortal.coordinator.restart()
    mortal.live(1)
    assert mortal.declared == [2]


# --- disks that fail ---------------------------------------------------------------------------------------


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_in_mid_run_makes_a_worker_without_durability(
    mortal: Mortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    mortal.live(2)
    with monkeypatch.context() as patch:
        patch.setattr(StateDirectory, "write", full)
        mortal.live(2, AFTER_ANSWER)
    assert mortal.directory.read(RUN, "outbox") is None, "an outdated file is worse than none"
    assert (
        mortal.registry.get_sample_value("chronos_worker_state_failures_total", {"operation": "write"}) >= 2
    )
    mortal.live(1)
    assert mortal.declared == [4]


def test_the_warm_start_makes_room_for_what_is_owed(mortal: Mortal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that holds one of the two: the insurance is kept, and nobody fights for the place."""
    write = StateDirectory.write

    def small(directory: StateDirectory, run_id: str, part: Any, content: bytes) -> None:
        other = "theta" if part == "outbox" else "outbox"
        if directory.read(run_id, other) is not None and directory.read(run_id, "outbox") is not None:
            full()
        write(directory, run_id, part, content)

    mortal.live(2)
    assert mortal.directory.read(RUN, "theta") is not None
    mortal.config["state_theta_seconds"] = 0.0
    with monkeypatch.context() as patch:
        patch.setattr(StateDirectory, "write", small)
        mortal.live(3, AFTER_ANSWER)
    assert mortal.directory.read(RUN, "theta") is None
    mortal.live(2)
    assert mortal.declared == []
    np.testing.assert_allclose(check_ledger(mortal)[:7], np.ones(7))


def test_a_disk_that_has_room_again_keeps_again(mortal: Mortal, monkeypatch: pytest.MonkeyPatch) -> None:
    write, left = StateDirectory.write, [1, 0, 0]

    def sometimes(directory: StateDirectory, run_id: str, part: Any, content: bytes) -> None:
        if part == "outbox" and left and left.pop():
            full()
        write(directory, run_id, part, content)

    monkeypatch.setattr(StateDirectory, "write", sometimes)
    left.reverse()
    mortal.live(3, AFTER_ANSWER)
    monkeypatch.undo()
    mortal.live(2)
    np.testing.assert_allclose(check_ledger(mortal)[:5], np.ones(5))
    assert mortal.declared == []


def test_a_file_that_can_be_neither_replaced_nor_removed_stops_the_worker(
    mortal: Mortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    mortal.live(2)
    with monkeypatch.context() as patch:
        patch.setattr(StateDirectory, "write", full)
        patch.setattr(StateDirectory, "remove", full)
        with pytest.raises(StateDirectoryError, match="nothing was sent"):
            mortal.live(2)
    assert len(mortal.records) == 2
    mortal.live(1)
    found = check_ledger(mortal)
    np.testing.assert_allclose(found[[0, 1, 3]], np.ones(3))
    assert mortal.declared == []


def test_a_full_disk_at_the_end_keeps_the_state_of_the_last_commit(
    mortal: Mortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, writes = StateDirectory.write, [0]

    def not_the_last(directory: StateDirectory, run_id: str, part: Any, content: bytes) -> None:
        writes[0] += part == "outbox"
        if writes[0] > 2:
            full()
        write(directory, run_id, part, content)

    with monkeypatch.context() as patch:
        patch.setattr(StateDirectory, "write", not_the_last)
        mortal.live(2)
    assert len(mortal.kept().outbox.unresolved) == 1
    mortal.live(1)
    np.testing.assert_allclose(check_ledger(mortal)[:3], np.ones(3))
    assert mortal.declared == []


def test_a_network_that_fails_meanwhile_changes_nothing(mortal: Mortal) -> None:
    mortal.live(2, AFTER_SEND)
    mortal.live(2, AFTER_SEND, first_then_deliver(("checkout", LOSE_ANSWER), ("commit", DELIVER)))
    mortal.live(1)
    np.testing.assert_allclose(check_ledger(mortal)[:5], np.ones(5))
