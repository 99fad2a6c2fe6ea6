"""One check that every strategy makes of its settings."""

from __future__ import annotations

from chronos_common.errors import ConfigurationError


def require_between(name: str, value: float, low: float, high: float) -> None:
    """Refuses a setting out of its range, NaN too.

    Raises:
        ConfigurationError: names the setting.
    """
    if not low <= value <= high:
        raise ConfigurationError(f"{name} is {value}; it must be from {low} to {high}")
