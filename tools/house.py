"""The house rules that no off-the-shelf linter has: sizes of files and functions, and finished wording.

``python tools/house.py`` prints one line for each violation and exits 1 if there is any.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREES = ("chronos_common", "services", "protos", "tools", "tests", "examples", "benchmarks")
GENERATED = frozenset({"pb", "node_modules", "__pycache__"})
SUFFIXES = frozenset({".py", ".proto"})

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

_UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError)\b")
_MACHINE_PATH = re.compile(r"(?:^|[\s\"'`(=])(/(?:home|Users|root|work|tmp|mnt)/\w+)")


def source_files(root: Path = ROOT) -> Iterator[Path]:
    """Yield every source file that a person wrote below ``root``, in a stable order."""
    for tree in TREES:
        for path in sorted((root / tree).rglob("*")):
            if path.suffix in SUFFIXES and not GENERATED.intersection(path.relative_to(root).parts):
                yield path


def size_violations(path: Path) -> list[str]:
    """Say where ``path`` exceeds ``MAX_FILE_LINES``, or one of its functions ``MAX_FUNCTION_LINES``.

    A function counts from its ``def`` to its last line, without decorators and docstring: saying what it does
    at length is no fault.
    """
    text = path.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    found = [f"{path}:1: {lines} lines, {MAX_FILE_LINES} at most"] if lines > MAX_FILE_LINES else []
    if path.suffix != ".py":
        return found
    for node in ast.walk(ast.parse(text, filename=str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            documented = 0 if docstring is None else docstring.count("\n") + 1
            length = (node.end_lineno or node.lineno) - node.lineno + 1 - documented
            if length > MAX_FUNCTION_LINES:
                found.append(
                    f"{path}:{node.lineno}: {node.name} has {length} lines, {MAX_FUNCTION_LINES} at most"
                )
    return found


def wording_violations(path: Path) -> list[str]:
    """Say where ``path`` admits to be unfinished or names a path of one particular machine."""
    if path == Path(__file__).resolve():
        return []
    found: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        found += [f"{path}:{number}: finish it instead of {word!r}" for word in _UNFINISHED.findall(line)]
        found += [
            f"{path}:{number}: {name!r} exists on one machine only" for name in _MACHINE_PATH.findall(line)
        ]
    return found


def violations(root: Path = ROOT) -> list[str]:
    """Return every violation of the house rules below ``root``, one line each."""
    return [
        violation
        for path in source_files(root)
        for violation in (*size_violations(path), *wording_violations(path))
    ]


def main() -> int:
    """Print the violations and return the exit status."""
    found = violations()
    sys.stderr.write("".join(f"{violation}\n" for violation in found))
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
