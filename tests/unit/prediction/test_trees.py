"""Trees in numpy against the libraries that grew them; damaged artefacts."""

from __future__ import annotations

import io
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor

from chronos_common.errors import ArtefactError
from chronos_common.prediction.artefact import Artefact, read
from chronos_common.prediction.training.ensembles import BOOSTING, boost, forest
from chronos_common.prediction.trees import Floats, Trees


def data(seed: int) -> tuple[Floats, Floats]:
    random = np.random.default_rng(seed)
    features = random.integers(0, 9, (200, 3)).astype(np.float32).astype(np.float64) / 3
    features = features.astype(np.float32).astype(np.float64)
    return features, np.sin(features[:, 0]) + features[:, 1] * features[:, 2] + 0.1 * random.standard_normal(
        200
    )


def test_boosted_trees_answer_as_lightgbm_does() -> None:
    features, target = data(0)
    booster = lightgbm.train(
        {**BOOSTING, "num_leaves": 15, "seed": 0}, lightgbm.Dataset(features, target, weight=np.ones(200)), 20
    )
    ours = boost(features, target, np.ones(200), rounds=20)
    np.testing.assert_allclose(ours.predict(features), booster.predict(features), rtol=1e-5, atol=1e-6)


def test_a_forest_answers_as_scikit_learn_does() -> None:
    features, target = data(1)
    grown = ExtraTreesRegressor(10, min_samples_leaf=2, max_features=0.6, random_state=0).fit(
        features, target, sample_weight=np.ones(200)
    )
    ours = forest(features, target, np.ones(200), trees=10, leaf=2)
    np.testing.assert_allclose(ours.predict(features), grown.predict(features), rtol=1e-5, atol=1e-6)


def test_trees_survive_the_file(tmp_path: Path) -> None:
    features, target = data(2)
    trees = boost(features, target, np.ones(200), rounds=5)
    Artefact(about={"kind": "test"}, arrays=trees.arrays("a")).write(tmp_path / "a.npz")
    again = read(tmp_path / "a.npz")
    assert again.about["kind"] == "test"
    np.testing.assert_array_equal(Trees.read(again.arrays, "a").predict(features), trees.predict(features))
    with pytest.raises(ArtefactError, match=r"no 'b\.feature'"):
        Trees.read(again.arrays, "b")


def test_trees_that_go_back_are_refused() -> None:
    with pytest.raises(ArtefactError, match="do not fit together"):
        Trees(
            feature=np.array([0, -1], np.int8),
            threshold=np.zeros(2, np.float32),
            above=np.array([0, 0], np.int32),
            roots=np.zeros(1, np.int32),
        )


def test_what_is_no_artefact_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no trained predictor"):
        read(io.BytesIO(b"nothing of the kind"))
    with pytest.raises(ArtefactError, match="no trained predictor"):
        read(tmp_path / "missing.npz")
    with (tmp_path / "old.npz").open("wb") as file:
        np.savez(file, about=np.frombuffer(b'{"revision": 0}', np.uint8))
    with pytest.raises(ArtefactError, match="revision 0"):
        read(tmp_path / "old.npz")
