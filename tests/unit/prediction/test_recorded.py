"""Recorded curves: kept as they are, told apart for teaching, and what they teach."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chronos_common.errors import ArtefactError
from chronos_common.prediction.catalogue import counts_of
from chronos_common.prediction.continuations import Stopping, replays
from chronos_common.prediction.curves import extrapolate
from chronos_common.prediction.names import Datasets, Optimizers
from chronos_common.prediction.training.curves import HELD_DATA, HELD_DATA_SETS, lessons, part, teach
from chronos_common.prediction.training.recorded import Curve, Setting, read, write

SETTING = Setting(
    data="alpha",
    model="resnet50",
    counts=counts_of("resnet50", "CIFAR100", None),
    about=Datasets.CIFAR100.about,
    optimizer=Optimizers.ADAM,
    learning_rate=1e-3,
    batch_size=32,
)
RULE = Stopping()


def recorded(data: str, speed: float, seed: int) -> Curve:
    """A loss that falls to its floor as fast as asked."""
    random = np.random.default_rng(seed)
    losses = 0.5 + np.exp(-speed * np.arange(200)) + 2e-3 * random.standard_normal(200)
    rounded = tuple(float(f"{loss:.4g}") for loss in losses)
    stopped = Stopping(patience=7).epoch(rounded)
    return Curve(
        setting=replace(SETTING, data=data),
        seed=seed,
        validation=rounded[:stopped],
        training=tuple(float(f"{loss:.3g}") for loss in rounded[:stopped]),
    )


def test_what_was_written_is_read_back_and_the_same_bytes_again(tmp_path: Path) -> None:
    curves = [recorded("alpha", 0.1, 0), recorded("beta", 0.2, 1)]
    first, second = tmp_path / "first.json.gz", tmp_path / "second.json.gz"
    write(curves, first)
    assert read(first) == curves
    write(read(first), second)
    assert first.read_bytes() == second.read_bytes()
    first.write_bytes(b"nothing")
    with pytest.raises(ArtefactError, match="record them anew"):
        read(first)


def test_seeds_stay_on_one_side_and_held_data_sets_are_never_taught() -> None:
    assert part(replace(SETTING, data=HELD_DATA[0])) == HELD_DATA_SETS
    found = {part(replace(SETTING, learning_rate=rate)) for rate in np.geomspace(1e-4, 1e-1, 30)}
    assert len(found) == 2
    assert HELD_DATA_SETS not in found


def test_curves_teach_how_wide_an_answer_must_be() -> None:
    speeds = np.geomspace(0.03, 0.4, 12)
    taught = [recorded(name, speed, seed) for seed, name in enumerate("abc") for speed in speeds]
    model = teach(lessons(taught))
    errors, inside = [], []
    for seed, speed in enumerate(np.geomspace(0.035, 0.35, 10), start=10):
        curve = recorded("new", float(speed), seed)
        stops = RULE.epoch(curve.validation)
        assert stops is not None
        if stops <= 8:
            continue
        found = extrapolate(curve.validation[:8], RULE, model=model)
        errors.append(abs(found.p50 / stops - 1))
        inside.append(found.low <= stops <= found.high)
    assert np.mean(errors) < 1.0
    assert np.mean(inside) > 0.6


def test_replays_follow_the_rule() -> None:
    seen = 0.5 + np.exp(-0.1 * np.arange(6.0))
    epochs, weights = replays(seen, RULE, np.random.default_rng(0))
    assert ((epochs >= RULE.soonest(seen)) & (epochs <= RULE.max_epochs)).all()
    assert weights.max() == pytest.approx(1.0)
