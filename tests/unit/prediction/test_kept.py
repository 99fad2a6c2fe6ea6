"""Experience in a file: it outlives a restart and a crash, improves answers, and refuses what is none."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from chronos_common.errors import ArtefactError, BadWorkloadError
from chronos_common.prediction.catalogue import counts_of
from chronos_common.prediction.comparison import Workload
from chronos_common.prediction.devices import device
from chronos_common.prediction.experience import MeasuredStep
from chronos_common.prediction.kept import KeptExperience
from chronos_common.prediction.names import Datasets

WORK = Workload(counts=counts_of("resnet50", "CIFAR100", None), data=Datasets.CIFAR100.about, batch_size=128)
TRUE_FACTOR = 2.5


def epochs_of(kept: KeptExperience, work: Workload) -> float:
    """The median that is predicted."""
    (found,) = kept.known.outlooks(work, [device("A40")])
    assert found.epochs is not None
    return found.epochs.p50


def test_finished_trainings_improve_later_answers_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "experience.jsonl"
    batches = (32, 64, 128, 256)
    fresh = KeptExperience(path)
    truth = {
        batch: WORK.patience
        + TRUE_FACTOR * (epochs_of(fresh, replace(WORK, batch_size=batch)) - WORK.patience)
        for batch in (*batches, 96)
    }
    asked = replace(WORK, batch_size=96)
    before = abs(math.log(epochs_of(fresh, asked) / truth[96]))
    for batch in batches:
        fresh.report_training(replace(WORK, batch_size=batch), truth[batch])
    again = KeptExperience(path)
    assert epochs_of(again, asked) == epochs_of(fresh, asked)
    assert abs(math.log(epochs_of(again, asked) / truth[96])) < 0.3 * before


def test_measured_steps_are_kept_too(tmp_path: Path) -> None:
    path = tmp_path / "experience.jsonl"
    KeptExperience(path).report_steps("mine", device("A40"), [MeasuredStep(work=WORK, seconds=0.1)])
    assert KeptExperience(path).known.machines == ("mine",)


def test_a_line_that_a_crash_cut_off_is_passed_over_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "experience.jsonl"
    KeptExperience(path).report_training(WORK, 30.0)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:50])
    kept = KeptExperience(path)
    assert kept.report_training(WORK, 40.0) == 2
    assert epochs_of(KeptExperience(path), WORK) == epochs_of(kept, WORK)


def test_what_is_no_experience_is_refused_and_a_bad_report_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "experience.jsonl"
    with pytest.raises(BadWorkloadError, match="patience"):
        KeptExperience(path).report_training(WORK, 3.0)
    assert not path.exists()
    path.write_text("a letter\n")
    with pytest.raises(ArtefactError, match="line 1"):
        KeptExperience(path)
    path.write_text('{"kind": "training"}\n')
    with pytest.raises(ArtefactError, match="no report"):
        KeptExperience(path)
    with pytest.raises(ArtefactError, match="cannot be written"):
        KeptExperience(tmp_path / "experience.jsonl" / "below").report_training(WORK, 30.0)
