"""A clan of one."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from chronos_worker.clan.transport.base import T


class Solo:
    """The only member: what it hears is what it says."""

    rank = 0
    size = 1
    share = 0

    def together(self, prepare: Callable[[], T], commit: Callable[[T], object], point: str) -> None:
        commit(prepare())

    def mean(self, flat: Tensor) -> None:
        """As it is."""

    def broadcast(self, flat: Tensor, source: int) -> None:
        """As it is."""

    def gather(self, value: float) -> list[float]:
        return [value]
