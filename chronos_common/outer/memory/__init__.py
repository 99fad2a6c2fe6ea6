"""The continuum memory: what an outer optimisation has seen at which λ, within a budget.

It remembers (λ, hypergradient, loss) and the places where a problem failed, finds what lies near a given λ, predicts
the hypergradient there, and keeps steps out of places that have failed. ``config`` is what a user chooses, ``sketch``
makes points of few dimensions out of large λ, ``packing`` halves what is old, ``records`` are what it holds and
answers, ``regions`` the failed places, ``memory`` the :class:`ContinuumMemory` itself, ``parts`` its bytes.

It is part of a run's folded state: an immutable value, every change a new one, and everything that a change depends
on uses only elementwise + - * / and square roots, in a fixed order.
"""

from chronos_common.outer.memory.config import MemoryConfig
from chronos_common.outer.memory.memory import ContinuumMemory
from chronos_common.outer.memory.parts import from_parts, to_parts
from chronos_common.outer.memory.records import Counts, LossTrend, MemoryEntry, Neighbour, Prediction
from chronos_common.outer.memory.regions import Regions

__all__ = [
    "ContinuumMemory",
    "Counts",
    "LossTrend",
    "MemoryConfig",
    "MemoryEntry",
    "Neighbour",
    "Prediction",
    "Regions",
    "from_parts",
    "to_parts",
]
