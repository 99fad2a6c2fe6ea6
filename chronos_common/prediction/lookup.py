"""Finds what a name written by a person means: upper or lower case, with or without punctuation."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

from chronos_common.errors import UnknownDeviceError

E = TypeVar("E", bound=Enum)


def find_member(table: type[E], text: str) -> E | None:
    """The member of a table of names that ``text`` means, by its value or its name; ``None`` if there is none."""
    wanted = _plain(text)
    for member in table:
        if wanted in (_plain(member.value), _plain(member.name)):
            return member
    return None


def member_of(table: type[E], text: str, what: str) -> E:
    """As :func:`find_member`.

    Raises:
        UnknownDeviceError: no member has that name; lists those that are known.
    """
    found = find_member(table, text)
    if found is None:
        known = ", ".join(member.value for member in table)
        raise UnknownDeviceError(f"no {what} is called {text!r}; take one of {known}", field=what)
    return found


def _plain(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())
