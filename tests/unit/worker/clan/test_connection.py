"""How a clan is told where its coordinator is, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from chronos_common.errors import ConfigurationError
from chronos_worker.clan import Clan, ClanConnection


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"address": "nowhere"}, "address"),
        ({"clan": ""}, "clan"),
        ({"worker": ""}, "worker"),
        ({"give_up_seconds": 0.0}, "give_up_seconds"),
        ({"patience_seconds": float("inf")}, "patience_seconds"),
    ],
)
def test_a_line_that_cannot_be_one_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigurationError, match=field):
        ClanConnection(**{"address": "127.0.0.1:1", "clan": "c", "worker": "w", **changes})


def test_the_number_of_members_has_to_be_said() -> None:
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    with pytest.raises(ConfigurationError, match="population_size"):
        Clan(model, optimizer, autobind=["adamw"], coordinator="127.0.0.1:1", clan="c", worker="w")


def test_peers_reach_a_member_at_the_address_that_faces_the_coordinator() -> None:
    line = ClanConnection(address="127.0.0.1:1", clan="c", worker="w")
    assert line.own_host == "127.0.0.1"
