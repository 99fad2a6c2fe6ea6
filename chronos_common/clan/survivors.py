"""A decision among those who are still there when it is carried out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from chronos_common.clan.events import Move, RoundClosed


def among(decision: RoundClosed, present: Collection[int]) -> RoundClosed:
    """The decision for the members that are present; whoever is gone is replaced by the best one that is not.

    A target that would take over from itself stays as it is. With none of its members left, a soup is of the best one;
    with none that were ranked, nobody takes anything over.
    """
    ranking = tuple(member for member in decision.ranking if member in present)
    if len(ranking) == len(decision.ranking):
        return decision
    if not ranking:
        return replace(decision, ranking=(), moves=(), soup=())
    best = ranking[0]
    moves = tuple(
        Move(target=move.target, source=move.source if move.source in present else best)
        for move in decision.moves
        if move.target in present
    )
    return replace(
        decision,
        ranking=ranking,
        moves=tuple(move for move in moves if move.target != move.source),
        soup=tuple(member for member in decision.soup if member in present) or (best,) * bool(decision.soup),
    )
