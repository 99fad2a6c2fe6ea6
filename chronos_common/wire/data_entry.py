"""From a data set to a member of its plan: what every worker of a job calls alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from chronos_common.data.definition import DataPlanConfig
from chronos_common.errors import ConfigurationError
from chronos_common.wire.data_source import CoordinatorSource, patiently
from chronos_common.wire.sync import SyncCoordinatorClient


def join_plan(
    client: SyncCoordinatorClient,
    plan_id: str,
    worker_id: str,
    *,
    config: DataPlanConfig,
    sizes: ArrayLike,
    rank: int,
    first: int | None = None,
    node: int = 0,
    give_up_seconds: float = 60.0,
) -> CoordinatorSource:
    """Creates the plan or finds it, tells this worker's part of the sizes, and joins.

    Of a data set that every worker sees, rank r of ``config.workers`` tells the r-th part; a worker with a higher rank,
    or one that comes when some sizes are still missing because their teller is gone, tells those.

    Args:
        client: of the coordinator; one for all plans of this process.
        plan_id: the same for all workers of the job.
        worker_id: stable name of this worker.
        config: the same for all workers of the job.
        sizes: of the samples, (N,); with ``first``, of this node's part only, (n,).
        rank: of this worker, from 0, as nobody else's.
        first: of a partitioned data set, the number of the first sample of this node's part.
        node: of a partitioned data set, the one whose samples this worker reads.
        give_up_seconds: how long the coordinator may be away, now and later.

    Raises:
        ConfigurationError: sizes of another number of samples than the plan has, or a negative rank.
        ChronosError: as the client's methods raise it.
    """
    known = np.asarray(sizes)
    if rank < 0:
        raise ConfigurationError(f"rank is {rank}; it must be 0 or more", field="rank")
    if (first is None) == config.partitioned:
        raise ConfigurationError(
            "a partitioned plan needs the number of the first sample of each node's part (first=), any other none",
            field="first",
        )
    if first is None and known.shape != (config.samples,):
        raise ConfigurationError(
            f"sizes of shape {known.shape} for a plan of {config.samples} samples; give one for each",
            field="sizes",
        )

    def tell() -> None:
        view = client.create_data_plan(plan_id, config)
        if first is not None:
            client.upload_sizes(plan_id, first, known, node=node)
        elif view.sized < config.samples and rank < config.workers:
            begin, end = (config.samples * part // config.workers for part in (rank, rank + 1))
            client.upload_sizes(plan_id, begin, known[begin:end])
        elif view.sized < config.samples:
            client.upload_sizes(plan_id, view.first_missing, known[view.first_missing :])

    patiently(client, tell, give_up_seconds)
    return CoordinatorSource(
        client, plan_id, worker_id, rank=rank, node=node, give_up_seconds=give_up_seconds
    )
