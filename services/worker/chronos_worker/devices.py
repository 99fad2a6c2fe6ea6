"""Which device a worker computes on."""

from __future__ import annotations

import torch

from chronos_common.errors import ConfigurationError


def resolve_device(name: str) -> torch.device:
    """The device of a ``WorkerConfig``.

    Raises:
        ConfigurationError: CUDA is asked for and cannot be used; says what is there instead.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
            raise ConfigurationError(
                f"device {name!r} is not there: PyTorch {torch.__version__} ({build}) sees {count} CUDA "
                "devices; choose device cpu or auto, or install a PyTorch build for this machine's driver",
                field="device",
            )
    return device


def device_label(device: torch.device) -> str:
    """The device for people and schedulers: ``cpu`` or ``cuda:NVIDIA H100``."""
    return f"cuda:{torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)


def use_threads(threads: int | None) -> None:
    """Sets how many threads one tensor operation may use in this process; ``None`` changes nothing."""
    if threads is not None:
        torch.set_num_threads(threads)
