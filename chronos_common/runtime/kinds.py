"""Configurations that hold what they declare: the first check of every one that people write by hand.

A dataclass checks nothing of this. A NaN where a count belongs passes every comparison with a limit (``nan < 1`` is
false), and a name where a configuration belongs fails far from where it was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from types import MappingProxyType
from typing import Any, Final

from chronos_common.errors import ConfigurationError

_NAMED: Final[Mapping[str, tuple[tuple[type, ...], str]]] = MappingProxyType(
    {
        "bool": ((bool,), "true or false"),
        "int": ((int,), "a whole number"),
        "float": ((int, float), "a number"),
        "str": ((str,), "text"),
        "None": ((type(None),), "left out"),
    }
)


def require_kinds(config: Any) -> None:
    """Refuses a dataclass with a field of another kind than declared; to be called before ranges are looked at.

    Looked at are fields of the plain types, those or ``None``, and those whose default is another configuration. A
    switch is no number, and a whole number is a number.

    Raises:
        ConfigurationError: names the field, what it holds and what belongs there.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        wanted = _wanted(field)
        if wanted is None:
            continue
        kinds, words = wanted
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ConfigurationError(
                f"{field.name} is {value!r}, which has the wrong type; it must be {words}", field=field.name
            )


def _wanted(field: Field[Any]) -> tuple[tuple[type, ...], str] | None:
    """Types that a field may hold, and how to say it; ``None`` where that is not looked at."""
    factory: Any = field.default_factory
    if isinstance(factory, type) and is_dataclass(factory):
        return (factory,), f"a {factory.__name__}"
    names = str(field.type).split(" | ")
    if not all(name in _NAMED for name in names):
        return None
    kinds = tuple(kind for name in names for kind in _NAMED[name][0])
    return kinds, " or ".join(_NAMED[name][1] for name in names)
