"""One run of one arm: served, followed, and read back from its journal."""

from __future__ import annotations

import secrets

from benchmarks.uneven.arms import Arm
from benchmarks.uneven.cases import Case
from benchmarks.uneven.runs import Trial, Values
from chronos_common.cli.cluster import LocalCluster
from chronos_common.cli.following import follow
from chronos_common.codec import decode, encode
from chronos_common.engine import (
    CommitRecord,
    Created,
    Published,
    Replica,
    RunConfig,
    VersionPart,
    VersionRecord,
    from_parts,
)
from chronos_common.engine.local import describe_run
from chronos_common.store import StreamKey, open_store
from chronos_common.tensors import digest
from chronos_common.wire import SyncCoordinatorClient

STALL_SECONDS = 60.0


def serve(cluster: LocalCluster, case: Case, arm: Arm, seed: int, versions: int) -> Trial:
    """Creates a run, waits for its end, and reads its journal.

    Raises:
        UnavailableError: it makes no version any more.
        ProcessError: a process of the cluster has ended.
    """
    config, stored = describe_run(
        case.problem(seed),
        work=case.work(seed),
        outer=case.outer,
        rounds=arm.rounds,
        leases=arm.leases,
        compression=arm.compression,
        max_versions=versions,
    )
    run_id = f"{case.name}-{secrets.token_hex(4)}"
    records: list[VersionRecord] = []
    with SyncCoordinatorClient(cluster.address) as client:
        client.create_run(config, encode("identity", stored), run_id=run_id)
        follow(client, run_id, on_version=records.append, check=cluster.check, stall_seconds=STALL_SECONDS)
        view = client.get_run(run_id)
    values, pairs = _read(cluster, run_id, config)
    shares = [record.metrics["cpu_share"] for record in records if "cpu_share" in record.metrics]
    return Trial(
        view=view,
        records=records,
        values=values,
        pairs=len(pairs),
        cpu_share=sum(shares) / len(shares),
    )


def _read(cluster: LocalCluster, run_id: str, config: RunConfig) -> tuple[list[Values], set[tuple[str, int]]]:
    """u of every version from 1 as clients see it, and who worked at which base."""
    replica, values = Replica(config.parameters), list[Values]()
    pairs: set[tuple[str, int]] = set()
    store = open_store(cluster.config.store, read_only=True)
    try:
        for entry in store.entries(StreamKey.of_run(run_id)):
            event = from_parts(entry.kind, entry.meta, entry.payload)
            if isinstance(event, Created):
                whole = VersionPart(version=0, is_delta=False, payload=event.payload)
                replica.take(0, digest(decode(event.payload)), (whole,))
            elif isinstance(event, CommitRecord):
                pairs.add((event.worker_id, event.base))
            elif isinstance(event, Published) and event.payload is not None:
                part = VersionPart(version=event.version, is_delta=event.is_delta, payload=event.payload)
                values.append(replica.take(event.version, event.digest, (part,)))
            elif isinstance(event, Published):
                raise AssertionError(f"version {event.version} of run {run_id} is made of nothing but skips")
    finally:
        store.close()
    return values, pairs
