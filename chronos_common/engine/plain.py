"""Dataclasses as JSON-able values and back, by their annotations: a field that is added later is carried unasked.

Floats survive as ``json`` writes them (the shortest text that gives the same bits back), those that are not finite
by name; tuples become lists, and mappings objects, whatever their keys. A field that a text lacks takes its default:
the text is older than the field. A field that the dataclass lacks is refused: the text is younger than this release.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from chronos_common.errors import CorruptStateError


def to_plain(value: Any, *, leave_out: frozenset[str] = frozenset()) -> Any:
    """A value of dataclasses, mappings, tuples and scalars as JSON-able ones.

    Args:
        value: what to write.
        leave_out: fields of the outermost dataclass that are written elsewhere.
    """
    if is_dataclass(value):
        names = [field.name for field in fields(value) if field.name not in leave_out]
        return {name: to_plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): to_plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [to_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


def from_plain(kind: Any, plain: Any, **given: Any) -> Any:
    """Inverse of :func:`to_plain`.

    Args:
        kind: the annotation of the value.
        plain: what :func:`to_plain` made.
        given: fields of the outermost dataclass that were left out.

    Raises:
        CorruptStateError: not such a value.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        return _dataclass(kind, plain, given)
    if origin in (types.UnionType, typing.Union):
        return _optional(kind, arguments, plain)
    if origin is tuple and arguments[1:] == (...,):
        return tuple(from_plain(arguments[0], entry) for entry in _require(plain, list))
    if origin is not None and issubclass(origin, Mapping):
        key, entry = arguments
        found = {key(name): from_plain(entry, value) for name, value in _require(plain, dict).items()}
        return MappingProxyType(found)
    if kind is float and plain in _NOT_FINITE:
        return float(plain)
    if kind not in _SCALARS or type(plain) not in _SCALARS[kind]:
        raise CorruptStateError(f"{plain!r} where {kind} is expected")
    return plain


def _dataclass(kind: Any, plain: Any, given: Mapping[str, Any]) -> Any:
    values = _require(plain, dict)
    annotations = _annotations(kind)
    unknown = values.keys() - annotations.keys()
    if unknown:
        raise CorruptStateError(f"{kind.__name__} has no {', '.join(sorted(unknown))} in this release")
    found = {name: from_plain(annotations[name], value) for name, value in values.items()}
    try:
        return kind(**found, **given)
    except TypeError as error:
        raise CorruptStateError(f"a field of {kind.__name__} is missing: {error}") from error


@cache
def _annotations(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _optional(kind: Any, arguments: tuple[Any, ...], plain: Any) -> Any:
    present = [argument for argument in arguments if argument is not type(None)]
    if plain is None and len(present) < len(arguments):
        return None
    if len(present) != 1:
        raise CorruptStateError(f"{kind} cannot be told apart")
    return from_plain(present[0], plain)


def _require(plain: Any, kind: type[Any]) -> Any:
    if not isinstance(plain, kind):
        raise CorruptStateError(f"a {type(plain).__name__} where a {kind.__name__} is expected")
    return plain


_SCALARS: Final[Mapping[Any, tuple[type[Any], ...]]] = {
    str: (str,),
    bool: (bool,),
    int: (int,),
    float: (float, int),
}
"""What JSON may hold for an annotation; a float that was given as an integer stays one."""

_NOT_FINITE: Final = ("inf", "-inf", "nan")
