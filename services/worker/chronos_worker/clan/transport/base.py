"""What members of a clan need of each other, whatever carries it."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Transport(Protocol):
    """A group of members; every call is made by all of them, in the same order.

    Results are the same bits for every member, and the same on every run with the same inputs on CPU.
    """

    @property
    def rank(self) -> int:
        """Which member this is, from 0."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def mean(self, flat: Tensor) -> None:
        """Replaces a vector, in place, by its mean over the members.

        Raises:
            ProcessError: a member has ended or failed.
        """
        ...

    def broadcast(self, flat: Tensor, source: int) -> None:
        """Replaces a vector, in place, by that of one member.

        Raises:
            ProcessError: a member has ended or failed.
        """
        ...

    def gather(self, value: float) -> list[float]:
        """Every member's number, by rank.

        Raises:
            ProcessError: a member has ended or failed.
        """
        ...
