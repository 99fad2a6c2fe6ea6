"""A report's two files, ``report.json`` and ``report.png``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from chronos_common.errors import ConfigurationError

JSON_NAME, FIGURE_NAME = "report.json", "report.png"


def require_figures() -> None:
    """Raises a ``ConfigurationError`` that says what to install when matplotlib is missing."""
    if find_spec("matplotlib") is None:
        raise ConfigurationError("the report needs matplotlib: pip install 'chronos-nested[demo]'")


def prepare(directory: Path, *, option: str) -> None:
    """Finds out before a long run whether its report could be written.

    Raises:
        ConfigurationError: matplotlib is missing, or the directory cannot be made.
    """
    require_figures()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(directory, option, error) from error


def write_files(
    content: Mapping[str, Any], draw: Callable[[Path], object], directory: Path, *, option: str
) -> tuple[Path, Path]:
    """Writes both files, and returns their paths.

    Args:
        content: of ``report.json``.
        draw: writes the figure to a path.
        directory: is made where it is missing.
        option: of the command, that names another directory.

    Raises:
        ConfigurationError: the directory cannot be written to.
    """
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    json_path, figure_path = directory / JSON_NAME, directory / FIGURE_NAME
    try:
        directory.mkdir(parents=True, exist_ok=True)
        json_path.write_text(text, encoding="utf-8")
        draw(figure_path)
    except OSError as error:
        raise _unwritable(directory, option, error) from error
    return json_path, figure_path


def _unwritable(directory: Path, option: str, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"cannot write the report to {directory}: {error.strerror}; choose another {option}"
    )
