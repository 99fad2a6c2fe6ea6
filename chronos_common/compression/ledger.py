"""The ledger of a pipeline: nothing that was produced disappears without a name.

    produced = applied + residual + pending + discounted + discarded + lost

*Applied* went where it was meant to; the *residual* waits at the sender; *pending* has no definitive answer yet;
*discounted* was taken off by a decay (staleness); *discarded* can never be applied (a malformed update, clipping, a
robust merge); *lost* died with a sender that kept nothing on disk, and is declared by its successor.

Sender and receiver keep one each. To the sender, applied is what the receiver took; to the receiver that is what was
produced, and applied is what entered a version. :meth:`Ledger.into` joins the two.

The mass of arrays is the sum of their values: it is the one measure that adds up over all of these (norms do not), and
what is in two places, or in none, shows in it. Masses are signed, so an imbalance is judged against ``gross``, the sum
of all magnitudes that were produced.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Final

from chronos_common.tensors import Arrays, flatten, l1_norm, ordered_sum

TERMS: Final = ("produced", "applied", "discounted", "discarded", "lost")


def mass(arrays: Arrays) -> float:
    """Σ v over all values, in float64 and in a fixed order."""
    return ordered_sum(flatten(arrays)[0].astype("float64", copy=False))


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Masses so far; immutable. The ledgers of several senders add up.

    Attributes:
        produced: mass of all updates.
        applied: mass that went where it was meant to.
        discounted: mass taken off by decays.
        discarded: mass refused for good.
        lost: mass declared lost.
        gross: Σ|v| of all updates, the scale of an imbalance.
    """

    produced: float = 0.0
    applied: float = 0.0
    discounted: float = 0.0
    discarded: float = 0.0
    lost: float = 0.0
    gross: float = 0.0

    def record(self, term: str, arrays: Arrays, *, share: float = 1.0) -> Ledger:
        """The ledger with ``share`` of the arrays' mass added to one of :data:`TERMS`."""
        if term not in TERMS:
            raise ValueError(f"the ledger has no term {term!r}; its terms are {', '.join(TERMS)}")
        found = replace(self, **{term: getattr(self, term) + share * mass(arrays)})
        return replace(found, gross=self.gross + share * l1_norm(arrays)) if term == "produced" else found

    def __add__(self, other: Ledger) -> Ledger:
        names = [field.name for field in fields(self)]
        return Ledger(**{name: getattr(self, name) + getattr(other, name) for name in names})

    def into(self, receiver: Ledger) -> Ledger:
        """The ledger of both ends, this one's being the senders': what they produced and what became of it."""
        return Ledger(
            produced=self.produced,
            applied=receiver.applied,
            discounted=self.discounted + receiver.discounted,
            discarded=self.discarded + receiver.discarded,
            lost=self.lost + receiver.lost,
            gross=self.gross,
        )

    def imbalance(self, *, residual: float = 0.0, pending: float = 0.0) -> float:
        """|produced - everything else| / gross; 0 while nothing was produced.

        Args:
            residual: :func:`mass` of what waits at the senders.
            pending: :func:`mass` of what has no definitive answer.
        """
        found = self.applied + residual + pending + self.discounted + self.discarded + self.lost
        return abs(self.produced - found) / self.gross if self.gross else abs(self.produced - found)


class Book:
    """A ledger that is kept: :meth:`record` has the signature that senders report to.

    Attributes:
        ledger: as it stands.
    """

    def __init__(self) -> None:
        self.ledger = Ledger()

    def record(self, term: str, arrays: Arrays, share: float = 1.0) -> None:
        """Adds to one term; see :meth:`Ledger.record`."""
        self.ledger = self.ledger.record(term, arrays, share=share)
