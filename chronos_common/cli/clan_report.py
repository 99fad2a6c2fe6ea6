"""`chronos clan report`: ``report.json`` and ``report.png`` of a clan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from chronos_common.clan.history import RoundRecord
from chronos_common.clan.views import ClanView
from chronos_common.cli.clan_views import clan_json, round_json
from chronos_common.errors import ConfigurationError

JSON_NAME, FIGURE_NAME = "report.json", "report.png"


def write_report(view: ClanView, history: Sequence[RoundRecord], directory: Path) -> tuple[Path, Path]:
    """Writes both files, and returns their paths.

    Raises:
        ConfigurationError: matplotlib is missing, no round has closed, or the directory cannot be written to.
    """
    if find_spec("matplotlib") is None:
        raise ConfigurationError("the report needs matplotlib; pip install 'chronos-nested[demo]'")
    if not history:
        raise ConfigurationError(f"no round of clan {view.clan_id!r} has closed yet; ask again when one has")
    from chronos_common.cli.clan_figure import draw

    document = {**clan_json(view), "rounds": [round_json(record) for record in history]}
    content = json.dumps(document, indent=1, allow_nan=False) + "\n"
    json_path, figure_path = directory / JSON_NAME, directory / FIGURE_NAME
    try:
        directory.mkdir(parents=True, exist_ok=True)
        json_path.write_text(content, encoding="utf-8")
        draw(view, history, figure_path)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write the report to {directory}: {error.strerror}; choose another --out"
        ) from error
    return json_path, figure_path
