"""Clan training: a population that trains as one while its members' optimiser schedules compete (numpy, pure).

* ``alleles.py``, ``genome.py``, ``lineage.py``: what a member trains with, and whom it descends from.
* ``ancestry/``, ``crossbreeding/``, ``mutation/``: strategies, one table each; ``breeding.py`` puts three together.
* ``config.py``: the algorithm, every part with its switch.  ``presets.py``: Clan+, and what it is compared with.
* ``phases.py``: what a round consists of, and the schedule.  ``events.py``: what happens, and what is decided.
* ``state.py``: the population between two events.  ``machine.py``: the fold.  ``closing.py``: the end of a round.

The same (seed, events) give the same decisions wherever they are folded: on every rank of a job, or on a coordinator.
Training itself is elsewhere (``chronos_worker.clan``).
"""

from chronos_common.clan.alleles import (
    ALLELES,
    Allele,
    BoolAllele,
    ContinuousAllele,
    FloatAllele,
    IntAllele,
    LogFloatAllele,
    StringAllele,
    walk,
)
from chronos_common.clan.breeding import Breeding
from chronos_common.clan.config import ClanConfig, FanOutConfig, ScheduleConfig, SelectionConfig
from chronos_common.clan.events import (
    Adopted,
    Decision,
    Event,
    FitnessReported,
    MemberDied,
    MemberJoined,
    Move,
    RoundClosed,
    RoundPlan,
    RoundStarted,
    event_from_json,
    event_to_json,
)
from chronos_common.clan.genome import Genome, genome_from_json
from chronos_common.clan.lineage import Birth, line_of
from chronos_common.clan.machine import Folded, fold, plan
from chronos_common.clan.phases import Phase, averaging_decay, rate_factor
from chronos_common.clan.presets import PRESETS, preset
from chronos_common.clan.state import ClanState, Seat, found, state_from_json

__all__ = [
    "ALLELES",
    "PRESETS",
    "Adopted",
    "Allele",
    "Birth",
    "BoolAllele",
    "Breeding",
    "ClanConfig",
    "ClanState",
    "ContinuousAllele",
    "Decision",
    "Event",
    "FanOutConfig",
    "FitnessReported",
    "FloatAllele",
    "Folded",
    "Genome",
    "IntAllele",
    "LogFloatAllele",
    "MemberDied",
    "MemberJoined",
    "Move",
    "Phase",
    "RoundClosed",
    "RoundPlan",
    "RoundStarted",
    "ScheduleConfig",
    "Seat",
    "SelectionConfig",
    "StringAllele",
    "averaging_decay",
    "event_from_json",
    "event_to_json",
    "fold",
    "found",
    "genome_from_json",
    "line_of",
    "plan",
    "preset",
    "rate_factor",
    "state_from_json",
    "walk",
]
