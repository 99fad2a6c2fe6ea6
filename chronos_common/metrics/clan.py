"""What the coordinator reports of clans."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from chronos_common.metrics import clan_series as series
from chronos_common.metrics.collectors import Collectors


class ClanMetrics:
    """Series of clans.

    Args:
        collectors: of the coordinator's table.
    """

    def __init__(self, collectors: Collectors) -> None:
        self._collectors = collectors

    def reported(self, clan: str) -> None:
        """A fitness was taken."""
        self._collectors.add(series.CLAN_REPORTS, clan=clan)

    def departed(self, clan: str, reason: str) -> None:
        """A member is gone."""
        self._collectors.add(series.CLAN_DEPARTURES, clan=clan, reason=reason)

    def cloned(self, clan: str, members: int) -> None:
        """So many members took over another one's weights."""
        self._collectors.add(series.CLAN_CLONES, members, clan=clan)

    def changed(
        self,
        clan: str,
        *,
        number: int,
        step: int,
        members: Mapping[str, int],
        fitness: Sequence[float],
        genes: Mapping[str, Sequence[float]],
    ) -> None:
        """How a clan stands; ``members`` counts places by state, ``fitness`` and ``genes`` are the living's."""
        self._collectors.set(series.CLAN_ROUND, number, clan=clan)
        self._collectors.set(series.CLAN_STEPS, step, clan=clan)
        for state, count in members.items():
            self._collectors.set(series.CLAN_MEMBERS, count, clan=clan, state=state)
        for rank, value in zip(("best", "median", "worst"), _spread(fitness), strict=True):
            self._collectors.set(series.CLAN_FITNESS, value, clan=clan, rank=rank)
        for gene, values in genes.items():
            for rank, value in zip(("lowest", "median", "highest"), _spread(values), strict=True):
                self._collectors.set(series.CLAN_GENE, value, clan=clan, gene=gene, rank=rank)


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return (min(values), statistics.median(values), max(values)) if values else (math.nan, math.nan, math.nan)
