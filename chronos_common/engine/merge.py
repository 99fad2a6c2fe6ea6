"""Merging a round's commits into one pseudo-gradient.

First inside each worker:

* hypergradients: ``g_w = Σᵢ work_i·weight_i·g_i / Σᵢ work_i``;
* parameter deltas: increments sum, ``d_w = Σᵢ weight_i·d_i``; the pseudo-gradient is ``−d_w``, so that gradient
  descent with rate 1 adds it.

Then across workers, by the run's ``merge``:

* ``mean``: ``Σ_w share_w·g_w``, with the shares of ``chronos_common.versions.shares``. By default they are
  ω_w / Σ ω with ω_w = min(1, Σᵢ work_i): a worker that did half of its inner loop counts half; one that did it
  twice counts once.
* ``trimmed_mean``, for each coordinate by itself: of n workers, the k = max(1, ⌊trim·n⌋) lowest and highest
  values are left out, and the others are averaged by their ω.
* ``median``, for each coordinate by itself: the middle value, or the plain mean of the two in the middle. Workers
  count alike, whatever their work.

With fewer than three workers, the last two are the mean. Of equal values, the one of the lower worker id comes
first; they depend on no order of arrival.

The staleness weight is *not* in any denominator: if all commits are equally stale, a normalised mean would
cancel the decay. A skip counts in the denominators, and among the values, with zero mass. Only + − × ÷ and
comparisons in a fixed order: the same bits everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chronos_common.tensors import Arrays
from chronos_common.versions import PARAMETER_DELTA, Accepted, RoundConfig, RoundState, contributions, shares

Array = NDArray[Any]
ByWorker = Mapping[str, Sequence[Accepted[Arrays]]]
Weights = Mapping[str, float]

_NO_LEVELS: Final[Mapping[str, str]] = MappingProxyType({})

CHUNK: Final = 1 << 15
"""Coordinates that a robust merge looks at together: what it needs besides its operands stays small."""


def merge(
    state: RoundState[Arrays],
    kind: str,
    rounds: RoundConfig | None = None,
    levels: Mapping[str, str] = _NO_LEVELS,
) -> dict[str, Array] | None:
    """The open round's pseudo-gradient per parameter, or ``None`` for a round of skips only.

    Args:
        state: holds the round, and what the shares of its workers rest on.
        kind: kind of the run's updates.
        rounds: the run's rules; the defaults without it.
        levels: of each parameter, if there are some: whose weight its part of an update has.
    """
    if all(accepted.commit.update is None for accepted in state.buffer):
        return None
    rules = rounds if rounds is not None else RoundConfig()
    by_worker = _grouped(state.buffer)
    cut = _cut(rules, len(by_worker))
    with np.errstate(over="ignore", invalid="ignore"):  # the caller checks what comes out of the step
        if cut == 0:
            return _mean(by_worker, kind, shares(state, rules, kind), levels)
        omegas = contributions(state.buffer, kind)
        return _coordinatewise(by_worker, kind, omegas, cut, _ROBUST[rules.merge], levels)


def left_out(
    state: RoundState[Arrays], kind: str, rounds: RoundConfig, levels: Mapping[str, str] = _NO_LEVELS
) -> dict[str, Array]:
    """What a robust merge of the open round discards, for a ledger; it is no part of the fold.

    Returns:
        Per parameter and coordinate the sum of ``weight·update`` over the commits of the workers that are left
        out there, in the commits' own sign; empty where nothing is left out.
    """
    by_worker = _grouped(state.buffer)
    cut = _cut(rounds, len(by_worker))
    if cut == 0:
        return {}
    workers = sorted(by_worker)
    discarded: dict[str, Array] = {}
    with np.errstate(over="ignore", invalid="ignore"):
        for name, like in _parameters(state.buffer).items():
            lost = np.zeros(like.size, like.dtype)
            level = levels.get(name)
            for part in _parts(like.size):
                values = _rows(by_worker, name, like, part, partial(_scale, kind=kind, level=level))
                masses = _rows(by_worker, name, like, part, partial(_weight, level=level))
                order = np.argsort(values, axis=0, kind="stable")
                for place in (*range(cut), *range(len(workers) - cut, len(workers))):
                    lost[part] += np.take_along_axis(masses, order[place : place + 1], axis=0)[0]
            discarded[name] = lost.reshape(like.shape)
    return discarded


def _cut(rounds: RoundConfig, workers: int) -> int:
    """How many of so many values are left out at each end; with 0, as below three workers, the merge is a mean."""
    middle = (workers - 1) // 2
    if rounds.merge not in _ROBUST:
        return 0
    return middle if rounds.merge == "median" else min(middle, max(1, int(rounds.trimmed_share * workers)))


def _grouped(buffer: Sequence[Accepted[Arrays]]) -> dict[str, list[Accepted[Arrays]]]:
    """Commits by worker, both in order of arrival."""
    by_worker: dict[str, list[Accepted[Arrays]]] = {}
    for accepted in buffer:
        by_worker.setdefault(accepted.commit.worker_id, []).append(accepted)
    return by_worker


def _work(commits: Sequence[Accepted[Arrays]]) -> float:
    total = 0.0
    for accepted in commits:
        total += accepted.commit.work
    return total


def _weight(accepted: Accepted[Arrays], _: float, level: str | None) -> float:
    return accepted.weight_of(level)


def _scale(accepted: Accepted[Arrays], work: float, kind: str, level: str | None) -> float:
    """Factor of an update in its worker's contribution, where the worker did ``work`` for the round.

    Ratios first: each is at most 1, so that the smallest work overflows no reciprocal.
    """
    return accepted.weight_of(level) * (-1.0 if kind == PARAMETER_DELTA else accepted.commit.work / work)


# --- the mean ----------------------------------------------------------------------------------------


def _mean(by_worker: ByWorker, kind: str, weights: Weights, levels: Mapping[str, str]) -> dict[str, Array]:
    total: dict[str, Array] = {}
    for worker, commits in by_worker.items():
        work = _work(commits)
        for accepted in commits:
            for name, value in (accepted.commit.update or {}).items():
                scale = _scale(accepted, work, kind, levels.get(name)) * weights[worker]
                scaled = np.asarray(value * value.dtype.type(scale))
                total[name] = np.asarray(total[name] + scaled) if name in total else scaled
    return total


# --- robust merges -----------------------------------------------------------------------------------

Combine = Callable[[Array, Array], Array]
"""Of values that were kept and of their workers' ω, both (kept, coordinates) in order of value."""


