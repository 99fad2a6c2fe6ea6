"""Writes the golden test vectors of the wire format: ``protos/testdata/manifest.json`` and the payloads beside it.

``python -m tools.vectors`` writes them, ``--check`` only says which files differ and exits 1 if any does. A client in
another language reads the same files: docs/wire-format.md says what each field of the manifest means.

Vectors are a promise: those that exist never change, new ones are added. The frames of zstd are those of the release
that ``constraints.txt`` pins; another one may compress to other bytes that mean the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.vectors.damage import malformed_vectors
from tools.vectors.messages import chunk_vectors, message_vectors, status_vectors
from tools.vectors.payloads import delta_vectors, limit_vectors, payload_vectors

TESTDATA = Path(__file__).resolve().parents[2] / "protos" / "testdata"
ABOUT = "Golden vectors of the wire format, written by `python -m tools.vectors`; docs/wire-format.md explains them."


def render() -> dict[str, bytes]:
    """Every file of the test data by its name."""
    payloads, payload_files = payload_vectors()
    manifest = {
        "payloads": payloads,
        "malformed": malformed_vectors(),
        "deltas": delta_vectors(),
        "limits": limit_vectors(),
        "messages": message_vectors(),
        "statuses": status_vectors(),
        "chunks": chunk_vectors(),
    }
    return {"manifest.json": _lines(manifest).encode(), **payload_files}


def _lines(manifest: Mapping[str, Sequence[object]]) -> str:
    """JSON with one vector on each line, so that a difference shows which one it is."""

    def compact(value: object) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    sections = [
        f"{compact(name)}: [\n" + ",\n".join(compact(row) for row in rows) + "\n]"
        for name, rows in manifest.items()
    ]
    return "{\n" + ",\n".join([f'"about": {compact(ABOUT)}', *sections]) + "\n}\n"


def differences(folder: Path = TESTDATA) -> list[str]:
    """The names of files that are missing, different or left over."""
    wanted = render()
    found = {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the files, or checks them; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.vectors", description="Golden vectors of the wire format."
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file differs")
    if parser.parse_args(arguments).check:
        stale = differences()
        sys.stderr.writelines(f"{name}: not what python -m tools.vectors writes\n" for name in stale)
        return 1 if stale else 0
    TESTDATA.mkdir(parents=True, exist_ok=True)
    wanted = render()
    for path in TESTDATA.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, content in wanted.items():
        (TESTDATA / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
