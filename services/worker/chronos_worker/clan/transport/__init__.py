"""How members reach each other: ``base.py`` has the interface; one file each, and the contract test runs over all.

* ``solo.py``: one member.  ``lockstep.py``: members in threads, one at a time, deterministic.
* ``distributed.py``: ranks of ``torch.distributed``.  ``flat.py``: many tensors as few vectors.
"""

from chronos_worker.clan.transport.base import Transport
from chronos_worker.clan.transport.distributed import Distributed
from chronos_worker.clan.transport.lockstep import Lockstep, run_members
from chronos_worker.clan.transport.solo import Solo

__all__ = ["Distributed", "Lockstep", "Solo", "Transport", "run_members"]
