"""What becomes of a decision when members die before it is carried out."""

from __future__ import annotations

import pytest

from chronos_common.clan import Move, RoundClosed
from chronos_common.clan.survivors import among

DECISION = RoundClosed(
    round=3, ranking=(2, 0, 3, 1), moves=(Move(target=1, source=2), Move(target=3, source=0)), soup=(2, 0)
)


def test_with_all_there_nothing_changes() -> None:
    assert among(DECISION, {0, 1, 2, 3}) is DECISION


@pytest.mark.parametrize(
    ("present", "moves", "soup"),
    [
        ({0, 1, 3}, {1: 0, 3: 0}, (0,)),  # the best is gone: the next best stands in for it
        ({1, 2, 3}, {1: 2, 3: 2}, (2,)),
        ({1, 3}, {1: 3}, (3,)),  # the best that lives would take over from itself
        ({0, 2}, {}, (2, 0)),  # targets are gone
        ({1}, {}, (1,)),
        ({-1}, {}, ()),  # nobody that was ranked
    ],
)
def test_the_next_best_that_lives_stands_in(
    present: set[int], moves: dict[int, int], soup: tuple[int, ...]
) -> None:
    found = among(DECISION, present)
    assert {move.target: move.source for move in found.moves} == moves
    assert found.soup == soup
    assert found.ranking == tuple(member for member in DECISION.ranking if member in present)
