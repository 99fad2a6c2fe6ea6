"""Records the curves: ``python -m benchmarks.predicting.curves --out FILE [--jobs N]``; about half an hour of a core.

A file that is there already is gone on with.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.predicting.curves.runs import group_of, groups, record_alone
from chronos_common.prediction.training.recorded import Curve, read, write


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predicting.curves", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="written as gzipped JSON")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    arguments = parser.parse_args(argv)
    curves: list[Curve] = read(arguments.out) if arguments.out.exists() else []
    done = {group_of(curve) for curve in curves}
    every = [group for group in groups() if group not in done]
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        for number, found in enumerate(pool.imap(record_alone, every), start=1):
            curves += found
            write(curves, arguments.out)
            sys.stderr.write(f"{number} of {len(every)}\n")
    sys.stdout.write(f"{arguments.out}: {len(curves)} curves, {arguments.out.stat().st_size} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
