"""`chronos clan watch`: a live table on a terminal, a line for each round elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from rich.console import Group
from rich.live import Live

from chronos_common.clan.history import RoundRecord
from chronos_common.clan.views import ClanView
from chronos_common.cli.clan_views import members_table, round_json, round_line, rounds_table
from chronos_common.cli.following import GIVE_UP_SECONDS
from chronos_common.cli.output import emit_json, results
from chronos_common.errors import UnavailableError
from chronos_common.wire import SyncCoordinatorClient

SHOWN_ROUNDS: Final = 20
FEWEST_ROUNDS: Final = 3
TABLE_LINES: Final = 12
"""Of a terminal's, that titles, heads and rules of both tables take."""


def watch_clan(
    client: SyncCoordinatorClient, clan_id: str, *, every_seconds: float, as_json: bool = False
) -> None:
    """Shows every round that closes until the training is over; a coordinator that is away makes a pause.

    Raises:
        ClanNotFoundError: no such clan.
        UnavailableError: no connection at first, or a pause of more than ``GIVE_UP_SECONDS``.
    """
    rounds: list[RoundRecord] = []
    with ExitStack() as stack:
        show = _as_json if as_json else _shown(stack)
        heard = None
        while True:
            try:
                view = client.describe_clan(clan_id)
                news = client.clan_history(clan_id, rounds[-1].number + 1 if rounds else 0)
            except UnavailableError:
                if heard is None or time.monotonic() - heard > GIVE_UP_SECONDS:
                    raise
                time.sleep(every_seconds)
                continue
            heard = time.monotonic()
            rounds = [record for record in rounds if record.number < view.round or view.finished] + news
            rounds = rounds[-SHOWN_ROUNDS:]
            show(view, rounds, news)
            if view.finished:
                return
            time.sleep(every_seconds)


Show = Callable[[ClanView, list[RoundRecord], list[RoundRecord]], None]


def _as_json(view: ClanView, rounds: list[RoundRecord], news: list[RoundRecord]) -> None:
    for record in news:
        emit_json(round_json(record), indent=None)


def _shown(stack: ExitStack) -> Show:
    console = results()
    if not console.is_terminal:
        return _as_lines
    live = stack.enter_context(Live(console=console, auto_refresh=False))

    def draw(view: ClanView, rounds: list[RoundRecord], news: list[RoundRecord]) -> None:
        # What does not fit would be cut off at the end, where the news is.
        left = max(FEWEST_ROUNDS, console.height - len(view.members) - TABLE_LINES)
        live.update(
            Group(rounds_table(view, rounds[-left:], console.width), members_table(view)), refresh=True
        )

    return draw


def _as_lines(view: ClanView, rounds: list[RoundRecord], news: list[RoundRecord]) -> None:
    for record in news:
        results().print(round_line(record), soft_wrap=True)
