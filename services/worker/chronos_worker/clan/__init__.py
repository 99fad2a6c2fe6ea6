"""Clan training in a training script: the torch face of :mod:`chronos_common.clan`.

* ``clan.py``: :class:`Clan`, what a script uses; ``member.py``: its handle in the loop; ``loader.py``: batches.
* ``genes.py``: genes of an optimiser.  ``weights.py``: what is cloned, averaged and kept.  ``progress.py``: where the
  round stands.  ``checkpoint.py``: files.
* ``course.py``: from round to round.  ``joining.py``: members on a coordinator, who come and fall behind, with their
  state in ``held.py``, their rounds and places in ``served.py``, and the way to both in ``connection.py``.
* ``transport/``: how members reach each other.  ``keeper.py``: who folds the rounds.
* ``launched.py``: members where a script names none.  ``pending.py``: loaders that are made before the clan.
* ``folded.py``, ``folded_member.py``: a whole population in one process.
"""

from chronos_worker.clan.clan import Clan
from chronos_worker.clan.connection import ClanConnection
from chronos_worker.clan.keeper import Replicated, RoundKeeper
from chronos_worker.clan.loader import ClanLoader
from chronos_worker.clan.member import Member
from chronos_worker.clan.pending import clan_loader
from chronos_worker.clan.transport import Distributed, Elastic, Lockstep, Solo, Transport, run_members

__all__ = [
    "Clan",
    "ClanConnection",
    "ClanLoader",
    "Distributed",
    "Elastic",
    "Lockstep",
    "Member",
    "Replicated",
    "RoundKeeper",
    "Solo",
    "Transport",
    "clan_loader",
    "run_members",
]
