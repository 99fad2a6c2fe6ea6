"""Trains a head: chooses its recipe on inner folds, keeps their errors for the intervals, then uses all rows.

What is left out in the inner folds is what the head is for: configurations (``known``), devices (``new_device``) or
models (``new_model``). Nothing outside of the samples given is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chronos_common.prediction.intervals import quantiles
from chronos_common.prediction.physics import Parts
from chronos_common.prediction.query import matrix
from chronos_common.prediction.step_time import PRIOR_FEATURES, Family, Head, prior_rows, signature
from chronos_common.prediction.training.ensembles import boost, forest
from chronos_common.prediction.training.prior import fit_physics
from chronos_common.prediction.training.samples import Samples
from chronos_common.prediction.trees import Floats

DEVICE_FEATURES = ("float32", "half", "rate", "bandwidth", "memory", "units", "clock", "capability", "tdp")
NO_MODEL_FEATURES = (*DEVICE_FEATURES, "rented", "files", "mixed", "batch", "states", *PRIOR_FEATURES[1:])
INNER_FOLDS = 4
NOTHING: Final = np.zeros(1)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a head may be made.

    Attributes:
        features: that trees may ask for; none for the prior alone.
        trust: factor of the correction.
        rounds: of boosting.
        leaves: of each of its trees.
        repeats: whether it learns from each repeat, instead of from their median.
        trees: of the forest.
        leaf: fewest samples in a leaf of the forest.
    """

    features: tuple[str, ...]
    trust: float = 1.0
    rounds: int = 100
    leaves: int = 15
    repeats: bool = False
    trees: int = 50
    leaf: int = 1


def recipes(head: str, names: tuple[str, ...]) -> list[Recipe]:
    """The candidates of a head."""
    everything = (*names, *PRIOR_FEATURES)
    alone = Recipe(features=(), trust=0.0)
    if head == "known":
        return [Recipe(features=everything, rounds=600, leaves=31, repeats=True)]
    few = tuple(name for name in everything if name not in DEVICE_FEATURES and name != "prior")
    if head == "new_model":
        few = NO_MODEL_FEATURES
    careful = Recipe(features=few, trees=30, leaf=4)
    return [alone, Recipe(features=few, trust=0.5, trees=30, leaf=4), careful]


def train_family(samples: Samples, heads: tuple[str, ...], *, seed: int = 0, widths: bool = True) -> Family:
    """Trains the prior and some heads of a family; without ``widths`` a head with one recipe skips its inner folds."""
    physics = fit_physics(samples)
    prepared = prior_rows(physics, samples.queries)
    return Family(
        physics=physics,
        heads=MappingProxyType(
            {name: train_head(samples, name, prepared, seed=seed, widths=widths) for name in heads}
        ),
        devices=frozenset(samples.devices.tolist()),
        models=frozenset(signature(query.counts) for query in samples.queries),
    )


def train_head(
    samples: Samples,
    name: str,
    prepared: tuple[Parts, list[dict[str, float]]],
    *,
    seed: int,
    widths: bool = True,
) -> Head:
    """Chooses a recipe on inner folds and trains it on everything."""
    parts, rows = prepared
    candidates = recipes(name, tuple(key for key in rows[0] if key not in PRIOR_FEATURES))
    if len(candidates) == 1 and not widths:
        return _fit(samples, candidates[0], parts, rows, NOTHING, seed)
    errors: list[list[Floats]] = [[] for _ in candidates]
    for train, test in inner_folds(samples, name, seed):
        inside, outside = samples.take(train), samples.take(test)
        physics = fit_physics(inside)
        inner_parts, inner_rows = prior_rows(physics, inside.queries)
        outer_parts, outer_rows = prior_rows(physics, outside.queries)
        made: dict[tuple[str, ...], Head] = {}
        for found, recipe in zip(errors, candidates, strict=True):
            if recipe.features not in made:
                made[recipe.features] = _fit(inside, recipe, inner_parts, inner_rows, NOTHING, seed)
            unit = made[recipe.features].correction(outer_rows) / (made[recipe.features].trust or 1.0)
            logs, owner = outside.repeats
            found.append(logs - (np.log(outer_parts.total) + recipe.trust * unit)[owner])
    scores = [float(np.abs(np.expm1(-np.concatenate(found))).mean()) for found in errors]
    best = int(np.argmin(scores))
    return _fit(samples, candidates[best], parts, rows, quantiles(np.concatenate(errors[best])), seed)


def inner_folds(
    samples: Samples, head: str, seed: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Training and test configurations of each inner fold."""
    labels: Mapping[str, NDArray[np.str_]] = {"new_device": samples.devices, "new_model": samples.models}
    groups = np.unique(labels[head], return_inverse=True)[1] if head in labels else np.arange(len(samples))
    count = int(groups.max()) + 1
    order = np.random.default_rng(seed).permutation(count)
    fold = order[groups] % min(INNER_FOLDS, count)
    for index in range(int(fold.max()) + 1):
        yield np.flatnonzero(fold != index), np.flatnonzero(fold == index)


def _fit(
    samples: Samples, recipe: Recipe, parts: Parts, rows: list[dict[str, float]], widths: Floats, seed: int
) -> Head:
    if not recipe.features:
        return Head(features=(), boosted=None, forest=None, trust=0.0, errors=widths)
    features = matrix(rows, recipe.features)
    target = np.log(samples.total_ms / parts.total)
    logs, owner = samples.repeats
    learnt = (features, target, samples.weights)
    if recipe.repeats:
        learnt = (features[owner], logs - np.log(parts.total)[owner], np.ones(len(owner)))
    return Head(
        features=recipe.features,
        boosted=boost(*learnt, rounds=recipe.rounds, leaves=recipe.leaves, seed=seed),
        forest=forest(features, target, samples.weights, trees=recipe.trees, leaf=recipe.leaf, seed=seed),
        trust=recipe.trust,
        errors=widths,
    )
