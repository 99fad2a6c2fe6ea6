"""What a worker keeps about a run."""

from __future__ import annotations

import numpy as np
import pytest

from chronos_common.codec import encode
from chronos_common.errors import DigestMismatchError
from chronos_common.tensors import digest
from chronos_common.wire import CheckoutResult
from chronos_worker.session import Session
from tests.support.fake_compute import FakeCompute
from tests.support.fake_coordinator import RUN, SIZE, run_config
from tests.support.fake_time import FakeTime
from tests.support.parts import whole

VALUES = {"u": np.arange(SIZE, dtype=np.float64)}


def session() -> Session:
    config = run_config()
    trainer = FakeCompute().load(FakeTime())(config.work)
    return Session(RUN, config, worker_id="w", incarnation=1, last_applied=0, trainer=trainer)


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
