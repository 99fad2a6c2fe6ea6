"""Versions: staleness, leases, rounds and commit chains, without I/O, threads or a clock of their own.

``rounds`` decides which commits count (durable, immutable), ``presence`` when a version is due (volatile),
``outbox`` is the worker's end of the chain, ``queue`` all of it in one process. A new staleness rule goes
into ``staleness``; a new weighting of workers into ``shares``; a new setting into ``config``, where it is also
validated.
"""

from chronos_common.versions.config import (
    BY_WORK,
    INVERSE_PARTICIPATION,
    MERGES,
    PACINGS,
    PREDICTED,
    UNIFORM,
    WEIGHTINGS,
    LeaseConfig,
    RoundConfig,
)
from chronos_common.versions.expectation import Expectation
from chronos_common.versions.leases import Lease, LeaseTable, RoundTimer
from chronos_common.versions.outbox import Compress, Observe, Outbox, OutboxState, Resolution
from chronos_common.versions.presence import MustWait, Presence
from chronos_common.versions.queue import BoundedVersionQueue, Checkout
from chronos_common.versions.rounds import (
    HYPERGRADIENT,
    KINDS,
    PARAMETER_DELTA,
    Accepted,
    Answer,
    Chain,
    Commit,
    Duplicate,
    RoundState,
    join,
    judge,
    record,
    stored_answer,
)
from chronos_common.versions.shares import advance, contributions, shares
from chronos_common.versions.staleness import STALENESS_RULES, exponential_weight
from chronos_common.versions.tracker import WHOLE, VersionTracker

__all__ = [
    "BY_WORK",
    "HYPERGRADIENT",
    "INVERSE_PARTICIPATION",
    "KINDS",
    "MERGES",
    "PACINGS",
    "PARAMETER_DELTA",
    "PREDICTED",
    "STALENESS_RULES",
    "UNIFORM",
    "WEIGHTINGS",
    "WHOLE",
    "Accepted",
    "Answer",
    "BoundedVersionQueue",
    "Chain",
    "Checkout",
    "Commit",
    "Compress",
    "Duplicate",
    "Expectation",
    "Lease",
    "LeaseConfig",
    "LeaseTable",
    "MustWait",
    "Observe",
    "Outbox",
    "OutboxState",
    "Presence",
    "Resolution",
    "RoundConfig",
    "RoundState",
    "RoundTimer",
    "VersionTracker",
    "advance",
    "contributions",
    "exponential_weight",
    "join",
    "judge",
    "record",
    "shares",
    "stored_answer",
]
