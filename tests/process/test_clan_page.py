"""The loops of ClanTune's API page, run by torchrun with nothing but their import changed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.process
@pytest.mark.slow
def test_the_loops_of_the_api_page_train_two_ranks_together(tmp_path: Path) -> None:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    finished = subprocess.run(
        [sys.executable, "-W", "error", *torchrun, "-m", "tests.support.clan_page"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    printed = re.findall(r"validation losses (\[.*?\]) and (\[.*?\])", finished.stdout)
    assert len(printed) == 2
    ranks = [[json.loads(part) for part in each] for each in printed]
    assert [[len(losses) for losses in rank] for rank in ranks] == [[3, 1]] * 2
    # Two rounds of fan-out, each rank alone at a rate of its own; then both go on from the better one, together.
    (one, _, late_one), (other, _, late_other) = (rank[0] for rank in ranks)
    assert min(one, other) < 0.9 * max(one, other)
    assert late_one == pytest.approx(late_other, rel=0.02)
    assert max(late_one, late_other) < min(one, other)
