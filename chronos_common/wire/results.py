"""What calls return beside the views of ``chronos_common.engine``: plain data, no protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chronos_common.engine.views import VersionPart, VersionRecord, snapshot_of


@dataclass(frozen=True, kw_only=True)
class RegisterResult:
    """A worker process's place in the fleet.

    Attributes:
        incarnation: number of this process; part of every later call.
        heartbeat_seconds: how often to send a heartbeat.
        chains: sequence number of the last applied commit, by run.
        max_payload_bytes: largest payload that the coordinator admits.
    """

    incarnation: int
    heartbeat_seconds: float
    chains: Mapping[str, int]
    max_payload_bytes: int


@dataclass(frozen=True, kw_only=True)
class CheckoutResult:
    """A version, handed out.

    Attributes:
        run_id: the run.
        version: the version.
        digest: digest of the outer parameters at it, to be compared with that of the decoded payload.
        not_modified: the client holds this version already.
        parts: one snapshot of the outer parameters, in stored coordinates, or deltas for the version that the
            client holds; none when that has the same value. ``chronos_common.engine.Replica`` applies them.
        work_seconds: time until the commit is due; 0 without a lease.
        shard: this worker's share of a data-parallel problem: (index, count).
        last_applied: where this worker's chain of commits stands in the run.
        applied_by: incarnation that sent that commit; 0 for none, or a coordinator that does not say.
        status: the run's status.
        bytes_received: bytes of the answer's messages.
        bytes_sent: bytes of the request's message.
        header_seconds: time until the answer began, what the coordinator let the call wait included.
        work_share: how much of the inner loop is to be done, in (0, 1].
    """

    run_id: str
    version: int
    digest: str
    not_modified: bool
    parts: tuple[VersionPart, ...]
    work_seconds: float
    shard: tuple[int, int]
    last_applied: int
    status: str
    bytes_received: int
    bytes_sent: int
    header_seconds: float = 0.0
    work_share: float = 1.0
    applied_by: int = 0

    @property
    def snapshot(self) -> bytes | None:
        """The whole value, if that is what was handed out: always, to a caller that named no known version."""
        return snapshot_of(self.parts)


@dataclass(frozen=True, kw_only=True)
class CommitResult:
    """A commit that is durable.

    Attributes:
        staleness: versions between its base and the version it was judged at.
        weight: what it is applied with.
        version: newest published version when the answer was made.
        duplicate: this is the stored answer to a repeated request.
        last_applied: sequence number of the last applied commit.
        status: the run's status.
        bytes_received: bytes of the answer's message.
        bytes_sent: bytes of the request's messages.
    """

    staleness: int
    weight: float
    version: int
    duplicate: bool
    last_applied: int
    status: str
    bytes_received: int
    bytes_sent: int


@dataclass(frozen=True, kw_only=True)
class WatchUpdate:
    """News of a run: a published version, or (``record`` is ``None``) only its status."""

    record: VersionRecord | None
    status: str
