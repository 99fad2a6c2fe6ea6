"""Trains trees (LightGBM, scikit-learn) and turns them into the arrays that numpy evaluates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from chronos_common.prediction.trees import Floats, Trees

BOOSTING = {
    "objective": "regression_l1",
    "learning_rate": 0.05,
    "min_data_in_leaf": 5,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}

Node = tuple[int, float, Any, Any]
"""Feature, threshold or value, and the two children; leaves have feature −1."""


def boost(
    features: Floats, target: Floats, weights: Floats, *, rounds: int, leaves: int = 15, seed: int = 0
) -> Trees:
    """Boosted trees on the absolute error."""
    data = lightgbm.Dataset(features, target, weight=weights)
    booster = lightgbm.train({**BOOSTING, "num_leaves": leaves, "seed": seed}, data, rounds)
    trees = [_of_lightgbm(info["tree_structure"]) for info in booster.dump_model()["tree_info"]]
    return flatten(trees, 0.0)


def forest(
    features: Floats, target: Floats, weights: Floats, *, trees: int, leaf: int, seed: int = 0
) -> Trees:
    """Extremely randomised trees (Geurts et al., 2006); the mean of the trees is the answer."""
    found = ExtraTreesRegressor(trees, min_samples_leaf=leaf, max_features=0.6, n_jobs=1, random_state=seed)
    found.fit(features, target, sample_weight=weights)
    return flatten([_of_sklearn(tree.tree_, 0, 1.0 / trees) for tree in found.estimators_], 0.0)


def flatten(roots: list[Node], offset: float) -> Trees:
    """Nodes in preorder, as :class:`~chronos_common.prediction.trees.Trees` wants them."""
    feature: list[int] = []
    threshold: list[np.float32] = []
    above: list[int] = []

    def add(node: Node) -> int:
        at = len(feature)
        asked, number, low, high = node
        feature.append(asked)
        threshold.append(np.float32(number) if asked < 0 else _down(number))
        above.append(at)
        if asked >= 0:
            add(low)
            above[at] = add(high)
        return at

    starts = [add(root) for root in roots]
    return Trees(
        feature=np.array(feature, np.int8),
        threshold=np.array(threshold, np.float32),
        above=np.array(above, np.int32),
        roots=np.array(starts, np.int32),
        offset=offset,
    )


def _down(number: float) -> np.float32:
    """The largest float32 that is not above a number: compared with float32, both say the same."""
    rounded = np.float32(number)
    return np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > number else rounded


def _of_lightgbm(node: dict[str, Any]) -> Node:
    if "leaf_value" in node and "split_feature" not in node:
        return (-1, float(node["leaf_value"]), None, None)
    low, high = _of_lightgbm(node["left_child"]), _of_lightgbm(node["right_child"])
    return (int(node["split_feature"]), float(node["threshold"]), low, high)


def _of_sklearn(tree: Any, index: int, share: float) -> Node:
    below: Callable[[int], int] = tree.children_left.__getitem__
    if below(index) < 0:
        return (-1, float(tree.value[index].item()) * share, None, None)
    low = _of_sklearn(tree, int(below(index)), share)
    high = _of_sklearn(tree, int(tree.children_right[index]), share)
    return (int(tree.feature[index]), float(tree.threshold[index]), low, high)
