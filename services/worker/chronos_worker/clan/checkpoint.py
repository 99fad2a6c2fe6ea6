"""Checkpoints of one member: its tensors as safetensors, the rest as JSON; nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from chronos_common.errors import CorruptStateError, StoreError
from chronos_common.runtime.files import replace_file

REVISION = 1


def write(folder: Path, rank: int, tensors: Mapping[str, Tensor], parts: Mapping[str, Any]) -> None:
    """One member's checkpoint. The JSON file names the tensors' file and is replaced last, in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"member-{rank}-{parts['round']}-{parts['step']}.safetensors"
    content = save({key: tensor.detach().contiguous().clone() for key, tensor in tensors.items()})
    replace_file(folder / name, content)
    text = json.dumps({"revision": REVISION, "tensors": name, **parts}, allow_nan=False)
    replace_file(_index(folder, rank), text.encode("utf-8"))
    for stale in folder.glob(f"member-{rank}-*.safetensors"):
        if stale.name != name:
            stale.unlink()


def read(folder: Path, rank: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Inverse of :func:`write`.

    Raises:
        StoreError: there is none of this member.
        CorruptStateError: it cannot be read.
    """
    if not exists(folder, rank):
        raise StoreError(f"{folder} has no checkpoint of member {rank}; start without resuming")
    try:
        parts = json.loads(_index(folder, rank).read_text(encoding="utf-8"))
        if parts.get("revision") != REVISION:
            raise CorruptStateError(
                f"the checkpoint is of revision {parts.get('revision')!r}, not {REVISION}"
            )
        return load_file(folder / str(parts["tensors"])), parts
    except (AttributeError, KeyError, OSError, ValueError, SafetensorError) as error:
        raise CorruptStateError(
            f"the checkpoint of member {rank} in {folder} cannot be read: {error}"
        ) from error


def exists(folder: Path, rank: int) -> bool:
    """Whether a member has a checkpoint there."""
    return _index(folder, rank).is_file()


def randomness() -> dict[str, Tensor]:
    """torch's generators, of the CPU and of every CUDA device."""
    found = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        found |= {f"random.cuda.{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return found


def restore_randomness(tensors: Mapping[str, Tensor]) -> None:
    """Inverse of :func:`randomness`, for the devices that there are."""
    torch.set_rng_state(tensors["random.cpu"])
    for place in range(torch.cuda.device_count()):
        if (state := tensors.get(f"random.cuda.{place}")) is not None:
            torch.cuda.set_rng_state(state, place)


def _index(folder: Path, rank: int) -> Path:
    return folder / f"member-{rank}.json"
