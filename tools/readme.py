"""Keeps the README honest: its code is that of files in this repository, its figures those of `benchmarks/results`.

``python tools/readme.py`` rewrites the blocks between ``<!-- snippet: PATH -->`` or ``<!-- figures: NAME -->`` and
``<!-- end -->``; with ``--check`` it only says whether that would change anything, and exits 1 if so.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"

_BLOCK = re.compile(r"<!-- (snippet|figures): (\S+) -->\n.*?<!-- end -->", re.DOTALL)


def render(text: str, root: Path = ROOT) -> str:
    """The README with every block made anew."""
    return _BLOCK.sub(lambda match: _block(match[1], match[2], root), text)


def _block(kind: str, name: str, root: Path) -> str:
    body = (
        _snippet(root / name)
        if kind == "snippet"
        else _figures(root / "benchmarks" / "results" / f"{name}.json")
    )
    return f"<!-- {kind}: {name} -->\n{body}\n<!-- end -->"


def _snippet(path: Path) -> str:
    return f"```python\n{path.read_text(encoding='utf-8').strip()}\n```"


def _figures(path: Path) -> str:
    report: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    rows = report.get("summary") or report["rows"]
    bars = [
        {
            "bar": bar["name"],
            "value": bar["value"],
            "bound": f"{bar['op']} {_cell(bar['bound'])}",
            "met": bar["ok"],
        }
        for bar in report["bars"]
    ]
    command = f"`python -m benchmarks.{report['benchmark']}`, seeds {', '.join(map(str, report['seeds']))}:"
    return f"{command}\n\n{_table(rows)}\n\n{_table(bars)}"


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [
        columns,
        ["---"] * len(columns),
        *([_cell(row.get(column)) for column in columns] for row in rows),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, float):
        return f"{value:.3g}" if 0 < abs(value) < 1e-2 else f"{value:.4g}"
    return "" if value is None else str(value)


def main(arguments: Sequence[str]) -> int:
    """Rewrites the README, or checks it; the exit status."""
    before = README.read_text(encoding="utf-8")
    after = render(before)
    if "--check" in arguments:
        if before != after:
            sys.stderr.write(
                "README.md: a snippet or figure is not that of its file; run python tools/readme.py\n"
            )
        return int(before != after)
    README.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
