"""Pipelines by name.

    identity          every value as it is
    int8              every value as an int8 code
    topk10            the 10 % of largest magnitude, as float32
    topk10+int8       the same, as int8 codes
    topk0.5+int8      any percentage above 0 and below 100

Whatever is not sent stays with the sender and is sent later (``feedback.py``), so that names differ in bytes and
delay, not in what arrives in the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, get_args

from chronos_common.codec.indices import IndexEncoding
from chronos_common.errors import ConfigurationError
from chronos_common.runtime import require_kinds

IDENTITY: Final = "identity"
DEFAULT_UP: Final = "topk35+int8"
DEFAULT_UP_SMALL: Final = "int8"
SMALL_ELEMENTS: Final = 16_384
"""Of fewer outer parameters in all, every one travels up: they fill no message, and what arrives in bursts, as a
sparse uplink does, Adam's second moment divides away."""

DEFAULT_DOWN: Final = "topk10+int8"
"""Sparser than this, a downlink lags too far behind Adam or momentum; see ``guard.py``."""


def default_up(elements: int) -> str:
    """The uplink's pipeline for so many outer parameters, where none is given."""
    return DEFAULT_UP_SMALL if elements < SMALL_ELEMENTS else DEFAULT_UP


_NAME: Final = re.compile(r"int8|topk(\d{1,2}(?:\.\d{1,6})?)(\+int8)?", re.ASCII)
_FORMS: Final = "identity, int8, topk<percent> or topk<percent>+int8, such as topk10+int8"


@dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """One direction's compression.

    Args:
        name: of the pipeline, as the module lists them.
        dense_below_elements: arrays of fewer elements are sent as they are: they are not what fills a message.
        index_encoding: how a sparse array's positions are written: ``"gaps"`` (half the bytes) for most links,
            ``"block16"`` (a fifth of the time) for fast ones.

    Raises:
        ConfigurationError: an unknown name or encoding, or a number out of its range.
    """

    name: str = IDENTITY
    dense_below_elements: int = 256
    index_encoding: IndexEncoding = "gaps"

    def __post_init__(self) -> None:
        require_kinds(self)
        _stages(self.name)
        if self.dense_below_elements < 0:
            raise ConfigurationError(
                f"dense_below_elements is {self.dense_below_elements}; it must be 0 or more"
            )
        if self.index_encoding not in get_args(IndexEncoding):
            raise ConfigurationError(
                f"index_encoding is {self.index_encoding!r}; choose one of {', '.join(get_args(IndexEncoding))}"
            )

    @property
    def lossless(self) -> bool:
        """Whether what is decoded is what was encoded, so that there is no residual."""
        return self.name == IDENTITY

    @property
    def density(self) -> float:
        """Share of the values that is sent, in (0, 1]."""
        return _stages(self.name)[0]

    @property
    def quantised(self) -> bool:
        """Whether values become int8 codes."""
        return _stages(self.name)[1]


def _stages(name: str) -> tuple[float, bool]:
    """Density, and whether values become int8."""
    if name == IDENTITY:
        return 1.0, False
    match = _NAME.fullmatch(name)
    percent = Fraction(match[1]) if match and match[1] else Fraction(100)
    if match is None or percent == 0:
        raise ConfigurationError(f"unknown pipeline {name!r}; use {_FORMS}", pipeline=name)
    return float(percent / 100), name.endswith("int8")
