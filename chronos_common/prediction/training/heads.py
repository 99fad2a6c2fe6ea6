"""Trains a head: chooses its recipe on inner folds, keeps their errors for the intervals, then uses all rows.

What is left out in the inner folds is what the head is for: configurations (``known``), devices (``new_device``) or
models (``new_model``). Nothing outside of the samples given is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
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
from chronos_common.prediction.training.smoothing import smooth
from chronos_common.prediction.trees import Floats

DEVICE_FEATURES = ("float32", "half", "rate", "bandwidth", "memory", "units", "clock", "capability", "tdp")
NO_MODEL_FEATURES = (*DEVICE_FEATURES, "rented", "files", "mixed", "batch", "states", *PRIOR_FEATURES[1:])
INNER_FOLDS = 4
NOTHING: Final = np.zeros(1)
TREES_ALONE: Final = (0.5, 0.5, 0.0)
BLENDS: Final = ((0.25, 0.25, 0.5), (0.5, 0.0, 0.5), (0.0, 0.5, 0.5), (0.0, 0.25, 0.75), TREES_ALONE)
"""Shares that ``known`` may have; the first fits all three."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a head may be made.

    Attributes:
        features: that trees may ask for; none for the prior alone.
        trust: factor of the correction.
        rounds: of boosting.
        leaves: of each of its trees.
        repeats: whether trees learn from each repeat, instead of from their median.
        trees: of the forest.
        leaf: fewest samples in a leaf of the forest.
        length: of the smooth function's kernel.
        shares: of boosting, forest and smooth function.
    """

    features: tuple[str, ...]
    trust: float = 1.0
    rounds: int = 100
    leaves: int = 15
    repeats: bool = False
    trees: int = 50
    leaf: int = 1
    length: float = 6.0
    shares: tuple[float, float, float] = TREES_ALONE

    def fits_as(self, other: Recipe) -> bool:
        """Whether what it fits serves another recipe too, with other shares or another trust."""
        alike = replace(self, trust=other.trust, shares=other.shares) == other
        return alike and all(
            mine or not theirs for mine, theirs in zip(self.shares, other.shares, strict=True)
        )


def recipes(head: str, names: tuple[str, ...]) -> list[Recipe]:
    """The candidates of a head."""
    everything = (*names, *PRIOR_FEATURES)
    alone = Recipe(features=(), trust=0.0)
    if head == "known":
        blended = Recipe(features=everything, rounds=600, leaves=31, repeats=True, trees=60, leaf=3)
        return [replace(blended, shares=shares) for shares in BLENDS]
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
        for found, each in zip(errors, _fold_errors(samples, candidates, train, test, seed), strict=True):
            found.append(each)
    scores = [float(np.abs(np.expm1(-np.concatenate(found))).mean()) for found in errors]
    best = int(np.argmin(scores))
    return _fit(samples, candidates[best], parts, rows, quantiles(np.concatenate(errors[best])), seed)


def _fold_errors(
    samples: Samples, candidates: list[Recipe], train: NDArray[np.intp], test: NDArray[np.intp], seed: int
) -> Iterator[Floats]:
    """log(actual / predicted) of each left-out repeat, for each candidate."""
    inside, outside = samples.take(train), samples.take(test)
    physics = fit_physics(inside)
    inner_parts, inner_rows = prior_rows(physics, inside.queries)
    outer_parts, outer_rows = prior_rows(physics, outside.queries)
    logs, owner = outside.repeats
    made: dict[Recipe, Floats] = {}
    for recipe in candidates:
        said = next((members for fitted, members in made.items() if fitted.fits_as(recipe)), None)
        if said is None:
            said = _fit(inside, recipe, inner_parts, inner_rows, NOTHING, seed).members(outer_rows)
            made[recipe] = said
        unit = np.array(recipe.shares) @ said
        yield logs - (np.log(outer_parts.total) + recipe.trust * unit)[owner]


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
        return Head(features=(), trust=0.0, errors=widths)
    features = matrix(rows, recipe.features)
    logs, owner = samples.repeats
    each = logs - np.log(parts.total)[owner]
    learnt = (features, np.log(samples.total_ms / parts.total), samples.weights)
    if recipe.repeats:
        # What disturbs a step makes it longer: a repeat counts less by as much as it is above the median.
        learnt = (features[owner], each, np.exp(np.log(samples.total_ms)[owner] - logs))
    boosting, trees, function = recipe.shares
    return Head(
        features=recipe.features,
        boosted=boost(*learnt, rounds=recipe.rounds, leaves=recipe.leaves, seed=seed) if boosting else None,
        forest=forest(*learnt, trees=recipe.trees, leaf=recipe.leaf, seed=seed) if trees else None,
        smooth=smooth(features, each, owner, length=recipe.length) if function else None,
        shares=recipe.shares,
        trust=recipe.trust,
        errors=widths,
    )
