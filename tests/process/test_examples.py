"""The examples, which are also the README's snippets, run as a user would run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.coordinator_process import coordinator_process
from tools import documents

ROOT = Path(__file__).resolve().parents[2]


def output_of(module: str, folder: Path, *arguments: str, timeout_seconds: float = 120) -> str:
    """What ``python -W error -m MODULE ARGUMENTS`` prints, run from an empty folder."""
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-m", module, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.process
def test_the_single_node_example_learns_which_features_matter(tmp_path: Path) -> None:
    printed = output_of("examples.single_node", tmp_path)
    first, last = map(float, re.search(r"loss (\S+) -> (\S+)", printed).groups())  # type: ignore[union-attr]
    useful, irrelevant = (float(line.split(":")[1]) for line in printed.splitlines()[1:])
    assert last < 0.5 * first
    assert irrelevant > useful


@pytest.mark.process
def test_the_distributed_example_reaches_the_same_loss_and_verifies(tmp_path: Path) -> None:
    printed = output_of("examples.distributed", tmp_path)
    losses = [float(loss) for loss in re.findall(r"validation loss (\S+)", printed)]
    assert len(losses) == 5
    assert losses[-1] < losses[0]
    assert losses[-1] < 0.1
    assert "journal verified: True" in printed


@pytest.mark.process
def test_the_clan_goes_on_without_the_member_that_is_killed(tmp_path: Path) -> None:
    printed = output_of("examples.clan_workers", tmp_path)
    rounds = re.findall(r"first: round \d+, (\d) members, loss (\S+)", printed)
    assert [int(members) for members, _ in rounds] == sorted(
        (int(members) for members, _ in rounds), reverse=True
    )
    assert (rounds[0][0], rounds[-1][0]) == ("4", "3")
    assert float(rounds[-1][1]) < float(rounds[0][1])


@pytest.mark.process
def test_the_twenty_line_problem_learns(tmp_path: Path) -> None:
    printed = output_of("examples.weight_decay", tmp_path)
    accuracy = float(re.search(r"test accuracy: (\S+)", printed)[1])  # type: ignore[index]
    assert accuracy > 0.85


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_continual_example_forgets_less_on_several_levels_at_the_same_rate(tmp_path: Path) -> None:
    printed = output_of("examples.continual", tmp_path, "1", timeout_seconds=280)
    rows = [line.rsplit(maxsplit=3) for line in printed.splitlines()[1:]]
    levels, one, faster = ([float(figure) for figure in row[1:]] for row in rows)
    assert levels[0] == one[0] < faster[0]
    assert levels[1] > 0.9
    assert levels[1] > one[1]
    assert levels[2] < 0.9 * one[2]


@pytest.mark.process
@pytest.mark.slow
def test_the_example_of_uneven_text_learns_on_two_ranks(tmp_path: Path) -> None:
    torchrun = ("--standalone", "--nproc-per-node", "2", "-m")
    arguments = ("examples.uneven_text", "--epochs", "2", "--paragraphs", "200")
    printed = output_of("torch.distributed.run", tmp_path, *torchrun, *arguments)
    first, second = map(float, re.findall(r"loss (\S+),", printed))
    assert second < 0.95 * first
    assert "13 steps" in printed


@pytest.mark.process
@pytest.mark.slow
def test_the_example_with_a_coordinator_finishes_every_paragraph_once_an_epoch(tmp_path: Path) -> None:
    with coordinator_process(tmp_path / "store") as coordinator:
        torchrun = ("--standalone", "--nproc-per-node", "2", "-m", "examples.uneven_served")
        arguments = ("--coordinator", coordinator.address, "--epochs", "2", "--paragraphs", "150")
        printed = output_of("torch.distributed.run", tmp_path, *torchrun, *arguments)
    for epoch in range(2):
        counts = re.findall(rf"epoch {epoch}: rank \d finished (\d+) paragraphs", printed)
        assert len(counts) == 2
        assert sum(map(int, counts)) == 150


@pytest.mark.parametrize("path", documents.DOCUMENTS, ids=lambda path: path.name)
def test_documents_show_the_files_figures_and_reasons_of_this_commit(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert documents.render(text) == text
    assert documents.render(text.replace("BAD_PAYLOAD", "").replace("| bar |", "")) == text
