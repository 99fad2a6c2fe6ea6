"""A whole cluster in one thread: a coordinator with a journal, worker processes, and a network that misbehaves.

Time is a number, faults are method calls, and every message is one element of ``wire`` until something
delivers, repeats or drops it. Whoever drives it (Hypothesis, a seeded generator, a scenario) only picks what
happens next; every rule that must hold is asserted on the way.
"""

from tests.support.cluster.cluster import Cluster
from tests.support.cluster.config import run_config
from tests.support.cluster.process import Process

__all__ = ["Cluster", "Process", "run_config"]
