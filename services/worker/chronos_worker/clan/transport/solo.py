"""A clan of one."""

from __future__ import annotations

from torch import Tensor


class Solo:
    """The only member: what it hears is what it says."""

    rank = 0
    size = 1

    def mean(self, flat: Tensor) -> None:
        """As it is."""

    def broadcast(self, flat: Tensor, source: int) -> None:
        """As it is."""

    def gather(self, value: float) -> list[float]:
        return [value]
