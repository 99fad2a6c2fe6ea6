"""The receiver's ledger: what workers' updates were, and how much of each entered a version.

    produced = applied + discounted + discarded + open

To the coordinator, *produced* is what it accepted, as it decoded it. *Applied* is the share that entered a version,
*discounted* what staleness (or the cap on local work) took off, *discarded* what a robust merge left out or what was
accepted into a round that never became a version, and *open* the round that is being collected. It is derived from the
journal, so that a restart keeps it; the workers' own ledgers join it by ``chronos_common.compression.Ledger.into``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from chronos_common.compression import Ledger, mass
from chronos_common.tensors import Arrays, l1_norm


@dataclass(frozen=True, kw_only=True)
class Account:
    """A run's ledger, and the masses of the round that is open.

    Attributes:
        ledger: of the rounds that are closed, and of everything produced.
        open_mass: mass of the updates in the open round.
        open_applied: the same, each multiplied by its weight.
        residuals_lost: how often a worker declared that what it had owed will never come: so often the workers'
            ledgers do not join this one.
    """

    ledger: Ledger = field(default_factory=Ledger)
    open_mass: float = 0.0
    open_applied: float = 0.0
    residuals_lost: int = 0

    def terms(self) -> dict[str, float]:
        """The ledger by name, with the open round."""
        of_receiver = ("produced", "applied", "discounted", "discarded", "gross")
        return {name: getattr(self.ledger, name) for name in of_receiver} | {"open": self.open_mass}

    def accepted(self, update: Arrays | None, applied: float, *, residual_lost: bool = False) -> Account:
        """With one more commit in the open round, and the mass that its weights leave; a skip has none."""
        lost = self.residuals_lost + residual_lost
        if update is None:
            return replace(self, residuals_lost=lost)
        added = mass(update)
        ledger = replace(
            self.ledger, produced=self.ledger.produced + added, gross=self.ledger.gross + l1_norm(update)
        )
        return Account(
            ledger=ledger,
            open_mass=self.open_mass + added,
            open_applied=self.open_applied + applied,
            residuals_lost=lost,
        )

    def published(self, left_out: Arrays | None = None) -> Account:
        """The open round has become a version, of which a robust merge left something out."""
        discarded = mass(left_out) if left_out else 0.0
        return Account(
            ledger=replace(
                self.ledger,
                applied=self.ledger.applied + (self.open_applied - discarded),
                discounted=self.ledger.discounted + (self.open_mass - self.open_applied),
                discarded=self.ledger.discarded + discarded,
            ),
            residuals_lost=self.residuals_lost,
        )

    def ended(self) -> Account:
        """The open round will never become a version."""
        ledger = replace(self.ledger, discarded=self.ledger.discarded + self.open_mass)
        return Account(ledger=ledger, residuals_lost=self.residuals_lost)
