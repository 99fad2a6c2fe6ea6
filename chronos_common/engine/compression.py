"""How a run compresses what travels: a pipeline for each direction, and what watches over them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from chronos_common.compression import (
    DEFAULT_DOWN,
    GuardConfig,
    PipelineConfig,
    SignificanceConfig,
    default_up,
)
from chronos_common.errors import ConfigurationError
from chronos_common.runtime import require_kinds

_PARTS: Final[Mapping[str, type[Any]]] = {
    "up": PipelineConfig,
    "down": PipelineConfig,
    "guard": GuardConfig,
    "significance": SignificanceConfig,
}


@dataclass(frozen=True, kw_only=True)
class CompressionConfig:
    """Compression of both directions.

    Attributes:
        up: pipeline of commits.
        down: pipeline of published versions.
        guard: when the downlink becomes denser, or the outer rate lower; without effect where it is lossless.
        significance: which updates are worth a message; off unless a threshold is given.
        keep_versions: newest versions whose deltas are kept for checkouts from them. No more are kept than are
            together smaller than a snapshot, since an older one would not be relayed; 0 sends snapshots only.

    Raises:
        ConfigurationError: a number out of its range.
    """

    up: PipelineConfig = field(default_factory=PipelineConfig)
    down: PipelineConfig = field(default_factory=PipelineConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    significance: SignificanceConfig = field(default_factory=SignificanceConfig)
    keep_versions: int = 256

    def __post_init__(self) -> None:
        require_kinds(self)
        if self.keep_versions < 0:
            raise ConfigurationError(
                f"compression.keep_versions is {self.keep_versions}; it must be 0 or more"
            )

    @classmethod
    def named(cls, up: str, down: str) -> CompressionConfig:
        """Two pipelines by name, with default settings.

        Raises:
            ConfigurationError: no such pipeline; the message says which direction, and which there are.
        """
        return cls(up=_pipeline("up", up), down=_pipeline("down", down))

    @classmethod
    def default(
        cls, shapes: Iterable[Sequence[int]], *, up: str | None = None, down: str | None = None
    ) -> CompressionConfig:
        """What a run does that is not told otherwise; by its outer parameters' shapes, small λ are sent up whole.

        Raises:
            ConfigurationError: as :meth:`named`.
        """
        elements = sum(math.prod(shape) for shape in shapes)
        return cls.named(default_up(elements) if up is None else up, DEFAULT_DOWN if down is None else down)

    def to_json(self) -> dict[str, Any]:
        """JSON-able fields. A run that compresses nothing is written as the first release wrote it."""
        if self == CompressionConfig():
            return {"up": self.up.name, "down": self.down.name}
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> CompressionConfig:
        """Inverse of :meth:`to_json`.

        Raises:
            ConfigurationError: values that cannot work.
            KeyError, TypeError, ValueError: not such fields.
        """
        given: dict[str, Any] = dict(fields)
        for name, kind in _PARTS.items():
            if isinstance(given.get(name), str):
                given[name] = kind(name=given[name])
            elif name in given:
                given[name] = kind(**given[name])
        return cls(**given)


def _pipeline(direction: str, name: str) -> PipelineConfig:
    try:
        return PipelineConfig(name=name)
    except ConfigurationError as error:
        raise ConfigurationError(f"compression {direction}: {error}", **error.details) from error
