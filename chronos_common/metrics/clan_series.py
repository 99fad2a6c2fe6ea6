"""The series of clans."""

from __future__ import annotations

from typing import Final

from chronos_common.metrics.declaration import Series

_CLAN: Final = ("clan",)

CLAN_ROUND = Series(
    name="chronos_clan_round", kind="gauge", help="Round that runs, or the next one, from 0.", labels=_CLAN
)
CLAN_STEPS = Series(
    name="chronos_clan_steps",
    kind="gauge",
    help="Step of the training at which the round begins.",
    labels=_CLAN,
)
CLAN_MEMBERS = Series(
    name="chronos_clan_members",
    kind="gauge",
    help="Places of a clan by state: living (somebody sits there), awaited (training waits for somebody), empty.",
    labels=("clan", "state"),
)
CLAN_FITNESS = Series(
    name="chronos_clan_fitness",
    kind="gauge",
    help="Validation loss of the newest round that closed, less is better: best, median and worst of the living; NaN "
    "before the first, infinity where it was not finite.",
    labels=("clan", "rank"),
)
CLAN_GENE = Series(
    name="chronos_clan_gene",
    kind="gauge",
    help="What a numeric gene or a switch is set to: lowest, median and highest of the living.",
    labels=("clan", "gene", "rank"),
)
CLAN_REPORTS = Series(
    name="chronos_clan_reports_total", kind="counter", help="Fitnesses taken.", labels=_CLAN
)
CLAN_DEPARTURES = Series(
    name="chronos_clan_departures_total",
    kind="counter",
    help="Members that are gone, by reason: left, silent, superseded (by a newer process), late (no report within "
    "the round's deadline), absent (never came), unreachable (another member said so).",
    labels=("clan", "reason"),
)
CLAN_CLONES = Series(
    name="chronos_clan_clones_total",
    kind="counter",
    help="Members that took over another one's weights, at the end of a round or as joiners.",
    labels=_CLAN,
)

CLAN_SERIES: Final = (
    CLAN_ROUND,
    CLAN_STEPS,
    CLAN_MEMBERS,
    CLAN_FITNESS,
    CLAN_GENE,
    CLAN_REPORTS,
    CLAN_DEPARTURES,
    CLAN_CLONES,
)
