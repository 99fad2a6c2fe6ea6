"""Settings of rounds and leases, refused at construction when they cannot work."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from chronos_common.errors import ConfigurationError
from chronos_common.runtime import require_kinds
from chronos_common.versions.staleness import EXPONENTIAL, STALENESS_RULES

MERGES: Final = ("mean", "trimmed_mean", "median")
"""Ways to merge what the workers of a round contribute; ``chronos_common.engine.merge`` implements them."""

BY_WORK: Final = "work"
INVERSE_PARTICIPATION: Final = "inverse_participation"
WEIGHTINGS: Final = (BY_WORK, INVERSE_PARTICIPATION)
"""What a worker's weight in a version follows; ``participation`` implements them."""

UNIFORM: Final = "uniform"
PREDICTED: Final = "predicted"
PACINGS: Final = (UNIFORM, PREDICTED)
"""How work and deadlines are made; ``chronos_common.engine.pacing`` predicts."""

MAX_STALENESS: Final = 1_000_000
"""Versions; a bound beyond it bounds nothing."""


@dataclass(frozen=True, kw_only=True)
class RoundConfig:
    """Rules of one run's rounds.

    Attributes:
        max_staleness: a commit whose base is further behind the current version is refused (versions).
        max_in_flight: most distinct base versions being worked on at once; one is a barrier.
        quorum: distinct workers that must contribute to a version; ``None`` is half of the live ones,
            rounded up.
        decay: parameter of the ``"exponential"`` rule ``decay ** staleness``; in (0, 1].
        max_local_work: most work that one worker's parameter deltas may add to one version, in units of
            one assigned inner loop.
        staleness_rule: name of the rule that weighs late commits, a key of ``STALENESS_RULES``.
        staleness_rate: parameter of the other rules, 0 or more: the exponent of ``"polynomial"``, the decay
            per version of ``"smooth_cutoff"``; ``None`` is the rule's default, 0.5 and 0.1.
        merge: how the workers' contributions become one: one of ``MERGES``. The robust ones, ``"trimmed_mean"``
            and ``"median"``, are the mean for a version that fewer than three workers have contributed to; a
            quorum of 3 or more keeps them to their purpose.
        trim: share of the contributions that ``"trimmed_mean"`` leaves out at *each* end, at least one;
            above 0 and below 0.5; ``None`` is 0.1.
        weighting: what a worker's weight in a version follows, one of ``WEIGHTINGS``: the work in it, or that
            divided by the worker's participation in the newest versions.
        participation_window: versions over which participation is counted, the one being made included;
            ``None`` is 16.
        grace_seconds: longest time that a version with a quorum waits for the workers that have not
            contributed to it and are not past their deadline; 0 for none.
        immediate_publish: publish at the quorum, whoever is left behind: work that a deferred version would
            have waited for is refused as stale when it arrives. With a quorum of 1, every commit makes a
            version. For comparison; it loses the work of the slow.
        once_per_version: who has contributed to the next version waits for it instead of working again. With
            a quorum of all workers, a synchronous barrier.
        pacing: one of ``PACINGS``: ``"uniform"`` gives every worker the whole inner loop and leases of one length;
            ``"predicted"`` gives each a share in proportion to its speed, so that all take as long as the fastest
            with all of it, and a lease by its own predicted time.
    """

    max_staleness: int = 2
    max_in_flight: int = 3
    quorum: int | None = None
    decay: float = 0.5
    max_local_work: float = 8.0
    staleness_rule: str = EXPONENTIAL
    staleness_rate: float | None = None
    merge: str = "mean"
    trim: float | None = None
    weighting: str = BY_WORK
    participation_window: int | None = None
    grace_seconds: float = 0.0
    immediate_publish: bool = False
    once_per_version: bool = False
    pacing: str = UNIFORM

    def __post_init__(self) -> None:
        require_kinds(self)
        if not 0 <= self.max_staleness <= MAX_STALENESS:
            raise ConfigurationError(
                f"max_staleness is {self.max_staleness}; it must be 0 or more and at most {MAX_STALENESS}"
            )
        if self.max_in_flight < self.max_staleness + 1:
            raise ConfigurationError(
                f"max_in_flight is {self.max_in_flight}, below max_staleness + 1 = {self.max_staleness + 1}: "
                "checkouts would wait for versions that the staleness bound allows; raise max_in_flight"
            )
        if self.quorum is not None and self.quorum < 1:
            raise ConfigurationError(f"quorum is {self.quorum}; it must be 1 or more, or left out")
        if not (math.isfinite(self.max_local_work) and self.max_local_work >= 1.0):
            raise ConfigurationError(
                f"max_local_work is {self.max_local_work}; it must be finite and at least 1"
            )
        if not (math.isfinite(self.grace_seconds) and self.grace_seconds >= 0.0):
            raise ConfigurationError(
                f"grace_seconds is {self.grace_seconds}; it must be finite and 0 or more"
            )
        if self.immediate_publish and self.grace_seconds:
            raise ConfigurationError(
                f"grace_seconds is {self.grace_seconds}, but immediate_publish waits for nobody; leave one of them out"
            )
        if self.pacing not in PACINGS:
            raise ConfigurationError(
                f"pacing {self.pacing!r} is unknown; the pacings are {', '.join(PACINGS)}"
            )
        _require_staleness(self)
        _require_merge(self)
        _require_weighting(self)

    def staleness_weight(self, staleness: int) -> float:
        """Weight of a commit that is so many versions behind, in [0, 1]; above 0 within the bound."""
        rule = STALENESS_RULES[self.staleness_rule]
        given = self.decay if self.staleness_rule == EXPONENTIAL else self.staleness_rate
        return rule.weigh(staleness, rule.default if given is None else given, self.max_staleness)

    @property
    def trimmed_share(self) -> float:
        """Share of the contributions that the trimmed mean leaves out at each end."""
        return 0.1 if self.trim is None else self.trim

    @property
    def counted_versions(self) -> int:
        """Versions over which participation counts, the one being made included; 0 if it does not matter."""
        if self.weighting != INVERSE_PARTICIPATION:
            return 0
        return 16 if self.participation_window is None else self.participation_window


