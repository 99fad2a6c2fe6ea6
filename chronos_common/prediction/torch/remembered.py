"""Counts that are kept: a module is counted once, and again only when something about it has changed.

What decides about a count is the module's structure: the classes of its parts, their plain attributes, shapes and
dtypes of parameters and buffers, hooks. All of it goes into a key, so that an equal module is found again and a
changed one is not. Objects that a part keeps (a function, a configuration) are told apart by identity and taken to be
as they were. What had to be run on the CPU depended on values, which no key holds, and is counted each time.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import nn

from chronos_common.prediction.counts import Counts
from chronos_common.prediction.torch.counting import count

KEPT: Final = 64
"""Counts; those that were not asked for longest go first."""

_PLAIN: Final = (
    bool, int, float, complex, str, bytes, type(None), type(Ellipsis), type, torch.dtype, torch.device, torch.Size,
)  # fmt: skip
_TABLES: Final = ("_parameters", "_buffers", "_modules")
_IGNORED: Final = ("training",)


class _Same:
    """Equal to itself alone while it lives, and to nothing afterwards; does not keep it alive."""

    __slots__ = ("_hash", "_reference")

    def __init__(self, thing: Any) -> None:
        self._reference = weakref.ref(thing)
        self._hash = id(thing)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        mine = self._reference()
        return isinstance(other, _Same) and mine is not None and mine is other._reference()


class _UnknownError(Exception):
    """Something in a module can neither be compared nor be told apart."""


class Remembered:
    """Counts by what was counted; safe to share between threads."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._found: OrderedDict[Hashable, Counts] = OrderedDict()
        self._lock = threading.Lock()

    def count(self, module: nn.Module, shape: Sequence[int], dtype: Any) -> Counts:
        """As :func:`~chronos_common.prediction.torch.counting.count`, whose errors it raises."""
        try:
            key: Hashable = (_value(list(shape)), _value(dtype), structure(module))
        except (_UnknownError, RecursionError):
            return count(module, shape, dtype=dtype)
        with self._lock:
            found = self._found.get(key)
            if found is not None:
                self._found.move_to_end(key)
                return found
        counted = count(module, shape, dtype=dtype)
        if not counted.degraded:
            with self._lock:
                self._found[key] = counted
                while len(self._found) > self._kept:
                    self._found.popitem(last=False)
        return counted


remembered: Final = Remembered()
"""Those of this process."""


def structure(module: nn.Module) -> Hashable:
    """What two modules that do the same have in common.

    Raises:
        _UnknownError: a part keeps something that cannot be told apart.
    """
    places = {part: number for number, part in enumerate(module.modules())}
    tensors: dict[int, int] = {}
    return tuple(_part(part, places, tensors) for part in places)


def _part(part: nn.Module, places: Mapping[nn.Module, int], seen: dict[int, int]) -> Hashable:
    attributes = vars(part)
    tensors = tuple(
        (name, None if tensor is None else _tensor(tensor, seen))
        for table in ("_parameters", "_buffers")
        for name, tensor in attributes[table].items()
    )
    below = tuple((name, places.get(child)) for name, child in attributes["_modules"].items())
    others = tuple(
        (name, _value(value, places))
        for name, value in attributes.items()
        if name not in _TABLES and name not in _IGNORED
    )
    return type(part), _same(type(part).forward), tensors, below, others


def _tensor(tensor: torch.Tensor, seen: dict[int, int]) -> Hashable:
    place = seen.setdefault(id(tensor), len(seen))  # one that two parts share is another model than two
    return place, tensor.shape, tensor.dtype, tensor.requires_grad


def _value(value: Any, places: Mapping[nn.Module, int] | None = None) -> Hashable:
    if isinstance(value, _PLAIN):
        return type(value), value
    if isinstance(value, nn.Module) and places and value in places:
        return nn.Module, places[value]
    if isinstance(value, Mapping):
        return type(value), tuple((_value(key), _value(item, places)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return type(value), tuple(_value(item, places) for item in value)
    if isinstance(value, set | frozenset):
        return type(value), frozenset(_value(item, places) for item in value)
    if isinstance(value, torch.Tensor):
        # Its values may decide what is done, and meta tensors have none.
        raise _UnknownError
    return _same(value)


def _same(value: Any) -> Hashable:
    try:
        return _Same(value)
    except TypeError as error:  # no weak references to it
        raise _UnknownError from error
