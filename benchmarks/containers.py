"""What do the images weigh, how soon is a cluster of them ready, and what does it outlive?

The tests in ``tests/containers`` measure, since each of them starts a cluster anyway: this runs them, and shows what
they wrote down. It needs a container engine with Compose, as ``make containers`` does.

    python -m benchmarks.containers [--json FILE] [--check]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks._harness import Bar, Options, Report, run

ROOT = Path(__file__).resolve().parent.parent


def measure(options: Options) -> Report:
    """All of them, or with ``--quick`` only what needs no run."""
    chosen = ["tests/containers/test_images.py"] if options.quick else ["tests/containers"]
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-m", "containers", f"--figures={figures}", *chosen],
            cwd=ROOT,
            stdout=sys.stderr,
            check=False,
        )
        found = json.loads(figures.read_text()) if figures.is_file() else {"rows": [], "bars": []}
    report = Report(benchmark="containers", seeds=[0], rows=found["rows"])
    report.bars += [
        Bar(**{name: value for name, value in bar.items() if name != "ok"}) for bar in found["bars"]
    ]
    report.require("exit code of the tests", done.returncode, "==", 0)
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    return run("containers", __doc__ or "", measure, argv)


if __name__ == "__main__":
    sys.exit(main())
