"""The root of the error tree, and errors of settings and processes."""

from __future__ import annotations

from typing import ClassVar

Detail = str | int | float


class ChronosError(Exception):
    """Base of every deliberate failure.

    Args:
        message: what was wrong, where, and what to do about it.
        details: facts for programs, for example ``version=7, base=3``.
    """

    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, **details: Detail) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Detail] = details

    def __str__(self) -> str:
        return self.message


class ConfigurationError(ChronosError):
    """A setting, or a combination of settings, that cannot work; refused at the start."""

    reason = "BAD_CONFIGURATION"


class CapacityError(ConfigurationError):
    """A step's samples do not fit into what the workers may hold; the message says what is missing."""

    reason = "CAPS_TOO_TIGHT"


class StateDirectoryError(ConfigurationError):
    """A worker's state directory is held by another process of that worker, or cannot be written."""

    reason = "STATE_DIRECTORY_UNUSABLE"


class ProcessError(ChronosError):
    """A child process did not start, or ended on its own; the message holds its last lines."""

    reason = "PROCESS_FAILED"