def _coordinatewise(
    by_worker: ByWorker, kind: str, weights: Weights, cut: int, combine: Combine, levels: Mapping[str, str]
) -> dict[str, Array]:
    """Sorts the workers' values of each coordinate, leaves out ``cut`` at each end, and combines the rest."""
    workers = sorted(by_worker)
    by_place = np.array([weights[worker] for worker in workers])
    merged: dict[str, Array] = {}
    for name, like in _parameters([a for commits in by_worker.values() for a in commits]).items():
        flat = np.empty(like.size, like.dtype)
        level = levels.get(name)
        for part in _parts(like.size):
            values = _rows(by_worker, name, like, part, partial(_scale, kind=kind, level=level))
            order = np.argsort(values, axis=0, kind="stable")[cut : len(workers) - cut]
            flat[part] = combine(np.take_along_axis(values, order, axis=0), by_place[order])
        merged[name] = flat.reshape(like.shape)
    return merged


def _weighted(values: Array, weights: Array) -> Array:
    mass = weights[0]
    for row in weights[1:]:
        mass = mass + row
    total = values[0] * (weights[0] / mass).astype(values.dtype)
    for value, weight in zip(values[1:], weights[1:], strict=True):
        total = total + value * (weight / mass).astype(values.dtype)
    return np.asarray(total)


def _middle(values: Array, _: Array) -> Array:
    """Of one value or of two; halved before they are added, lest they overflow."""
    if len(values) == 1:
        return np.asarray(values[0])
    half = values.dtype.type(0.5)
    return np.asarray(values[0] * half + values[1] * half)


_ROBUST: Final[Mapping[str, Combine]] = MappingProxyType({"trimmed_mean": _weighted, "median": _middle})
"""The merges that leave out outlying values, by name; every other one is the mean."""


def _parameters(buffer: Sequence[Accepted[Arrays]]) -> Arrays:
    """An update, for the names, shapes and dtypes that all of them have; empty for a round of skips."""
    return next((a.commit.update for a in buffer if a.commit.update is not None), {})


def _parts(size: int) -> Iterator[slice]:
    return (slice(begin, min(begin + CHUNK, size)) for begin in range(0, size, CHUNK))


def _rows(
    by_worker: ByWorker,
    name: str,
    like: Array,
    part: slice,
    scale: Callable[[Accepted[Arrays], float], float],
) -> Array:
    """Σ scale·update of every worker for a part of a parameter: (workers by id, coordinates); skips are 0."""
    rows = np.zeros((len(by_worker), part.stop - part.start), like.dtype)
    for row, worker in zip(rows, sorted(by_worker), strict=True):
        commits = by_worker[worker]
        work = _work(commits)
        for accepted in commits:
            if accepted.commit.update is not None:
                value = accepted.commit.update[name].reshape(-1)[part]
                row += value * like.dtype.type(scale(accepted, work))
    return rows
