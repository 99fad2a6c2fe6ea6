"""What an image has to install, from ``pyproject.toml``: one requirement a line, without this project itself.

``python tools/requirements.py [EXTRA ...] [--without NAME ...]``: the dependencies and those of the extras. Images
install them in a layer of its own, which a change in the code leaves as it is.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

PYPROJECT = Path("pyproject.toml")

_SELF = re.compile(r"^(?P<name>[\w.-]+)\[(?P<extras>[\w,\s-]+)\]$")


def requirements(project: Mapping[str, Any], extras: Iterable[str], without: Collection[str]) -> list[str]:
    """The requirements of a project and some of its extras, those that are named ``without`` left out."""
    found = list(project["dependencies"])
    wanted = list(extras)
    for extra in wanted:
        for requirement in project["optional-dependencies"][extra]:
            own = _SELF.match(requirement)
            if own and own["name"] == project["name"]:
                wanted += [part.strip() for part in own["extras"].split(",")]
            else:
                found.append(requirement)
    return [line for line in dict.fromkeys(found) if re.split(r"[^\w.-]", line)[0] not in without]


def main(argv: list[str] | None = None) -> int:
    """Prints them; the exit status."""
    parser = argparse.ArgumentParser(description="Print what an image has to install.")
    parser.add_argument("extras", nargs="*")
    parser.add_argument("--without", action="append", default=[])
    options = parser.parse_args(argv)
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    sys.stdout.writelines(f"{line}\n" for line in requirements(project, options.extras, options.without))
    return 0


if __name__ == "__main__":
    sys.exit(main())
