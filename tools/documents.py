"""Keeps the documents honest: their code, figures and tables are made from what they speak of.

``python tools/documents.py`` rewrites each block between one of these and ``<!-- end -->``:

* ``<!-- snippet: PATH -->``: the code of a file in this repository;
* ``<!-- figures: NAME -->``: the output of a benchmark, from ``benchmarks/results/NAME.json``;
* ``<!-- table: refusals -->``: every reason with which a request may be refused.

With ``--check`` it only says whether that would change anything, and exits 1 if so.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chronos_common import errors
from chronos_common.errors import ChronosError
from chronos_common.wire.status import code_of

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "docs" / "clan.md",
    ROOT / "docs" / "containers.md",
    ROOT / "docs" / "protocol.md",
)

_BLOCK = re.compile(r"<!-- (snippet|figures|table): (\S+) -->\n.*?<!-- end -->", re.DOTALL)


def render(text: str) -> str:
    """The document with every block made anew."""
    return _BLOCK.sub(
        lambda match: f"<!-- {match[1]}: {match[2]} -->\n{_body(*match.groups())}\n<!-- end -->", text
    )


def _body(kind: str, name: str) -> str:
    if kind == "snippet":
        return _snippet(ROOT / name)
    if kind == "figures":
        return _figures(ROOT / "benchmarks" / "results" / f"{name}.json")
    return _refusals()


def _refusals() -> str:
    classes = {
        cls.reason: cls
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, ChronosError)
    }
    return _table(
        [
            {
                "reason": f"`{reason}`",
                "status": f"`{code_of(cls).name}`",
                "meaning": " ".join((cls.__doc__ or "").split("\n\n")[0].split()).replace("``", "`"),
            }
            for reason, cls in classes.items()
        ]
    )


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
    return "\n\n".join([command, *_tables(rows), _table(bars)])


def _tables(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One table, or one under each title where rows name theirs in ``table``."""
    if not any("table" in row for row in rows):
        return [_table(rows)]
    found = []
    for title in dict.fromkeys(row["table"] for row in rows):
        own = [{name: row[name] for name in row if name != "table"} for row in rows if row["table"] == title]
        found += [f"**{title}**", _table(own)]
    return found


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
        if 0 < abs(value) < 1e-2:
            return f"{value:.3g}"
        # Ratios near 1 are told by what is after their zeros.
        return f"{value:.5g}" if 1.0 <= abs(value) < 1.1 else f"{value:.4g}"
    return "" if value is None else str(value).replace("|", "\\|")


def main(arguments: Sequence[str]) -> int:
    """Rewrites the documents, or checks them; the exit status."""
    stale = 0
    for path in DOCUMENTS:
        before = path.read_text(encoding="utf-8")
        after = render(before)
        if before == after:
            continue
        stale += 1
        if "--check" in arguments:
            sys.stderr.write(
                f"{path.name}: a block is not that of its source; run python tools/documents.py\n"
            )
        else:
            path.write_text(after, encoding="utf-8")
    return int("--check" in arguments and stale > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
