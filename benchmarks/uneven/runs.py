"""What came of a run, as the arms are compared by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chronos_common.engine import RunView, VersionRecord
from chronos_common.tensors import Array

Values = Mapping[str, Array]
"""u, by name."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of a run.

    Attributes:
        view: the run at its end, as the coordinator counted it.
        records: its versions in order, with times in Unix seconds.
        values: u of each.
        pairs: distinct (worker, base version) among its commits.
        cpu_share: CPU time of the inner steps, as a share of their fixed duration; the mean of all commits.
    """

    view: RunView
    records: Sequence[VersionRecord]
    values: Sequence[Values]
    pairs: int
    cpu_share: float

    @property
    def seconds(self) -> list[float]:
        """When each version was published, in seconds since the run was created."""
        return [record.time - self.view.created_at for record in self.records]
