"""What members of a clan need of each other, whatever carries it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from torch import Tensor

T = TypeVar("T")


class MovedError(Exception):
    """This member fell behind, and has taken over the state of another: it goes on from there. Never leaves a clan."""


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

    @property
    def share(self) -> int:
        """Which share of a step's samples is this member's, from 0 to below the size."""
        ...

    def together(self, prepare: Callable[[], T], commit: Callable[[T], object], point: str) -> None:
        """Collectives that all members finish, or none.

        Args:
            prepare: calls collectives and changes nothing of the member: it may be called again, with other members.
            commit: takes what it returned.
            point: where in the round this is, for members that come in here.

        Raises:
            MovedError: the member has taken over the state of another one instead.
            ProcessError: a member has ended or failed.
        """
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
