"""What a worker keeps about a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chronos_common.codec import decode, encode
from chronos_common.compression import PipelineConfig, SignificanceConfig
from chronos_common.engine import CompressionConfig, WorkSpec
from chronos_common.errors import DigestMismatchError, NonFiniteError
from chronos_common.hypergradient import Carry, InnerUpdate
from chronos_common.metrics import WorkerMetrics
from chronos_common.tensors import digest
from chronos_common.versions import PARAMETER_DELTA
from chronos_common.wire import CheckoutResult
from chronos_worker.session import Session
from tests.support.fake_compute import FakeCompute
from tests.support.fake_coordinator import RUN, SIZE, run_config
from tests.support.fake_time import FakeTime
from tests.support.parts import whole

VALUES = {"u": np.arange(SIZE, dtype=np.float64)}


def session(**changes: Any) -> Session:
    config = run_config(**changes)
    trainer = FakeCompute().load(FakeTime())(config.work)
    return Session(RUN, config, worker_id="w", incarnation=1, last_applied=0, trainer=trainer)


def update(value: float) -> InnerUpdate:
    return InnerUpdate(
        gradient={"u": value * np.arange(1.0, SIZE + 1.0)},
        work=0.5,
        metrics={"outer_loss": 0.25},
        diagnostics={},
        samples=3,
        tasks=1,
        carry=Carry(base_version=0, next_step=1, inner={}, estimator={}),
    )


def checkout(
    version: int = 3, *, payload: bool = True, last_applied: int = 0, sha: str = ""
) -> CheckoutResult:
    return CheckoutResult(
        run_id=RUN,
        version=version,
        digest=sha or digest(VALUES),
        not_modified=not payload,
        parts=whole(encode("identity", VALUES) if payload else None, version),
        work_seconds=1.0,
        shard=(0, 1),
        last_applied=last_applied,
        status="active",
        bytes_received=0,
        bytes_sent=0,
    )


def test_values_are_kept_while_the_version_is_the_same() -> None:
    kept = session()
    np.testing.assert_array_equal(kept.take(checkout())["u"], VALUES["u"])
    assert kept.known == 3
    np.testing.assert_array_equal(kept.take(checkout(payload=False))["u"], VALUES["u"])


@pytest.mark.parametrize(
    "answer", [checkout(sha="00" * 32), checkout(version=4, payload=False, sha="11" * 32)]
)
def test_values_that_are_not_the_announced_ones_are_dropped(answer: CheckoutResult) -> None:
    kept = session()
    kept.take(checkout())
    with pytest.raises(DigestMismatchError, match="fetched again"):
        kept.take(answer)
    assert kept.known is None


def test_a_checkout_settles_a_commit_whose_answer_never_came() -> None:
    kept = session()
    kept.take(checkout())
    work = kept.prepare(3, None)
    assert [commit.seq for commit in kept.outbox.unresolved] == [work.commit.seq]
    kept.take(checkout(version=4, last_applied=work.commit.seq))
    assert kept.outbox.unresolved == ()
    assert kept.owed == 0.0


SPARSE = CompressionConfig(up=PipelineConfig(name="topk10+int8", dense_below_elements=0))


def test_what_a_payload_leaves_out_goes_with_the_next() -> None:
    kept = session(compression=SPARSE)
    first = kept.prepare(0, update(1.0))
    assert first.payload is not None
    assert len(first.payload) < len(encode("identity", VALUES))
    sent = decode(first.payload)["u"]
    np.testing.assert_allclose(sent + kept.outbox.residual["u"], update(1.0).gradient["u"], rtol=1e-12)
    kept.outbox.accepted(first.commit.seq)
    for _ in range(60):
        last = kept.prepare(0, update(0.0))
        assert last.payload is not None
        sent = sent + decode(last.payload)["u"]
        kept.outbox.accepted(last.commit.seq)
    np.testing.assert_allclose(sent, update(1.0).gradient["u"], atol=1e-6)
    assert kept.owed < 1e-5


def test_an_update_that_is_not_worth_a_message_waits_and_is_still_reported() -> None:
    waiting = SignificanceConfig(minimum=0.5, maximum=0.5, max_skips=2)
    kept = session(compression=CompressionConfig(significance=waiting))
    works = [kept.prepare(0, update(value)) for value in (1.0, 0.1, 0.1, 0.1)]
    assert [work.payload is None for work in works] == [False, True, True, False], "after two it is due"
    skip = works[1]
    assert (skip.commit.update, skip.commit.work, skip.samples) == (None, 0.5, 3)
    assert skip.metrics == {"outer_loss": 0.25}
    payload = works[3].payload
    assert payload is not None
    np.testing.assert_allclose(decode(payload)["u"], update(0.3).gradient["u"])


def test_a_diverged_update_does_not_make_what_waits_wait_longer() -> None:
    waiting = SignificanceConfig(minimum=0.5, maximum=0.5, max_skips=2)
    kept = session(compression=CompressionConfig(significance=waiting))
    works = [kept.prepare(0, u) for u in (update(1.0), update(0.1), None, update(0.1))]
    assert [work.payload is None for work in works] == [False, True, True, False]


def test_parameter_deltas_are_held_against_the_parameters() -> None:
    waiting = SignificanceConfig(minimum=0.5, maximum=0.5, max_skips=9)
    work = WorkSpec(problem="fake:Problem", kind=PARAMETER_DELTA)
    kept = session(compression=CompressionConfig(significance=waiting), work=work)
    kept.take(checkout())
    share = float(np.linalg.norm(VALUES["u"]) / np.linalg.norm(update(1.0).gradient["u"]))
    works = [kept.prepare(3, update(value * share)) for value in (0.1, 0.3, 0.2)]
    assert [work.payload is None for work in works] == [True, True, False], (
        "their sum is .6 of the parameters"
    )


def test_what_a_session_leaves_behind_is_declared_lost() -> None:
    metrics = WorkerMetrics()
    kept = session(compression=SPARSE)
    kept.prepare(0, update(1.0))
    kept.report(metrics)
    ledger = kept.ledger
    assert ledger.imbalance(residual=kept.residual_mass, pending=kept.pending_mass) < 1e-12
    assert kept.pending_mass > 0.0
    assert kept.residual_mass > 0.0
    kept.close()
    assert kept.ledger.lost == pytest.approx(ledger.produced)
    assert kept.ledger.imbalance() < 1e-12


def test_an_update_that_cannot_be_sent_changes_nothing() -> None:
    kept = session(compression=SPARSE)
    with pytest.raises(NonFiniteError):
        kept.prepare(0, update(float("inf")))
    assert kept.outbox.unresolved == ()
    assert kept.owed == 0.0
