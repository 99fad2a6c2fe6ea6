"""Training from a data folder: made-up rows in the columns of the real ones."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import prediction as benchmark
from chronos_common.errors import ConfigurationError
from chronos_common.prediction.catalogue import counts_of
from chronos_common.prediction.devices import device
from chronos_common.prediction.epochs import Ensemble
from chronos_common.prediction.training import __main__ as command
from chronos_common.prediction.training.epochs import runs_of, train_epochs
from chronos_common.prediction.training.heads import inner_folds, train_family
from chronos_common.prediction.training.rows import time_rows
from chronos_common.prediction.training.samples import collapse

GPUS = ("NVIDIA A40", "NVIDIA L4", "Tesla T4")


def write_times(folder: Path) -> None:
    """Transformers whose step takes what a simple law says, with repeats that differ by noise."""
    random = np.random.default_rng(0)
    rows = []
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
        writer.writerows(rows)


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