def _require_staleness(rounds: RoundConfig) -> None:
    rule = STALENESS_RULES.get(rounds.staleness_rule)
    if rule is None:
        raise ConfigurationError(
            f"staleness_rule {rounds.staleness_rule!r} is unknown; the rules are {', '.join(STALENESS_RULES)}"
        )
    STALENESS_RULES[EXPONENTIAL].require(rounds.decay)
    if rounds.staleness_rule == EXPONENTIAL:
        if rounds.staleness_rate is not None:
            raise ConfigurationError(
                f"staleness_rate is {rounds.staleness_rate}, but the exponential rule has no use for it; its "
                "parameter is decay"
            )
    elif rounds.decay != RoundConfig.decay:
        raise ConfigurationError(
            f"decay is {rounds.decay}, but the {rounds.staleness_rule} rule has no use for it; its parameter is "
            "staleness_rate"
        )
    elif rounds.staleness_rate is not None:
        rule.require(rounds.staleness_rate)
    if rounds.staleness_weight(rounds.max_staleness) == 0.0:
        raise ConfigurationError(
            f"a commit that is max_staleness = {rounds.max_staleness} versions behind would be accepted with "
            f"weight 0; lower max_staleness, or choose a {rule.parameter} that decays less"
        )


def _require_merge(rounds: RoundConfig) -> None:
    if rounds.merge not in MERGES:
        raise ConfigurationError(f"merge {rounds.merge!r} is unknown; the merges are {', '.join(MERGES)}")
    if rounds.trim is None:
        return
    if rounds.merge != "trimmed_mean":
        raise ConfigurationError(
            f"trim is {rounds.trim}, but the merge is {rounds.merge!r}; only 'trimmed_mean' trims"
        )
    if not 0.0 < rounds.trim < 0.5:
        raise ConfigurationError(
            f"trim is {rounds.trim}; it is left out at each end and must be above 0 and below 0.5"
        )


def _require_weighting(rounds: RoundConfig) -> None:
    window = rounds.participation_window
    if rounds.weighting not in WEIGHTINGS:
        raise ConfigurationError(
            f"weighting {rounds.weighting!r} is unknown; the weightings are {', '.join(WEIGHTINGS)}"
        )
    if rounds.weighting != INVERSE_PARTICIPATION:
        if window is not None:
            raise ConfigurationError(
                f"participation_window is {window}, but the weighting is {rounds.weighting!r}; only "
                f"{INVERSE_PARTICIPATION!r} counts participation"
            )
        return
    if rounds.merge != "mean":
        raise ConfigurationError(
            f"weighting {INVERSE_PARTICIPATION!r} needs merge 'mean', not {rounds.merge!r}: a robust merge leaves "
            "out the outlying contributions, which would be the rare ones that this weighting enlarges"
        )
    if rounds.counted_versions < rounds.max_staleness + 1:
        raise ConfigurationError(
            f"participation_window is {rounds.counted_versions}, below max_staleness + 1 = "
            f"{rounds.max_staleness + 1}: the slowest worker may contribute to no version in it; raise it"
        )


@dataclass(frozen=True, kw_only=True)
class LeaseConfig:
    """How long a worker may hold a version.

    A lease lasts ``(max_staleness + 1) × median round time`` over the last ``window`` rounds, but not less
    than the median worker needs for a whole inner loop and a quarter more; kept between
    ``min_seconds`` and ``max_seconds``; ``initial_seconds`` until a round has been timed.
    """

    initial_seconds: float = 30.0
    min_seconds: float = 1.0
    max_seconds: float = 600.0
    window: int = 16

    def __post_init__(self) -> None:
        require_kinds(self)
        for name in ("initial_seconds", "min_seconds", "max_seconds"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise ConfigurationError(f"lease {name} is {value}; it must be finite and above 0")
        if not self.min_seconds <= self.initial_seconds <= self.max_seconds:
            raise ConfigurationError(
                "lease times must be ordered min_seconds <= initial_seconds <= max_seconds, "
                f"but are {self.min_seconds}, {self.initial_seconds}, {self.max_seconds}"
            )
        if self.window < 1:
            raise ConfigurationError(f"lease window is {self.window}; it must be 1 or more rounds")
