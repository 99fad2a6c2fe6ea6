"""What of a clan's settings follows from the trainer that it runs in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.optim import SGD, Adam, AdamW, Optimizer

from chronos_common.errors import ConfigurationError


def completed(settings: Mapping[str, Any], optimizer: Optimizer, total_steps: int | None) -> dict[str, Any]:
    """The user's settings; by default all genes of the optimiser, and the trainer's number of steps.

    Raises:
        ConfigurationError: no genes are named, and the optimiser is not one whose genes are known.
    """
    found: dict[str, Any] = {"total_steps": total_steps, **settings}
    if "autobind" not in found and "genes" not in found:
        found["autobind"] = [_name_of(optimizer)]
    return found


def _name_of(optimizer: Optimizer) -> str:
    for kind, name in ((SGD, "sgd"), (AdamW, "adamw"), (Adam, "adam")):
        if isinstance(optimizer, kind):
            return name
    raise ConfigurationError(
        f"which settings of {type(optimizer).__name__} are genes is not known; name them with genes={{...}}"
    )
