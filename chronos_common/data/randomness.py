"""How much of the plain shuffle may be given up for balance, as a name says it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from chronos_common.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Randomness:
    """One way to cut an epoch into batches.

    Attributes:
        name: ``strict``, ``window``, ``noisy`` or ``auto``.
        window: batches among which samples may change places.
        noise: standard deviation of what is added to the logarithm of the size.
    """

    name: Literal["strict", "window", "noisy", "auto"]
    window: int = 1
    noise: float = 0.0

    @property
    def needs_workers(self) -> bool:
        """Whether it asks for the share of one worker."""
        return self.name in ("window", "auto")


STRICT = Randomness(name="strict")


def parse_randomness(text: str) -> Randomness:
    """``strict``, ``window:M`` with M from 1, ``noisy:S`` with S from 0, or ``auto``.

    Raises:
        ConfigurationError: anything else.
    """
    name, colon, number = text.partition(":")
    try:
        if name == "window" and int(number) >= 1:
            return Randomness(name="window", window=int(number))
        if name == "noisy" and 0 <= float(number) < math.inf:
            return Randomness(name="noisy", noise=float(number))
    except ValueError:
        pass
    if not colon and name in ("strict", "auto"):
        return Randomness(name="strict" if name == "strict" else "auto")
    raise ConfigurationError(
        f"randomness is {text!r}; it must be strict, auto, window:M (M batches, from 1) or noisy:S (S from 0)"
    )
