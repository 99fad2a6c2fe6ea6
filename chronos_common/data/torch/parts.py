"""Data sets that lie on nodes, each with its part: the sizes of all parts, and which ranks reach which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chronos_common.data.plan import Groups, Reals
from chronos_common.data.torch.exchange import Exchange, TorchExchange
from chronos_common.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """The whole of a partitioned data set; the samples of node 0 come first.

    Attributes:
        sizes: of all samples, (N,).
        groups: which node holds which sample, and which rank is on it.
        first: number of the first sample of this rank's own part.
    """

    sizes: Reals
    groups: Groups
    first: int


def gathered(exchange: Exchange | None, own: Reals, groups: Sequence[int], rank: int) -> Parts:
    """Puts the parts together; two all-gathers, of lengths and of sizes.

    Args:
        exchange: with all ranks; by default the default process group.
        own: sizes of the part that this rank reaches, (n,).
        groups: node of each rank, (W,).
        rank: this one.

    Raises:
        ConfigurationError: ranks of one node that see different parts.
    """
    exchange = exchange if exchange is not None else TorchExchange()
    lengths = exchange.gather(np.array([len(own)], dtype=np.float64))()[:, 0].astype(np.int64)
    padded = np.zeros(int(lengths.max()))
    padded[: len(own)] = own
    every = exchange.gather(padded)()
    parts: dict[int, Reals] = {}
    for each, (group, length) in enumerate(zip(groups, lengths.tolist(), strict=True)):
        part = every[each, :length]
        if not np.array_equal(parts.setdefault(group, part), part):
            raise ConfigurationError(
                f"rank {each} sees another part of the data set than the ranks before it on node {group}; ranks of one "
                "node must share its part"
            )
    nodes = sorted(parts)
    before = np.cumsum([0, *(len(parts[node]) for node in nodes)])
    return Parts(
        sizes=np.concatenate([parts[node] for node in nodes]),
        groups=Groups(
            samples=np.repeat(np.arange(len(nodes)), np.diff(before)),
            workers=np.searchsorted(nodes, np.asarray(groups)).astype(np.int64),
        ),
        first=int(before[nodes.index(groups[rank])]),
    )
