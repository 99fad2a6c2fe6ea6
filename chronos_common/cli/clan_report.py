"""`chronos clan report`: ``report.json`` and ``report.png`` of a clan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chronos_common.clan.history import RoundRecord
from chronos_common.clan.views import ClanView
from chronos_common.cli.clan_views import clan_json, round_json
from chronos_common.cli.report_files import require_figures, write_files
from chronos_common.errors import ConfigurationError


def write_report(view: ClanView, history: Sequence[RoundRecord], directory: Path) -> tuple[Path, Path]:
    """Writes both files, and returns their paths.

    Raises:
        ConfigurationError: matplotlib is missing, no round has closed, or the directory cannot be written to.
    """
    require_figures()
    if not history:
        raise ConfigurationError(f"no round of clan {view.clan_id!r} has closed yet; ask again when one has")
    from chronos_common.cli.clan_figure import draw

    document = {**clan_json(view), "rounds": [round_json(record) for record in history]}
    return write_files(document, lambda path: draw(view, history, path), directory, option="--out")
