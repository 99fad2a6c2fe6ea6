"""The family tree: who was bred from whom, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from chronos_common.clan.genome import Genome, text, whole


@dataclass(frozen=True, kw_only=True)
class Birth:
    """One line of the family tree.

    Attributes:
        genome_id: who was born.
        parents: from whom, the one whose weights were taken first.
        round: when.
        slot: in whose place.
    """

    genome_id: str
    parents: tuple[str, ...]
    round: int
    slot: int

    @classmethod
    def of(cls, genome: Genome, slot: int) -> Birth:
        """The birth of a genome."""
        return cls(genome_id=genome.genome_id, parents=genome.parents, round=genome.born, slot=slot)

    def to_json(self) -> dict[str, Any]:
        """Plain values for :meth:`from_json`."""
        return {
            "genome_id": self.genome_id,
            "parents": list(self.parents),
            "round": self.round,
            "slot": self.slot,
        }

    @classmethod
    def from_json(cls, parts: Mapping[str, Any]) -> Birth:
        """Inverse of :meth:`to_json`."""
        genome_id, *parents = (text(one) for one in (parts["genome_id"], *parts["parents"]))
        return cls(
            genome_id=genome_id,
            parents=tuple(parents),
            round=whole(parts["round"]),
            slot=whole(parts["slot"]),
        )


def line_of(births: Iterable[Birth], genome_id: str) -> list[str]:
    """The ids from this genome back to the first of its line, through those whose weights were taken."""
    first_parent = {birth.genome_id: birth.parents[0] if birth.parents else None for birth in births}
    line, current = [], first_parent.get(genome_id)
    line.append(genome_id)
    while current is not None:
        line.append(current)
        current = first_parent.get(current)
    return line
