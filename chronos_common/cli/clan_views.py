"""Clans as JSON, as tables and as lines."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from chronos_common.clan.history import RoundRecord
from chronos_common.clan.views import ClanView, MemberView

SHORT = 8
"""Characters of a genome's id that are shown."""


def clan_json(view: ClanView) -> dict[str, Any]:
    """How a clan stands; a fitness that is not finite is null."""
    return {
        "clan_id": view.clan_id,
        "round": view.round,
        "step": view.step,
        "running": view.running,
        "finished": view.finished,
        "epoch": view.epoch,
        "definition": view.definition.to_json(),
        "members": [_member_json(one) for one in view.members],
    }


def clan_line(view: ClanView) -> str:
    """A clan in one line."""
    here = sum(bool(one.worker_id) for one in view.members)
    total = view.definition.config.total_steps
    state = "finished" if view.finished else "runs" if view.running else "waits"
    return (
        f"clan {view.clan_id}: round {view.round} {state}, step {view.step:,}"
        f"{'' if total is None else f' of {total:,}'}, {here} of {len(view.members)} members, "
        f"best fitness {number(view.best)}"
    )


BARE_WIDTH: Final = 61
"""Characters of a table of rounds without its genes."""

NARROW_WIDTH: Final = 36
"""Characters of what is left of it on a narrow terminal."""

GENE_WIDTH: Final = 11
"""Characters of a gene's median, at least."""

SPREAD_WIDTH: Final = 32
"""Characters of a gene's median and range."""


def clans_table(views: Sequence[ClanView]) -> Table:
    """All clans."""
    table = Table(box=SIMPLE_HEAD)
    for column in ("clan", "round", "step", "members", "best fitness", "state"):
        table.add_column(column)
    for view in views:
        table.add_row(
            view.clan_id,
            str(view.round),
            f"{view.step:,}",
            f"{sum(bool(one.worker_id) for one in view.members)} of {len(view.members)}",
            number(view.best),
            "finished" if view.finished else "runs" if view.running else "waits for members",
        )
    return table


def members_table(view: ClanView) -> Table:
    """A clan's members and their genes."""
    genes = sorted(view.definition.genes)
    table = Table(box=SIMPLE_HEAD)
    for column in ("member", "worker", "genome", "born", *genes, "fitness", "this round"):
        table.add_column(column)
    for one in view.members:
        values = one.genome.values()
        style = "" if one.worker_id else "dim"
        table.add_row(
            str(one.member),
            one.worker_id or ("awaited" if one.alive else "empty"),
            one.genome.genome_id[:SHORT],
            str(one.genome.born),
            *(number(values[gene]) for gene in genes),
            number(one.genome.fitness),
            number(one.reported),
            style=style,
        )
    return table


def rounds_table(view: ClanView, history: Sequence[RoundRecord], width: int) -> Table:
    """Rounds that have closed, a line for each: fitness, and each gene's median.

    Args:
        view: of the clan.
        history: its rounds.
        width: characters of a line; the less there are, the less is told.
    """
    genes = sorted(view.definition.genes)
    needed = sum(max(GENE_WIDTH, len(gene) + 3) for gene in genes)
    spreads, wide = width >= BARE_WIDTH + SPREAD_WIDTH * len(genes), width >= BARE_WIDTH + needed
    shown = genes[: max(1, (width - NARROW_WIDTH) // GENE_WIDTH)] if not wide else genes
    table = Table(box=SIMPLE_HEAD, title=clan_line(view), title_justify="left", padding=(0, 1 if wide else 0))
    for column in ("round", *(("step", "members", "best", "median", "worst") if wide else ("best",))):
        table.add_column(column, no_wrap=True)
    for column in (*shown, "replaced"):
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    for record in history:
        fitness = sorted(one.fitness for one in record.members)
        middle = (f"{record.first_step + record.steps:,}", str(len(record.members)), number(fitness[0]))
        rest = (number(statistics.median(fitness)), number(fitness[-1]))
        values = [[one.genes[gene] for one in record.members] for gene in shown]
        table.add_row(
            f"{record.number}{' fan-out' if record.fan_out else ''}",
            *((*middle, *rest) if wide else (number(fitness[0]),)),
            *(_spread(each) if spreads else _middle(each) for each in values),
            " ".join(f"{move.target}←{move.source}" for move in record.decision.moves) or "-",
        )
    return table


def round_line(record: RoundRecord) -> str:
    """A round in one line."""
    fitness = sorted(one.fitness for one in record.members)
    genes = sorted(record.members[0].genes)
    spreads = ", ".join(f"{gene} {_spread([one.genes[gene] for one in record.members])}" for gene in genes)
    return (
        f"round {record.number}{' (fan-out)' if record.fan_out else ''} to step {record.first_step + record.steps:,}: "
        f"fitness {number(fitness[0])} to {number(fitness[-1])} of {len(record.members)}, {spreads}"
    )


def round_json(record: RoundRecord) -> dict[str, Any]:
    """A round; a fitness that is not finite is null."""
    return record.to_json()


def number(value: Any) -> str:
    """A number with four digits, a name as it is, and nothing as a dash."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _middle(values: Sequence[Any]) -> str:
    """The median, or the most frequent."""
    return number(statistics.mode(values) if isinstance(values[0], str | bool) else statistics.median(values))


def _spread(values: Sequence[Any]) -> str:
    if isinstance(values[0], str | bool):
        counted = sorted(
            {str(value): values.count(value) for value in values}.items(), key=lambda one: -one[1]
        )
        return ", ".join(f"{name} ×{count}" if len(counted) > 1 else name for name, count in counted)
    low, high = min(values), max(values)
    middle = statistics.median(values)
    return number(middle) if low == high else f"{number(middle)} ({number(low)} to {number(high)})"


def _member_json(one: MemberView) -> dict[str, Any]:
    reported = one.reported
    return {
        "member": one.member,
        "worker_id": one.worker_id,
        "incarnation": one.incarnation,
        "address": one.address,
        "alive": one.alive,
        "genome_id": one.genome.genome_id,
        "parents": list(one.genome.parents),
        "born": one.genome.born,
        "genes": one.genome.values(),
        "fitness": one.genome.to_json()["fitness"],
        "reported": reported if reported is not None and math.isfinite(reported) else None,
    }
