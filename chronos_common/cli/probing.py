"""What `chronos probe` does: measure and keep."""

from __future__ import annotations

import json
from pathlib import Path

from chronos_common.errors import ConfigurationError
from chronos_common.prediction.machine import Machine
from chronos_common.runtime import replace_file


def measured(device: str, seconds: float, path: Path) -> Machine:
    """Measures a device and writes what it found; imports torch.

    Raises:
        ConfigurationError: torch is missing, there is no such device, or the file cannot be written.
    """
    from chronos_common.cli.running import require_torch

    require_torch()
    import torch

    from chronos_common.prediction.torch.probing import probe

    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        chosen = torch.device(name)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise ConfigurationError(f"device {device!r} cannot be used: {first}; choose cpu or auto") from error
    machine = probe(chosen, seconds=seconds)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, (json.dumps(machine.to_json(), indent=1) + "\n").encode())
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror or error}; choose --out"
        ) from error
    return machine
