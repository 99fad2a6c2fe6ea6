"""``--compress-set KEY=VALUE``: every setting of a run's compression, by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from chronos_common.cli.options import keyword_arguments
from chronos_common.compression import GuardConfig, PipelineConfig, SignificanceConfig
from chronos_common.engine import CompressionConfig
from chronos_common.errors import ConfigurationError

_PARTS: Final[dict[str, type[Any]]] = {
    "up": PipelineConfig,
    "down": PipelineConfig,
    "guard": GuardConfig,
    "significance": SignificanceConfig,
}

COMPRESS_SETTINGS: Final = (
    *(
        f"{part}.{field.name}"
        for part, kind in _PARTS.items()
        for field in fields(kind)
        if field.name != "name"  # the pipelines have options of their own
    ),
    "keep_versions",
)
"""What may be set."""


@dataclass(frozen=True, kw_only=True)
class CompressionRequest:
    """What the user asked for.

    Attributes:
        up, down: pipelines by name; None is the default for the run's outer parameters.
        settings: others, each ``part.field=value``.

    Raises:
        ConfigurationError: as :meth:`config`.
    """

    up: str | None = None
    down: str | None = None
    settings: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.config(())

    def config(self, shapes: Iterable[Sequence[int]]) -> CompressionConfig:
        """The compression of a run whose outer parameters have these shapes.

        Raises:
            ConfigurationError: an unknown pipeline or setting, or a value that cannot work.
        """
        return _with_settings(CompressionConfig.default(shapes, up=self.up, down=self.down), self.settings)


def _with_settings(config: CompressionConfig, settings: Sequence[str]) -> CompressionConfig:
    """The configuration with some of its settings changed.

    Raises:
        ConfigurationError: an unknown pipeline or setting, or a value that cannot work.
    """
    given = keyword_arguments("", settings, "compression")
    unknown = given.keys() - set(COMPRESS_SETTINGS)
    if unknown:
        raise ConfigurationError(
            f"--compress-set {min(unknown)}: there is no such setting; there are {', '.join(COMPRESS_SETTINGS)}"
        )
    changes: dict[str, Any] = {name: given.pop(name) for name in ("keep_versions",) if name in given}
    for part in _PARTS:
        prefix = f"{part}."
        mine = {key.removeprefix(prefix): value for key, value in given.items() if key.startswith(prefix)}
        if mine:
            changes[part] = replace(getattr(config, part), **mine)
    return replace(config, **changes)
