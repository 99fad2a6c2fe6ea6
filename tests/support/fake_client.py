"""A coordinator's client without a coordinator, for tests of the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import numpy as np

from chronos_common.codec import encode
from chronos_common.engine import (
    ACTIVE,
    FINISHED,
    STOPPED,
    MergedCommit,
    RunConfig,
    RunView,
    VerifyReport,
    VersionRecord,
    WorkerView,
    WorkSpec,
)
from chronos_common.errors import RunNotFoundError
from chronos_common.outer import OuterSpec
from chronos_common.tensors import digest
from chronos_common.wire import CheckoutResult, ClientSecurity
from tests.support.parts import whole


@dataclass(frozen=True)
class Finished:
    """What a command did."""

    code: int
    out: str
    err: str


Cli = Callable[..., Finished]

SPECS = (OuterSpec(name="decay", shape=(2,), dtype="float64", scale="log"),)


def run_view(run_id: str = "r1", **changes: Any) -> RunView:
    """A run in the middle of its life."""
    fields: dict[str, Any] = {
        "run_id": run_id,
        "config": RunConfig(parameters=SPECS, work=WorkSpec(problem="lab.problems:Ridge"), max_versions=10),
        "status": ACTIVE,
        "reason": "",
        "version": 4,
        "digest": "ab" * 32,
        "created_at": 1_700_000_000.0,
        "accepted": 9,
        "refused": 2,
        "skipped": 1,
        "duplicate": 3,
        "staleness": {1: 4, 0: 5},
        "bytes_received": 300,
        "bytes_sent": 500,
        "bytes_dense": 1000,
        "workers": (worker_view("w1"), worker_view("w2", live=False)),
        "metrics": {"outer_loss": 0.25, "test_accuracy": 0.9},
        "residuals_lost": 0,
    }
    return RunView(**{**fields, **changes})


def worker_view(worker_id: str, *, live: bool = True) -> WorkerView:
    """A worker that spent 4 s computing, 2 s waiting and 1 s communicating."""
    return WorkerView(
        worker_id=worker_id,
        incarnation=1,
        live=live,
        accepted=5,
        effective_weight=4.5,
        compute_seconds=4.0,
        wait_seconds=2.0,
        communication_seconds=1.0,
    )


def version_record(version: int, loss: float | None = 0.5, staleness: int = 1) -> VersionRecord:
    """A published version with one commit."""
    commit = MergedCommit(
        worker_id="w1", seq=version, staleness=staleness, weight=0.5, work=1.0, skipped=False
    )
    return VersionRecord(
        version=version,
        digest="cd" * 32,
        time=1_700_000_000.0 + version,
        commits=(commit,),
        metrics={} if loss is None else {"outer_loss": loss},
    )


class FakeClient:
    """Stands in for ``SyncCoordinatorClient``: the class holds the runs, every instance sees them."""

    runs: dict[str, RunView]
    report: VerifyReport
    addresses: list[str]
    created: list[tuple[RunConfig, bytes, str]]

    @classmethod
    def reset(cls) -> None:
        """One active run, and a journal that is clean."""
        cls.runs = {"r1": run_view()}
        cls.report = VerifyReport(clean=True, versions=4, entries=14)
        cls.addresses = []
        cls.created = []

    def __init__(self, address: str, *, security: ClientSecurity | None = None) -> None:
        self.addresses.append(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def list_runs(self) -> list[RunView]:
        return list(self.runs.values())

    def get_run(self, run_id: str) -> RunView:
        if run_id not in self.runs:
            raise RunNotFoundError(f"there is no run {run_id!r}; list the runs to see their ids")
        return self.runs[run_id]

    def stop_run(self, run_id: str, *, reason: str = "") -> RunView:
        self.get_run(run_id)
        self.runs[run_id] = run_view(run_id, status=STOPPED, reason=reason)
        return self.runs[run_id]

    def verify_run(self, run_id: str, *, from_snapshot: bool = False) -> VerifyReport:
        self.get_run(run_id)
        if from_snapshot:
            return replace(self.report, from_entry=9, from_version=3)
        return self.report

    def create_run(
        self,
        config: RunConfig,
        initial_payload: bytes,
        *,
        run_id: str = "",
        warm_start: str = "",
        **_: object,
    ) -> RunView:
        self.created.append((config, initial_payload, run_id))
        self.runs[run_id] = run_view(
            run_id, config=config, version=0, workers=(), metrics={}, warm_from=warm_start
        )
        return self.runs[run_id]

    def finish(self, run_id: str) -> None:
        """The run reaches its goal."""
        goal = self.runs[run_id].config.max_versions
        self.runs[run_id] = run_view(
            run_id,
            config=self.runs[run_id].config,
            status=FINISHED,
            reason="reached max_versions",
            version=goal,
        )

    def checkout(self, run_id: str) -> CheckoutResult:
        view = self.get_run(run_id)
        values = {spec.name: np.zeros(spec.shape, spec.tensor.numpy_dtype) for spec in view.config.parameters}
        return CheckoutResult(
            run_id=run_id,
            version=view.version,
            digest=digest(values),
            not_modified=False,
            parts=whole(encode("identity", values), view.version),
            work_seconds=0.0,
            shard=(0, 1),
            last_applied=0,
            status=view.status,
            bytes_received=0,
            bytes_sent=0,
            header_seconds=0.0,
        )
