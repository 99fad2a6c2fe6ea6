"""Shares of the workers in a version: what each one's contribution counts beside the others'.

``work``: the share of an inner loop that the worker did for the version, ω_w = min(1, Σ work), divided by the
sum of these over the round (docs/decisions/0003). A worker's parameter deltas count as 1.

``inverse_participation``: who contributes to every version moves the run more often than who contributes to
every third. Here ω_w is multiplied by b_w, one over the worker's participation, and divided by what an average
version of the window weighs:

    m_w = Σ ω_w over the versions of the window        b_w = min(r_w / m_w, 2·(max_staleness + 1))
    D   = Σ_w b_w·m_w / R                              share_w = ω_w·b_w / D

The window is the newest R versions, at most ``participation_window``, the one that is being made included; r_w
of them were made since the worker joined. Over a window, the shares of all workers then add up to the same. The
divisor belongs to the window and not to the round: divided by the round's own sum, a version that the slow
missed would go to the fast at full weight, however small theirs is. The limit on b_w keeps a worker that was away
from leaping: within the staleness bound, a living worker contributes to one in max_staleness + 1 versions, and
seldom with less than half an inner loop. Where everybody contributes alike to every version, the shares are those
of ``work``. The staleness weight is no part of all this: dividing it out again would leave no decay.

Only + − × ÷ in a fixed order: the shares are part of the fold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeVar

from chronos_common.versions.config import INVERSE_PARTICIPATION, RoundConfig
from chronos_common.versions.rounds import HYPERGRADIENT, PARAMETER_DELTA, Accepted, RoundState

U = TypeVar("U")

BOOST_MARGIN = 2.0
"""How far below one whole contribution in max_staleness + 1 versions a worker may fall and be made up for."""


def contributions(buffer: Sequence[Accepted[Any]], kind: str) -> dict[str, float]:
    """ω of every worker in a round, in order of arrival."""
    return {
        worker: 1.0 if kind == PARAMETER_DELTA else min(1.0, done) for worker, done in work_of(buffer).items()
    }


def work_of(buffer: Sequence[Accepted[Any]]) -> dict[str, float]:
    """Work of every worker in a round, in inner loops and in order of arrival."""
    work: dict[str, float] = {}
    for accepted in buffer:
        worker = accepted.commit.worker_id
        work[worker] = work.get(worker, 0.0) + accepted.commit.work
    return work


def shares(
    state: RoundState[Any], config: RoundConfig | None = None, kind: str = HYPERGRADIENT
) -> dict[str, float]:
    """The weight of every contributor in the version that the open round makes, in order of arrival."""
    present = contributions(state.buffer, kind)
    if config is None or config.weighting != INVERSE_PARTICIPATION:
        total = ordered_sum(present.values())
        return {worker: amount / total for worker, amount in present.items()}
    window = _window(state, present)
    masses, boosts = _masses(window), _boosts(state, config, window)
    average = ordered_sum(boosts[worker] * masses[worker] for worker in masses) / len(window)
    return {worker: amount * boosts[worker] / average for worker, amount in present.items()}


def advance(
    state: RoundState[U], config: RoundConfig | None = None, kind: str = HYPERGRADIENT
) -> RoundState[U]:
    """The state after a publish: the next version, with an empty buffer, and the books on who is in it.

    A worker's effective weight grows by ω_w, times b_w under ``inverse_participation``, times the mean of its
    commits' staleness weights, skips counting as 0; of parameter deltas by Σ weight·work instead of ω.
    """
    present = contributions(state.buffer, kind)
    counted = config.counted_versions if config is not None else 0
    window = _window(state, present) if counted else ()
    boosts = _boosts(state, config, window) if config is not None and counted else {}
    work = work_of(state.buffer)
    chains = dict(state.chains)
    for accepted in state.buffer:
        commit = accepted.commit
        if commit.update is None:
            continue
        part = 1.0 if kind == PARAMETER_DELTA else present[commit.worker_id] / work[commit.worker_id]
        chain = chains[commit.worker_id]
        gained = accepted.weight * (commit.work * part) * boosts.get(commit.worker_id, 1.0)
        chains[commit.worker_id] = replace(chain, effective_weight=chain.effective_weight + gained)
    return replace(
        state,
        version=state.version + 1,
        chains=MappingProxyType(chains),
        buffer=(),
        recent=window[1:] if len(window) == counted else window,
    )


def ordered_sum(values: Iterable[float]) -> float:
    """In order, one rounding each: the builtin ``sum`` compensates on some releases of Python."""
    total = 0.0
    for value in values:
        total += value
    return total


def _window(state: RoundState[Any], present: Mapping[str, float]) -> tuple[Mapping[str, float], ...]:
    """ω per worker and version, the open round last."""
    return (*state.recent, MappingProxyType(dict(present)))


def _masses(window: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """m of every worker in the window, by worker id."""
    masses: dict[str, float] = {}
    for amounts in window:
        for worker, amount in amounts.items():
            masses[worker] = masses.get(worker, 0.0) + amount
    return dict(sorted(masses.items()))


def _boosts(
    state: RoundState[Any], config: RoundConfig, window: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """b of every worker in the window."""
    most = BOOST_MARGIN * (config.max_staleness + 1)
    found = {}
    for worker, mass in _masses(window).items():
        since_joining = min(len(window), state.version + 1 - state.chains[worker].joined)
        # Compared by a product: the smallest mass would overflow a quotient.
        found[worker] = most if most * mass <= since_joining else since_joining / mass
    return found
