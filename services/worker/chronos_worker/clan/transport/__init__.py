"""How members reach each other: ``base.py`` has the interface; one file each, and the contract test runs over all.

* ``solo.py``: one member.  ``lockstep.py``: members in threads, one at a time, deterministic.
* ``distributed.py``: ranks of ``torch.distributed``.  ``elastic.py``: members of a peer group, who may die and come.
* ``flat.py``: many tensors as few vectors.  ``ordered.py``: means with the same bits whoever came first.
"""

from chronos_worker.clan.transport.base import MovedError, Transport
from chronos_worker.clan.transport.distributed import Distributed
from chronos_worker.clan.transport.elastic import Elastic, Seat
from chronos_worker.clan.transport.lockstep import Lockstep, run_members
from chronos_worker.clan.transport.solo import Solo

__all__ = [
    "Distributed",
    "Elastic",
    "Lockstep",
    "MovedError",
    "Seat",
    "Solo",
    "Transport",
    "run_members",
]
