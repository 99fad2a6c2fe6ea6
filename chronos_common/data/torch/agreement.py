"""Ranks that plan apart must plan for the same: what they agree on before the first batch."""

from __future__ import annotations

import zlib
from collections import Counter

import numpy as np

from chronos_common.data.plan import PlanConfig, Reals
from chronos_common.data.torch.exchange import Exchange
from chronos_common.errors import ConfigurationError

_NAMES = ("rank", "number of ranks", "number of samples", "sizes", "configuration", "groups")


def require_agreement(
    exchange: Exchange,
    rank: int,
    num_replicas: int,
    sizes: Reals,
    config: PlanConfig,
    groups: tuple[int, ...] = (),
) -> None:
    """Compares what every rank is about to plan with; one small all-gather.

    Raises:
        ConfigurationError: on every rank, names a rank that exists twice, or what differs and where.
    """
    own = np.array(
        [
            rank,
            num_replicas,
            len(sizes),
            zlib.crc32(np.ascontiguousarray(sizes).tobytes()),
            zlib.crc32(repr(config).encode()),
            zlib.crc32(repr(groups).encode()),
        ],
        dtype=np.float64,
    )
    every = exchange.gather(own)()
    ranks = Counter(int(row[0]) for row in every)
    twice = sorted(rank for rank, times in ranks.items() if times > 1)
    if twice:
        raise ConfigurationError(
            f"rank {twice[0]} is there {ranks[twice[0]]} times among {len(every)} processes; each process needs its own"
        )
    if num_replicas != len(every):
        raise ConfigurationError(
            f"num_replicas is {num_replicas}, and {len(every)} processes exchange their times; they must be the same"
        )
    for column, name in list(enumerate(_NAMES))[1:]:
        other = np.flatnonzero(every[:, column] != every[0, column])
        if len(other):
            raise ConfigurationError(
                f"the {name} of rank {int(every[other[0], 0])} differs from that of rank {int(every[0, 0])}; all ranks "
                "must use the same data set in the same order, and the same settings",
                differs=name,
            )
