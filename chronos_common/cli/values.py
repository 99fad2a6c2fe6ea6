"""The newest values of a run, from a coordinator."""

from __future__ import annotations

from dataclasses import dataclass

from chronos_common.engine import Replica, RunConfig
from chronos_common.tensors import Arrays
from chronos_common.wire import SyncCoordinatorClient


@dataclass(frozen=True, kw_only=True)
class Newest:
    """A version as it was read: ``stored`` in stored coordinates, proven by ``digest``."""

    version: int
    digest: str
    stored: Arrays


def newest_values(client: SyncCoordinatorClient, run_id: str, config: RunConfig) -> Newest:
    """Reads the newest version whole.

    Raises:
        RunNotFoundError: no such run.
        PayloadError: the answer is damaged.
    """
    answer = client.checkout(run_id)
    stored = Replica(config.parameters).take(answer.version, answer.digest, answer.parts)
    return Newest(version=answer.version, digest=answer.digest, stored=stored)
