"""Comparing states of a run to the last bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from chronos_common.outer import OuterConfig


def bits(value: Any) -> Any:
    """Anything that a state holds, as something that is equal only when every bit is."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, Mapping):
        return {key: bits(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [bits(entry) for entry in value]
    if is_dataclass(value):
        return {field.name: bits(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "_config") and isinstance(
        value._config, OuterConfig
    ):  # an optimiser holds nothing else
        return type(value).__name__, bits(value._config)
    return value
