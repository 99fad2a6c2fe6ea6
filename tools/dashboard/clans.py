"""The row about clans."""

from __future__ import annotations

from typing import Final

from tools.dashboard.panels import Panel, Row
from tools.dashboard.promql import total

CLANS: Final = Row(
    title="Clans",
    panels=[
        Panel(
            title="Clan fitness",
            about="Validation loss of the newest round that closed, less is better: best, median and worst of the "
            "living.",
            unit="short",
            queries={"{{clan}} {{rank}}": "max by (clan, rank) (chronos_clan_fitness)"},
        ),
        Panel(
            title="Genes",
            about="What numeric genes are set to: lowest, median and highest of the living. The schedule's factor is "
            "not in them.",
            unit="short",
            queries={"{{clan}} {{gene}} {{rank}}": "max by (clan, gene, rank) (chronos_clan_gene)"},
            log=True,
        ),
        Panel(
            title="Rounds and steps",
            about="The round that runs or is next, and the step of the training at which it begins.",
            unit="short",
            queries={
                "{{clan}} round": "max by (clan) (chronos_clan_round)",
                "{{clan}} step": "max by (clan) (chronos_clan_steps)",
            },
            log=True,
        ),
        Panel(
            title="Members",
            about="Places by state: living, awaited (training waits for somebody), empty.",
            unit="short",
            queries={"{{clan}} {{state}}": "max by (clan, state) (chronos_clan_members)"},
        ),
        Panel(
            title="Reports, departures and clones per second",
            about="Fitnesses taken, members that are gone (by reason), members that took over another one's weights.",
            unit="ops",
            queries={
                "{{clan}} {{reason}}": total("chronos_clan_departures_total", "clan, reason"),
                "{{clan}} reports": total("chronos_clan_reports_total", "clan"),
                "{{clan}} clones": total("chronos_clan_clones_total", "clan"),
            },
        ),
    ],
)
