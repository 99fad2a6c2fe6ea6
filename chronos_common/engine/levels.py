"""What the levels of the outer parameters mean to a run: how stale a commit is to each of them, in its flushes.

A parameter that has not stepped since a commit's base is what it was there: to its level the commit is as fresh as one
of the newest version. So the weight of an update's part is the rule's for the *flushes* of its level since the base.
Whether the commit is accepted at all is judged in versions, as ever, and so is the weight that its worker is told.

The flushes of the newest ``max_staleness`` versions are kept: no accepted commit has an older base.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from chronos_common.compression import mass
from chronos_common.outer import MultiTimescaleOptimizer, OuterOptimizer
from chronos_common.tensors import Arrays

Flushes = Mapping[str, tuple[int, ...]]
"""Of each level, the newest versions at which it stepped, ascending."""


def first_flushes(optimizer: OuterOptimizer, params: Arrays) -> Flushes:
    """At version 0: the levels, none of which has stepped; empty for an optimiser without levels."""
    if not isinstance(optimizer, MultiTimescaleOptimizer):
        return MappingProxyType({})
    return MappingProxyType(dict.fromkeys(optimizer.groups(params), ()))


def levels_of(optimizer: OuterOptimizer, params: Arrays) -> Mapping[str, str]:
    """The level of every parameter; empty for an optimiser without levels."""
    return optimizer.level_of(params) if isinstance(optimizer, MultiTimescaleOptimizer) else {}


def after_flushes(flushes: Flushes, flushed: tuple[str, ...], *, version: int, keep_versions: int) -> Flushes:
    """With those of ``version``, and without those that no commit can ask for any more."""
    oldest = version - keep_versions
    return MappingProxyType(
        {
            level: tuple(v for v in (*versions, *((version,) if level in flushed else ())) if v > oldest)
            for level, versions in flushes.items()
        }
    )


def level_staleness(flushes: Flushes, base: int) -> dict[str, int]:
    """Of each level, its flushes since version ``base``."""
    return {level: sum(version > base for version in versions) for level, versions in flushes.items()}


def applied_mass(
    update: Arrays, weight: float, level_weights: Mapping[str, float], levels: Mapping[str, str]
) -> float:
    """What of an update's mass its weights leave."""
    if not level_weights:
        return weight * mass(update)
    total = 0.0
    for level in sorted(level_weights):
        part = {name: array for name, array in update.items() if levels[name] == level}
        total += level_weights[level] * mass(part)
    return total
