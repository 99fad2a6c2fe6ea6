"""A coordinator and workers that run somewhere else, and go on when the command ends."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Protocol

from chronos_common.cli.chaos import Victim
from chronos_common.errors import ChronosError, ConfigurationError
from chronos_common.wire import SyncCoordinatorClient


class Cluster(Victim, Protocol):
    """A coordinator with workers, wherever they run."""

    @property
    def address(self) -> str:
        """``host:port`` of the coordinator."""

    @property
    def kills(self) -> Mapping[str, int]:
        """Processes that a signal has ended, by kind, as far as anybody here knows."""

    @property
    def advice(self) -> str:
        """Where to look when no work is done."""

    def wait_for_workers(self) -> None:
        """Returns when the workers are registered that were started for this command."""

    def leave(self, run_id: str) -> None:
        """A run is given up: nobody should work on it any more."""


class RemoteCluster:
    """The cluster at an address: nothing is started, killed or stopped from here.

    Args:
        address: ``host:port`` of the coordinator.
        problem: what its workers have to allow.
    """

    def __init__(self, address: str, *, problem: str) -> None:
        self.address = address
        self.kills: Mapping[str, int] = {}
        self.advice = (
            f"the coordinator at {address} needs running workers that allow --problem '{problem}' and have what "
            "it imports; look at their logs"
        )

    def wait_for_workers(self) -> None:
        """Workers come and go as they like."""

    def check(self) -> None:
        """Nobody here can see its processes."""

    def leave(self, run_id: str) -> None:
        """Ends the run, if the coordinator can still be told."""
        with contextlib.suppress(ChronosError), SyncCoordinatorClient(self.address) as client:
            client.stop_run(run_id, reason="the command that made it was interrupted")

    def kill(self, name: str) -> None:
        """Raises a ``ConfigurationError``, like :meth:`restart`, :meth:`pause` and :meth:`resume`."""
        raise ConfigurationError(f"{name} runs at {self.address}: only processes of this command can be hurt")

    restart = pause = resume = kill
