"""The newest deltas, kept to be relayed: what leads a client from the version that it holds to the newest.

They are part of no digest: the journal has them, and a snapshot does in their place. Kept are the deltas of the
newest ``keep_versions`` versions, but no more than are together smaller than a snapshot, so that whatever is
relayed is smaller than what it replaces, and memory is bounded without asking who holds what.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Delta:
    """A version as it was published: what it adds to the version before."""

    version: int
    payload: bytes


@dataclass(frozen=True, kw_only=True)
class Relay:
    """Deltas in order, and the oldest version that they lead on from.

    A version without a delta (a round of skips) has the value of the one before.
    """

    base: int = 0
    deltas: tuple[Delta, ...] = ()

    def since(self, known: int) -> tuple[Delta, ...] | None:
        """What to add to version ``known``, one by one; ``None`` when only a snapshot helps."""
        if known < self.base:
            return None
        return tuple(delta for delta in self.deltas if delta.version > known)

    def after_delta(self, version: int, payload: bytes, *, keep_versions: int, snapshot_bytes: int) -> Relay:
        """With the delta that made ``version``, and without those that are not worth keeping."""
        oldest = max(self.base, version - keep_versions)
        kept: list[Delta] = []
        room = snapshot_bytes
        for delta in (Delta(version=version, payload=payload), *reversed(self.deltas)):
            room -= len(delta.payload)
            if delta.version <= oldest or room <= 0:
                oldest = max(oldest, delta.version)
                break
            kept.append(delta)
        return Relay(base=oldest, deltas=tuple(reversed(kept)))
