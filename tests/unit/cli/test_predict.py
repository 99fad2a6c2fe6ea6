"""`chronos predict` and `chronos probe`: what they answer, offline, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.fake_client import Cli

LINEAR = ("predict", "torch.nn:Linear", "--set", "in_features=64", "--set", "out_features=10")


def test_a_model_of_the_catalogue_is_compared_on_every_device(cli: Cli) -> None:
    found = cli("predict", "ResNet50", "--dataset", "cifar-10", "--json")
    assert found.code == 0, found.err
    rows = json.loads(found.out)["devices"]
    assert {"A100-SXM-80GB", "L40S", "P4"} <= {row["device"] for row in rows}
    totals = [row["total_seconds"]["p50"] for row in rows]
    assert totals == sorted(totals)
    for row in rows:
        for name in ("step_seconds", "epoch_seconds", "epochs", "total_seconds", "price_usd"):
            assert 0 < row[name]["p10"] <= row[name]["p50"] <= row[name]["p90"]
        steps = row["epoch_seconds"]["p50"] / row["step_seconds"]["p50"]
        assert steps == pytest.approx(-(-50_000 // 128))
        hours = row["total_seconds"]["p50"] / 3600
        assert row["price_usd"]["p50"] == pytest.approx(hours * row["price_per_hour_usd"])


def test_a_module_is_counted_and_its_table_shown(cli: Cli) -> None:
    found = cli(*LINEAR, "--input-shape", "64", "--dataset", "1000", "--epochs", "3", "--device", "A40")
    assert found.code == 0, found.err
    assert "A40" in found.out
    assert "3 epochs" in found.err


def test_a_price_of_ones_own_changes_the_money_only(cli: Cli) -> None:
    question = ("predict", "vgg16", "--device", "T4", "--epochs", "2", "--json")
    before, after = (
        json.loads(cli(*question, *more).out)["devices"][0] for more in ((), ("--price", "T4=10"))
    )
    assert after["total_seconds"] == before["total_seconds"]
    assert after["price_usd"]["p50"] == pytest.approx(after["total_seconds"]["p50"] / 360)


def test_a_batch_that_cannot_fit_is_a_row_that_says_so(cli: Cli) -> None:
    found = cli("predict", "vgg16", "--batch-size", "30000", "--device", "P4", "--device", "B200", "--json")
    fits, fails = json.loads(found.out)["devices"]
    assert (fits["device"], fails["device"]) == ("B200", "P4")
    assert fails["total_seconds"] is None
    assert fails["memory_risk"] == 1.0
    assert 0 < fails["largest_batch_size"] < 30_000
    assert str(fails["largest_batch_size"]) in fails["remark"]


def test_time_against_price_is_drawn(cli: Cli, tmp_path: Path) -> None:
    picture = tmp_path / "plot.png"
    assert cli("predict", "vgg16", "--device", "T4", "--device", "A40", "--plot", str(picture)).code == 0
    assert picture.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("predict", "resnet51"), "no model is called 'resnet51'"),
        (("predict", "resnet50", "--device", "Z9"), "no device is called 'Z9'"),
        (("predict", "resnet50", "--dataset", "0"), "at least one"),
        (("predict", "resnet50", "--dataset", "900"), "counts resnet50 for"),
        (("predict", "resnet50", "--epochs", "0"), "0 epochs"),
        (("predict", "resnet50", "--batch-size", "0"), "batch_size is 0"),
        (("predict", "resnet50", "--precision", "int3"), "no precision is called 'int3'"),
        (("predict", "resnet50", "--optimizer", "magic"), "no optimiser is called 'magic'"),
        (("predict", "resnet50", "--learning-rate", "nan"), "learning_rate"),
        (("predict", "resnet50", "--price", "T4"), "write DEVICE=USD"),
        (("predict", "resnet50", "--device", "A40", "--price", "T4=1"), "not compared"),
        (("predict", "resnet50", "--input-shape", "3,32,32"), "takes no --set"),
        (LINEAR, "--input-shape ''"),
        ((*LINEAR, "--input-shape", "63", "--dataset", "10"), "runs neither on meta tensors nor on the CPU"),
        ((*LINEAR, "--input-shape", "64", "--input-dtype", "number"), "no dtype of torch"),
        (("predict", "nowhere.models:Net", "--input-shape", "3"), "cannot be made"),
        (("predict", "os:getcwd", "--input-shape", "3"), "not a torch.nn.Module"),
        (("predict", "resnet50", "--machine", "no/such/file.json"), "chronos probe"),
        (("probe", "--device", "cuda:99", "--seconds", "0.1"), "cannot be used"),
    ],
)
def test_mistakes_are_said_in_a_line(cli: Cli, arguments: tuple[str, ...], words: str) -> None:
    failed = cli(*arguments)
    assert failed.code != 0
    assert words in failed.err
    assert "Traceback" not in failed.err


def test_a_probed_machine_can_be_asked_about(cli: Cli, tmp_path: Path) -> None:
    kept = tmp_path / "machine.json"
    probed = cli("probe", "--device", "cpu", "--seconds", "0.1", "--out", str(kept), "--json")
    assert probed.code == 0, probed.err
    assert json.loads(probed.out) == json.loads(kept.read_text())
    found = cli(*LINEAR, "--input-shape", "64", "--dataset", "1000", "--machine", str(kept), "--json")
    assert [row["device"] for row in json.loads(found.out)["devices"]] == ["cpu"]


def test_the_command_keeps_and_uses_it(cli: Cli, tmp_path: Path) -> None:
    path = str(tmp_path / "experience.jsonl")
    question = ("predict", "resnet50", "--device", "A40", "--json")
    before = cli(*question)
    told = cli(*question, "--experience", path, "--finished", "150")
    after = cli(*question, "--experience", path)
    assert after.out == told.out != before.out, after.err
    assert "--experience" in cli(*question, "--finished", "150").err
