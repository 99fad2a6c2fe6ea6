"""``--outer``, ``--outer-set`` and ``--level``: the outer optimiser of a run, with its timescales."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from chronos_common.cli.options import keyword_arguments
from chronos_common.errors import ConfigurationError
from chronos_common.outer import OuterConfig, TimescaleConfig

OUTER_SETTINGS: Final = tuple(
    field.name for field in fields(OuterConfig) if field.name not in ("name", "levels")
)
"""What ``--outer-set`` sets."""

_LEVEL_SETTINGS: Final = tuple(
    field.name for field in fields(TimescaleConfig) if field.name not in ("name", "parameters", "optimizer")
)


def outer_config(
    file: Path | None = None,
    chosen: Mapping[str, Any] = MappingProxyType({}),
    settings: Sequence[str] = (),
    levels: Sequence[str] = (),
) -> OuterConfig:
    """The outer optimiser that the options describe, the later of them over the earlier.

    Args:
        file: TOML with the fields of an ``OuterConfig``, its levels as ``[[levels]]``.
        chosen: fields that have options of their own; ``None`` is not chosen.
        settings: ``key=value`` each.
        levels: as :func:`parse_level`; they replace those of the file.

    Raises:
        ConfigurationError: a file that cannot be read, an unknown setting, or a value that cannot work.
    """
    given: dict[str, Any] = {} if file is None else _read(file)
    given |= {key: value for key, value in chosen.items() if value is not None}
    extra = keyword_arguments("", settings, "outer optimiser")
    unknown = extra.keys() - set(OUTER_SETTINGS)
    if unknown:
        raise ConfigurationError(
            f"--outer-set {min(unknown)}: there is no such setting; there are {', '.join(OUTER_SETTINGS)}"
        )
    config = OuterConfig.from_json(given | extra)
    if levels:
        config = replace(config, levels=tuple(parse_level(text) for text in levels))
    return config


def parse_level(text: str) -> TimescaleConfig:
    """A level in one line: ``NAME PATTERN... key=value...``.

    Settings of the level are taken by their names; ``optimizer`` and the settings of an optimiser, if there is one
    of them, give the level an optimiser of its own, with defaults for the rest.

    Raises:
        ConfigurationError: no such line.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigurationError(f"--level {text!r} cannot be read: {error}") from error
    plain = [word for word in words if "=" not in word]
    given = keyword_arguments("", [word for word in words if "=" in word], "level")
    if len(plain) < 2:
        raise ConfigurationError(
            f"--level {text!r} must be a name, patterns of parameters, and settings, such as "
            "'slow body.* period=100 optimizer=adam learning_rate=0.01'"
        )
    unknown = given.keys() - {*_LEVEL_SETTINGS, *OUTER_SETTINGS, "optimizer"}
    if unknown:
        raise ConfigurationError(
            f"--level {text!r}: there is no setting {min(unknown)!r}; there are {', '.join(_LEVEL_SETTINGS)}, "
            f"optimizer and what --outer-set takes"
        )
    level = {key: value for key, value in given.items() if key in _LEVEL_SETTINGS}
    own = {key: value for key, value in given.items() if key in OUTER_SETTINGS}
    if "optimizer" in given:
        own["name"] = given["optimizer"]
    if own:
        level["optimizer"] = own
    return TimescaleConfig.from_json({"name": plain[0], "parameters": plain[1:], **level})


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"the file {file} of the outer optimiser cannot be read: {error.strerror}"
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"the file {file} of the outer optimiser is not TOML: {error}") from error
