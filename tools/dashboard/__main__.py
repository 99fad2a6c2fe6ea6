"""Writes the dashboard, or checks that it is the one that is written."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.dashboard.clans import CLANS
from tools.dashboard.machines import MACHINE_ROWS
from tools.dashboard.paces import PACES
from tools.dashboard.panels import dashboard
from tools.dashboard.plans import PLANS
from tools.dashboard.runs import RUN_ROWS

PATH: Final = Path(__file__).resolve().parents[2] / "deploy" / "grafana" / "dashboards" / "chronos.json"


def render() -> str:
    """The file's text."""
    return (
        json.dumps(dashboard([*RUN_ROWS, PACES, PLANS, CLANS, *MACHINE_ROWS]), indent=2, ensure_ascii=False)
        + "\n"
    )


def main(arguments: Sequence[str]) -> int:
    """Writes or checks; the exit status."""
    after = render()
    if "--check" not in arguments:
        PATH.write_text(after, encoding="utf-8")
        return 0
    if PATH.is_file() and PATH.read_text(encoding="utf-8") == after:
        return 0
    sys.stderr.write(f"{PATH.name} is not what its source makes; run python -m tools.dashboard\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
