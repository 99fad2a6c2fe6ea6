"""Training from a data folder: made-up rows in the columns of the real ones."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import prediction as benchmark
from chronos_common.errors import ConfigurationError
from chronos_common.prediction.artefact import Artefact
from chronos_common.prediction.artefact import read as read_artefact
from chronos_common.prediction.catalogue import counts_of
from chronos_common.prediction.devices import device
from chronos_common.prediction.epochs import Ensemble
from chronos_common.prediction.step_time import HEADS, StepTimeModel
from chronos_common.prediction.training import __main__ as command
from chronos_common.prediction.training.epochs import runs_of, train_epochs
from chronos_common.prediction.training.heads import inner_folds, train_family
from chronos_common.prediction.training.rows import time_rows
from chronos_common.prediction.training.samples import collapse

GPUS = ("NVIDIA A40", "NVIDIA L4", "Tesla T4")


def write_times(folder: Path, wanted: Callable[[str, int], bool] = lambda *_: True) -> None:
    """Transformers whose step takes what a simple law says, with repeats that differ by noise.

    Args:
        folder: that the file goes into.
        wanted: which GPU and batch size to write.
    """
    random = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for gpu in GPUS:
        for model in ("ViT", "DeiT-Tiny"):
            for batch in (4, 8, 16, 32, 48):
                for optimizer in ("AdamW", "Adam"):
                    flops = counts_of(model, "STL10").flops(batch)
                    law = 20 + 3 * flops / (device(gpu).half_tflops * 1e9)
                    for rate in ("0.001", "0.002"):
                        total = law * math.exp(0.02 * random.standard_normal())
                        rows.append(
                            {
                                "model": model, "dataset": "STL10", "batch_size": batch, "optimizer": optimizer,
                                "precision": 16, "learning_rate": rate, "gpu_name": gpu, "avg_batch_time_ms": total,
                                "compute_ms": total - 0.1,
                            }
                        )  # fmt: skip
    with (folder / "time_transformer.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row for row in rows if wanted(row["gpu_name"], row["batch_size"]))


@pytest.mark.slow
def test_a_family_learns_a_law_and_knows_how_well(tmp_path: Path) -> None:
    write_times(tmp_path)
    rows = time_rows(tmp_path, "transformer")
    samples = collapse(rows)
    assert len(samples) == len(rows) // 2
    family = train_family(samples, ("known",))
    predicted, _ = family.predict([row.query for row in rows], "known")
    actual = np.array([row.total_ms for row in rows])
    assert np.abs(predicted / actual - 1).mean() < 0.05
    assert (np.diff(family.heads["known"].errors) >= 0).all()
    assert family.devices == {"A40", "L4", "T4"}


@pytest.mark.slow
def test_an_artefact_is_scored_on_rows_that_it_has_not_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def seen(gpu: str, batch: int) -> bool:
        return gpu != "Tesla T4" and batch != 32

    shown, held, artefact = tmp_path / "shown", tmp_path / "held", tmp_path / "made.npz"
    shown.mkdir()
    held.mkdir()
    write_times(shown, seen)
    write_times(held, lambda *which: not seen(*which))
    family = train_family(collapse(time_rows(shown, "transformer")), HEADS)
    arrays: dict[str, Any] = {}
    about = command.step_time_about("transformer", family, arrays)
    Artefact(about={"step_time": {"transformer": about}}, arrays=arrays).write(artefact)
    assert command.main(["--score", "--data", str(held), "--artefact", str(artefact)]) == 0
    said = capsys.readouterr().out
    found = command.score(held, artefact)
    assert {name: each.rows for name, each in found.items()} == {
        "transformer, known": 16,
        "transformer, new_device": 40,
    }
    # Another batch size of a known device is easier than a device that nobody has measured.
    assert found["transformer, known"].error_percent < 12
    assert found["transformer, new_device"].error_percent < 60
    assert all(0 <= each.coverage <= 1 for each in found.values())
    for name, each in found.items():
        assert f"{name}: {each.error_percent:.1f} %" in said
    # The shares and members of every head are what was trained.
    queries = [row.query for row in time_rows(held, "transformer")]
    kept = StepTimeModel.read(read_artefact(artefact)).families["transformer"]
    for head in HEADS:
        np.testing.assert_allclose(
            kept.predict(queries, head)[0], family.predict(queries, head)[0], rtol=1e-6
        )


def test_scoring_needs_step_times_and_an_artefact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_times(tmp_path)
    for arguments, words in (
        (["--data", str(tmp_path / "nowhere")], "does not exist"),
        (["--data", str(tmp_path), "--artefact", str(tmp_path / "none.npz")], "no trained predictor"),
    ):
        assert command.main(["--score", *arguments]) == 2
        assert words in capsys.readouterr().err


def test_inner_folds_leave_out_what_a_head_is_for(tmp_path: Path) -> None:
    write_times(tmp_path)
    samples = collapse(time_rows(tmp_path, "transformer"))
    for head, labels in (("new_device", samples.devices), ("new_model", samples.models)):
        for train, test in inner_folds(samples, head, 0):
            assert not set(labels[train]) & set(labels[test])
            assert len(train) + len(test) == len(samples)


@pytest.mark.slow
def test_epochs_are_learnt_from_runs() -> None:
    rows = [
        {
            "model": model, "dataset": "CIFAR10", "optimizer": optimizer, "batch_size": str(batch),
            "learning_rate": str(rate), "patience_P": "5",
            "T_conv": str(round(5 + 8 * (2 if optimizer == "SGD" else 1) * math.sqrt(batch / 32))),
        }
        for model in ("resnet50", "vgg16") for optimizer in ("SGD", "AdamW")
        for batch in (32, 64, 128) for rate in (0.001, 0.002)
    ]  # fmt: skip
    runs = runs_of(rows)
    ensemble: Ensemble = train_epochs(runs)
    assert np.abs(ensemble.epochs(runs.queries) / runs.epochs - 1).mean() < 0.1


def test_without_data_both_commands_say_what_they_need(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(command.VARIABLE, raising=False)
    for main in (command.main, benchmark.main):
        assert main([]) == 2
        assert "--data FOLDER" in capsys.readouterr().err
    with pytest.raises(ConfigurationError, match=r"time_mlp\.csv.*convergence_cnn\.csv"):
        time_rows(tmp_path, "mlp")
