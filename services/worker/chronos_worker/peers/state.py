"""What a joiner needs to go on with the others: tensors and plain values, sent without pickling."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from chronos_common.errors import MalformedPayloadError

Snapshot = tuple[dict[str, Tensor], Any]
"""Tensors by name, and values that JSON can hold."""

_DTYPES: Final = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    )
}  # fmt: skip


class PeerState(Protocol):
    """The state of training that members hand over to joiners."""

    def capture(self) -> Snapshot:
        """The state now; the tensors may be the living ones."""
        ...

    def restore(self, snapshot: Snapshot) -> None:
        """Takes over another member's state."""
        ...


class ModuleState:
    """A model and its optimiser, with the optimiser's hyperparameters.

    Args:
        model: parameters and buffers.
        optimizer: its state may be empty before the first step.
    """

    def __init__(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
        self._model = model
        self._optimizer = optimizer

    def capture(self) -> Snapshot:
        tensors = {f"model/{name}": value.detach() for name, value in self._model.state_dict().items()}
        if self._optimizer is None:
            return tensors, {}
        held = self._optimizer.state_dict()
        plain: dict[str, dict[str, Any]] = {}
        for place, state in held["state"].items():
            plain[str(place)] = {}
            for name, value in state.items():
                if isinstance(value, Tensor):
                    tensors[f"state/{place}/{name}"] = value.detach()
                else:
                    plain[str(place)][name] = value
        groups = []
        for number, group in enumerate(held["param_groups"]):
            groups.append({name: value for name, value in group.items() if not isinstance(value, Tensor)})
            for name, value in group.items():
                if isinstance(value, Tensor):
                    tensors[f"group/{number}/{name}"] = value.detach()
        return tensors, {"state": plain, "groups": groups}

    def restore(self, snapshot: Snapshot) -> None:
        tensors, values = snapshot
        self._model.load_state_dict(
            {
                name.removeprefix("model/"): value
                for name, value in tensors.items()
                if name.startswith("model/")
            }
        )
        if self._optimizer is None:
            return
        state: dict[int, dict[str, Any]] = {
            int(place): dict(plain) for place, plain in values["state"].items()
        }
        groups = [dict(group) for group in values["groups"]]
        for name, value in tensors.items():
            kind, _, rest = name.partition("/")
            place, _, field = rest.partition("/")
            if kind == "state":
                state[int(place)][field] = value
            elif kind == "group":
                groups[int(place)][field] = value
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})


def describe(snapshot: Snapshot) -> bytes:
    """Names, dtypes and shapes of the tensors, and the values, as JSON."""
    tensors, values = snapshot
    specs = [
        (name, str(value.dtype).removeprefix("torch."), list(value.shape)) for name, value in tensors.items()
    ]
    return json.dumps({"tensors": specs, "values": values}).encode()


def prepared(description: bytes, device: torch.device) -> Snapshot:
    """An empty snapshot to receive what :func:`describe` describes; raises ``MalformedPayloadError``."""
    try:
        parts = json.loads(description)
        tensors = {
            name: torch.empty(shape, dtype=_DTYPES[dtype], device=device)
            for name, dtype, shape in parts["tensors"]
        }
        return tensors, parts["values"]
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedPayloadError(
            f"a peer described its state in a way that cannot be read: {error}"
        ) from error


def checksum(tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """Two sums over the bits of all tensors, equal for equal states; computed where they lie."""
    plain = weighted = 0
    for value in tensors.values():
        raw = value.detach().contiguous().view(-1).view(torch.uint8)
        words = torch.nn.functional.pad(raw, (0, -raw.numel() % 4)).view(torch.int32).to(torch.int64)
        places = torch.arange(1, words.numel() + 1, device=words.device) & 0xFFFF
        plain = _wrapped(plain + int(words.sum()))
        weighted = _wrapped(31 * weighted + int((words * places).sum()))
    return plain, weighted


def _wrapped(value: int) -> int:
    """Into the range of int64."""
    return (value + (1 << 62)) % (1 << 63) - (1 << 62)
