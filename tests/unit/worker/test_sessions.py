"""Sessions that are left and come back to: what waits on disk, what is lost, and what nobody needs any more."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from chronos_common.compression import SignificanceConfig
from chronos_common.engine import CompressionConfig, WorkSpec, replay
from chronos_common.errors import (
    DivergenceError,
    InvalidRequestError,
    StateDirectoryError,
    UnavailableError,
)
from chronos_common.hypergradient import Carry
from chronos_common.problem import InnerState
from chronos_worker.state_directory import StateDirectory
from chronos_worker.state_file import Identity, pack_outbox, unpack_theta
from tests.support.fake_coordinator import RUN, run_config
from tests.support.faulty_client import DELIVER, STALE
from tests.support.mortal import AFTER_ANSWER, AFTER_SEND, Mortal, first_then_deliver
from tests.support.worker_bench import Bench
from tests.unit.worker.test_durability import check_ledger, run_of


def files(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.glob("*/*") if path.name != "lock")


def theta_of(mortal: Mortal) -> Carry:
    content = mortal.directory.read(RUN, "theta")
    assert content is not None
    return unpack_theta(content, Identity.of("w", mortal.coordinator.get_run(RUN)))


async def away_and_back(bench: Bench, *, updates: int = 3) -> None:
    """Works on run a, then on b, then on a again."""
    bench.coordinator.create("b", run_of("identity"))
    bench.coordinator.engines["b"].stop("not yet")
    bench.coordinator.create("a", run_of("topk5"))

    def before(number: int, _arguments: Mapping[str, Any]) -> None:
        if number == updates:
            bench.coordinator.create("b", run_of("identity"))
            bench.client.errors["commit"] = [
                InvalidRequestError("go elsewhere")
            ] * bench.worker.config.max_failures
        if number == updates + bench.worker.config.max_failures:
            bench.coordinator.engines["b"].stop("done")
        if number == updates + bench.worker.config.max_failures + 2:
            bench.worker.stop()

    bench.compute.before = before
    await bench.run()


@pytest.mark.parametrize("durable", [True, False])
async def test_a_living_process_that_comes_back_to_a_run(tmp_path: Path, durable: bool) -> None:
    bench = Bench(**({"state_dir": tmp_path} if durable else {}))
    await away_and_back(bench)
    records = bench.coordinator.records("w", "a")
    assert {record.incarnation for record in records} == {1}, "one process"
    declared = [record.seq for record in records if record.residual_lost]
    lost = replay(bench.coordinator.events("a")).account.residuals_lost
    if durable:
        assert (declared, lost) == ([], 0)
        assert bench.value("chronos_worker_ledger_mass", term="lost") == 1.0, "of run b, when it was stopped"
    else:
        assert (declared, lost) == ([4], 1)
        assert (bench.value("chronos_worker_ledger_mass", term="lost") or 0.0) > 1.0


async def test_the_ledger_of_a_worker_holds_through_its_sessions(tmp_path: Path) -> None:
    bench = Bench(state_dir=tmp_path)
    await away_and_back(bench)
    terms = {
        name: bench.value("chronos_worker_ledger_mass", term=name) or 0.0 for name in ("produced", "applied")
    }
    others = ("residual", "pending", "discounted", "discarded", "lost")
    rest = sum(bench.value("chronos_worker_ledger_mass", term=name) or 0.0 for name in others)
    assert terms["produced"] == pytest.approx(terms["applied"] + rest)


@pytest.mark.parametrize("durable", [True, False])
async def test_a_process_that_the_coordinator_has_forgotten_is_its_own_successor(
    tmp_path: Path, durable: bool
) -> None:
    bench = Bench(**({"state_dir": tmp_path} if durable else {}))
    bench.coordinator.create(config=run_of("topk5"))

    def before(number: int, _arguments: Mapping[str, Any]) -> None:
        if number == 2:
            bench.coordinator.forget_workers()
            bench.coordinator.first_incarnation = 2
        if number == 4:
            bench.worker.stop()

    bench.compute.before = before
    await bench.run()
    declared = [record.residual_lost for record in bench.coordinator.records("w")]
    assert declared == [False, False, not durable, False]
    if durable:
        assert (bench.coordinator.applied("w")[:5] <= 1).all()
        assert bench.value("chronos_worker_ledger_mass", term="lost") == 0.0


async def test_a_process_that_owes_nothing_declares_nothing_under_its_next_incarnation() -> None:
    checkouts = 0

    def forgetting(method: str) -> str:
        nonlocal checkouts
        checkouts += method == "checkout"
        if method == "checkout" and checkouts == 3:
            bench.coordinator.forget_workers()
            bench.coordinator.first_incarnation = 2
        return DELIVER

    bench = Bench(forgetting)
    bench.coordinator.create()
    await bench.run_updates(4)
    assert [record.incarnation for record in bench.coordinator.records("w")] == [1, 1, 2, 2]
    assert not any(record.residual_lost for record in bench.coordinator.records("w"))


async def test_the_state_of_a_run_that_ends_is_removed(tmp_path: Path) -> None:
    bench = Bench(run_id=RUN, state_dir=tmp_path)
    bench.coordinator.create(config=run_config(max_versions=2))
    await bench.run()
    assert files(tmp_path) == []


async def test_the_state_of_a_run_that_ended_meanwhile_is_removed(tmp_path: Path) -> None:
    mortal = Mortal(tmp_path, run_of("topk5"))
    mortal_files = tmp_path / "state"
    await asyncio.to_thread(mortal.live, 2, AFTER_ANSWER)
    unreadable = mortal.directory.path / "torn.outbox"
    unreadable.write_bytes(b"?")
    unknown = pack_outbox(Identity(worker_id="w", run_id="unknown", definition=""), mortal.kept())
    mortal.directory.write("unknown", "outbox", unknown)
    assert files(mortal_files) == [".outbox", ".outbox", ".outbox", ".theta"]
    mortal.coordinator.engines[RUN].stop("over")
    bench = Bench(state_dir=mortal_files)
    bench.coordinator = bench.client.coordinator = mortal.coordinator
    running = asyncio.create_task(bench.run())
    await bench.client.until("checkout", 1)
    bench.worker.stop()
    await running
    assert files(mortal_files) == [".outbox", ".outbox"], "of the run that nobody knows, and the torn one"


async def test_a_named_run_that_ended_meanwhile_leaves_nothing(tmp_path: Path) -> None:
    mortal = Mortal(tmp_path, run_of("topk5"))
    await asyncio.to_thread(mortal.live, 2, AFTER_ANSWER)
    mortal.coordinator.engines[RUN].stop("over")
    bench = Bench(state_dir=tmp_path / "state", run_id=RUN)
    bench.coordinator = bench.client.coordinator = mortal.coordinator
    bench.client.errors["get_run"] = [UnavailableError("not now")]
    await bench.run()
    assert files(tmp_path / "state") == []


def test_an_ended_run_whose_state_cannot_be_removed_is_over_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    mortal = Mortal(tmp_path, run_config(max_versions=2))
    mortal.config["run_id"] = RUN
    monkeypatch.setattr(StateDirectory, "remove", refuse)
    mortal.live(5)
    assert len(mortal.records) == 2


@pytest.mark.parametrize("death", [AFTER_SEND, None])
def test_the_filter_remembers_what_it_held_back(tmp_path: Path, death: str | None) -> None:
    patient = SignificanceConfig(minimum=1.5, maximum=1.5, max_skips=2)
    mortal = Mortal(tmp_path, run_config(compression=CompressionConfig(significance=patient)))
    mortal.live(2, death)
    mortal.live(2)
    assert [record.payload is None for record in mortal.records] == [False, True, True, False]
    np.testing.assert_array_equal(mortal.coordinator.applied("w")[:4], np.ones(4))


# --- theta -------------------------------------------------------------------------------------------------


def test_training_goes_on_where_the_process_before_stood(tmp_path: Path) -> None:
    mortal = Mortal(tmp_path, run_of("identity"))
    mortal.live(3, AFTER_SEND)
    assert theta_of(mortal).next_step == 0, "written with the first commit, and not again at once"
    mortal.live(1)
    assert theta_of(mortal).next_step == 3, "a clean stop writes it"
    mortal.live(1)
    carries = [inputs["carry"] for inputs in mortal.compute.inputs]
    assert [None if carry is None else carry.next_step for carry in carries] == [None, 0, 1, 0, 3]


def test_theta_may_be_written_with_every_commit(tmp_path: Path) -> None:
    mortal = Mortal(tmp_path, run_of("identity"))
    mortal.config["state_theta_seconds"] = 0.0
    mortal.live(3, AFTER_SEND)
    assert theta_of(mortal).next_step == 2


def test_a_large_theta_does_not_take_all_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mortal = Mortal(tmp_path, run_of("identity"))
    mortal.config["state_theta_seconds"] = 0.0
    write, written = StateDirectory.write, []

    def slow(directory: StateDirectory, run_id: str, part: Any, content: bytes) -> None:
        write(directory, run_id, part, content)
        if part == "theta":
            mortal.time.now += 0.5
            written.append(len(mortal.compute.inputs))
        elif len(mortal.compute.inputs) == 3:
            mortal.time.now += 10.0

    monkeypatch.setattr(StateDirectory, "write", slow)
    mortal.live(5, AFTER_SEND)
    assert written[:2] == [1, 4], "not again before twenty times as long"


def test_what_diverged_is_not_gone_on_from(tmp_path: Path) -> None:
    mortal = Mortal(tmp_path, run_of("identity"))
    mortal.live(2)
    assert mortal.directory.read(RUN, "theta") is not None

    def diverge() -> None:
        before = mortal.compute.__class__.__call__

        def raising(compute: Any, *values: Any, **options: Any) -> Any:
            update = before(compute, *values, **options)
            if compute.produced == 3:
                raise DivergenceError("not finite")
            return update

        mortal.compute.__class__ = type("Diverging", (mortal.compute.__class__,), {"__call__": raising})

    mortal.live(1, AFTER_SEND, before=diverge)
    assert mortal.directory.read(RUN, "theta") is None
    mortal.live(1)
    assert mortal.compute.inputs[-1]["carry"] is None
    assert mortal.records[2].payload is None, "a skip"


@pytest.mark.parametrize("content", [b"", b"CHWS" + bytes(60)])
def test_a_damaged_theta_costs_nothing_but_time(tmp_path: Path, content: bytes) -> None:
    mortal = Mortal(tmp_path, run_of("topk5"))
    mortal.live(2)
    mortal.directory.write(RUN, "theta", content)
    mortal.live(1)
    assert mortal.compute.inputs[-1]["carry"] is None
    assert mortal.declared == []
    assert list(mortal.directory.path.glob("*.theta.damaged"))
    np.testing.assert_allclose(check_ledger(mortal)[:3], np.ones(3))


def test_an_inner_state_that_no_file_can_hold_begins_afresh(tmp_path: Path) -> None:
    mortal = Mortal(tmp_path, run_of("topk5"))
    sparse = InnerState({"w": torch.eye(2).to_sparse()})
    original = mortal.compute.__class__.__call__

    def with_sparse(compute: Any, *values: Any, **options: Any) -> Any:
        update = original(compute, *values, **options)
        update.carry.inner["task"] = sparse
        return update

    mortal.compute.__class__ = type("Sparse", (mortal.compute.__class__,), {"__call__": with_sparse})
    mortal.live(2)
    assert (
        mortal.registry.get_sample_value("chronos_worker_state_failures_total", {"operation": "write"}) == 2
    )
    mortal.live(1)
    assert mortal.compute.inputs[-1]["carry"] is None
    np.testing.assert_allclose(check_ledger(mortal)[:3], np.ones(3))


def test_a_cold_start_keeps_no_theta(tmp_path: Path) -> None:
    work = WorkSpec(problem="fake:Problem", inner_steps=10, cold_start=True)
    mortal = Mortal(tmp_path, run_config(work=work))
    mortal.live(2)
    assert files(tmp_path / "state") == [".outbox"]


# --- the directory -----------------------------------------------------------------------------------------


async def test_a_process_of_the_same_worker_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    first, second = Bench(state_dir=tmp_path), Bench(state_dir=tmp_path)
    running = asyncio.create_task(first.run())
    await first.client.until("checkout", 1)
    with pytest.raises(StateDirectoryError, match=r"held by 'worker w' \(process \d+\).*--worker-id"):
        await second.run()
    assert second.client.calls.total() == 0, "it has not superseded the first"
    other = Bench(state_dir=tmp_path, worker_id="v")
    other.coordinator.create()
    await other.run_updates(1)
    first.worker.stop()
    await running
    second.coordinator.create()
    await second.run_updates(1)


async def test_a_directory_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bench = Bench(state_dir=tmp_path / "file")
    with pytest.raises(StateDirectoryError, match="cannot be written: .*--state-dir"):
        await bench.run()
    assert bench.client.calls.total() == 0


def test_a_full_disk_is_refused_at_the_start(tmp_path: Path) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    directory = StateDirectory(tmp_path, "w", fsync=full)
    with pytest.raises(StateDirectoryError, match="No space left"):
        directory.open()
    again = StateDirectory(tmp_path, "w")
    again.open()
    again.close()


def test_names_are_safe_and_told_apart(tmp_path: Path) -> None:
    names = ["../up", "a/b", "a-b", "A-B", "ü", "x" * 500, ""]
    directory = StateDirectory(tmp_path, "../../etc")
    directory.open()
    for name in names:
        directory.write(name, "outbox", name.encode())
    assert [directory.read(name, "outbox") for name in names] == [name.encode() for name in names]
    assert all(path.parent.parent == tmp_path for path in tmp_path.glob("*/*"))
    assert len({path.name.lower() for path in directory.path.glob("*.outbox")}) == len(names)
    directory.close()


def test_a_file_that_cannot_be_read_counts_as_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    mortal = Mortal(tmp_path, run_of("topk5"))
    mortal.live(1)
    with monkeypatch.context() as patch:
        patch.setattr(StateDirectory, "read", broken)
        patch.setattr(StateDirectory, "set_aside", broken)
        mortal.live(1)
    assert mortal.declared == [1]


def test_a_stale_refusal_that_was_not_heard_decays_all_the_same(tmp_path: Path) -> None:
    mortal = Mortal(tmp_path, run_of("identity"))
    mortal.live(1, AFTER_SEND, first_then_deliver(("checkout", "deliver")))
    mortal.live(1, AFTER_ANSWER, first_then_deliver(("commit", STALE)))
    mortal.live(1)
    np.testing.assert_array_equal(check_ledger(mortal)[:3], [1.0, 0.5**3, 1.0])
