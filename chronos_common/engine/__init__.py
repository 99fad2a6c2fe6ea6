"""The engine: events in, state out. What a run is, and the only code that may change one.

``config`` defines a run, ``events`` are the journal's decisions, ``state`` folds them, ``run`` decides (commands
in, answers and events out), ``merge`` combines a round's commits, ``downlink`` makes the next version of them,
``relay`` keeps deltas for checkouts, ``account`` the ledger; ``snapshot`` makes bytes of a state and back, by
``plain``; ``replica`` is a client's copy, ``verify`` replays, ``history`` and ``views`` are what outsiders see. All
of it is numpy and pure. ``local`` is the torch face: a whole run in one process; import it by its full name, so that
a coordinator never loads torch.
"""

from chronos_common.engine.compression import CompressionConfig
from chronos_common.engine.config import RunConfig, WorkSpec
from chronos_common.engine.digests import state_digest
from chronos_common.engine.events import (
    ACTIVE,
    DIVERGED,
    FINISHED,
    STOPPED,
    UNREADABLE,
    CommitRecord,
    Created,
    Ended,
    Event,
    Joined,
    Published,
    Remembered,
    WarmStarted,
    from_parts,
    to_parts,
)
from chronos_common.engine.history import VersionHistory
from chronos_common.engine.merge import left_out, merge
from chronos_common.engine.pacing import Pacer, PaceView
from chronos_common.engine.replica import Replica
from chronos_common.engine.run import EngineLimits, RunEngine
from chronos_common.engine.snapshot import RunSnapshot, from_snapshot, to_snapshot
from chronos_common.engine.state import RunState, fold, publish, start
from chronos_common.engine.verify import VerifyReport, replay, verify
from chronos_common.engine.views import (
    CheckoutAnswer,
    CheckoutQuery,
    CommitAnswer,
    CommitQuery,
    MergedCommit,
    MetricSample,
    RegistrationAnswer,
    RunView,
    VersionPart,
    VersionRecord,
    WorkerView,
)

__all__ = [
    "ACTIVE",
    "DIVERGED",
    "FINISHED",
    "STOPPED",
    "UNREADABLE",
    "CheckoutAnswer",
    "CheckoutQuery",
    "CommitAnswer",
    "CommitQuery",
    "CommitRecord",
    "CompressionConfig",
    "Created",
    "Ended",
    "EngineLimits",
    "Event",
    "Joined",
    "MergedCommit",
    "MetricSample",
    "PaceView",
    "Pacer",
    "Published",
    "RegistrationAnswer",
    "Remembered",
    "Replica",
    "RunConfig",
    "RunEngine",
    "RunSnapshot",
    "RunState",
    "RunView",
    "VerifyReport",
    "VersionHistory",
    "VersionPart",
    "VersionRecord",
    "WarmStarted",
    "WorkSpec",
    "WorkerView",
    "fold",
    "from_parts",
    "from_snapshot",
    "left_out",
    "merge",
    "publish",
    "replay",
    "start",
    "state_digest",
    "to_parts",
    "to_snapshot",
    "verify",
]
