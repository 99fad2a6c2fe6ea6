"""One tree of settings, read from flags, the environment and a file, in that order of precedence.

A program declares its settings as a frozen dataclass whose fields are *sections*: the config dataclasses of
the components that it is composed of. Each leaf is then a setting with one name in every place::

    section "worker", field "drain_seconds"
        flag           --worker-drain-seconds, or shorter where the program says so (see ``section``)
        environment    CHRONOS_WORKER__DRAIN_SECONDS
        file (TOML)    drain_seconds in the table [worker]

The types, the defaults and the help text (the ``Attributes:`` part of a docstring) are those of the
dataclass, so that nothing is written down twice. pydantic converts and checks the values; merging them is
done here, because an error has to name the source of the value that it refuses.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import os
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import pydantic

from chronos_common.errors import ConfigurationError

PREFIX: Final = "CHRONOS_"
DELIMITER: Final = "__"
CONFIG_VARIABLE: Final = "CHRONOS_CONFIG"

SECTIONS: Final = frozenset(
    {"cli", "coordinator", "deadlines", "fleet", "limits", "logging", "metrics", "store", "worker"}
)
"""Sections that some program reads. One file may serve all of them: a program skips the others' sections
and refuses a name that nobody knows."""

UNITS: Final = ("seconds", "bytes", "versions")

S = TypeVar("S")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """One leaf of the tree.

    Attributes:
        path: section, sub-sections and field.
        flag: the long option that sets it.
        type: its annotation.
        default: the value when nobody sets it; ``dataclasses.MISSING`` when somebody has to.
        help: what it does, one paragraph.
    """

    path: tuple[str, ...]
    flag: str
    type: Any
    default: Any
    help: str

    @property
    def name(self) -> str:
        """Dotted name, as in messages."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + DELIMITER.join(self.path).upper()

    @property
    def unit(self) -> str:
        """Unit, from the last word of the field's name; empty for none."""
        last = self.path[-1].rpartition("_")[2]
        return last if last in UNITS else ""

    @property
    def optional(self) -> bool:
        """Whether ``none`` is a value."""
        return type(None) in typing.get_args(self.type)

    @property
    def repeated(self) -> bool:
        """Whether it holds a sequence: a comma-separated text, or a flag given several times."""
        return typing.get_origin(self.type) is tuple


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Given:
    """A value that somebody set, and where."""

    value: Any
    source: str


def section(component: type[S], *, flags: str | None = None) -> S:
    """A section: a field whose value is the component's config dataclass.

    Args:
        component: a frozen keyword-only dataclass.
        flags: prefix of its flags instead of the section's name; empty for none.
    """
    metadata = {} if flags is None else {"flags": flags}
    field: S = dataclasses.field(default_factory=component, metadata=metadata)
    return field


def settings_of(model: type[Any]) -> tuple[Setting, ...]:
    """Every setting of a tree, in order of declaration."""
    return tuple(_leaves(model, (), "", None))


def load_settings(
    model: type[S],
    *,
    flags: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    config_file: str | Path | None = None,
) -> S:
    """Reads the settings of a program.

    Args:
        model: the tree, a dataclass of sections.
        flags: values from the command line, by dotted name.
        env: the environment; by default this process's, read now. An empty variable counts as not set.
        config_file: a TOML file; by default the one that ``CHRONOS_CONFIG`` names, if any.

    Raises:
        ConfigurationError: an unknown name, a value that does not convert, a missing setting, or what the
            component itself refuses; the message names the setting and its source.
    """
    env = os.environ if env is None else env
    settings = settings_of(model)
    config_file = config_file or env.get(CONFIG_VARIABLE) or None
    given: dict[str, _Given] = {}
    if config_file is not None:
        given |= _from_file(Path(config_file), model, settings)
    given |= _from_environment(env, model, settings)
    given |= {name: _Given(value=value, source="the command line") for name, value in (flags or {}).items()}
    values = {s.name: _convert(s, given[s.name]) for s in settings if s.name in given}
    return cast(S, _build(model, (), None, values, given))


# --- the tree --------------------------------------------------------------------------------------------


def _leaves(model: type[Any], path: tuple[str, ...], prefix: str, default: Any) -> Iterator[Setting]:
    hints = typing.get_type_hints(model)
    described = describe(model)
    for field in dataclasses.fields(model):
        here, kind = (*path, field.name), hints[field.name]
        value = _default(field, default)
        if dataclasses.is_dataclass(kind):
            own = field.metadata.get("flags", f"{prefix}{field.name}")
            yield from _leaves(cast("type[Any]", kind), here, f"{own}-" if own else "", value)
        else:
            flag = field.metadata.get("flag", f"--{prefix}{field.name}".replace("_", "-"))
            yield Setting(path=here, flag=flag, type=kind, default=value, help=described.get(field.name, ""))


def _default(field: dataclasses.Field[Any], owner: Any) -> Any:
    if owner is not None and owner is not dataclasses.MISSING:
        return getattr(owner, field.name)
    if field.default_factory is not dataclasses.MISSING:
        try:
            return field.default_factory()
        except TypeError:  # a section with a compulsory setting has no default as a whole
            return dataclasses.MISSING
    return field.default


def describe(model: type[Any]) -> dict[str, str]:
    """Field name to help text, from the ``Attributes:`` part of a Google-style docstring."""
    lines = (inspect.getdoc(model) or "").splitlines()
    if "Attributes:" not in lines:
        return {}
    texts: dict[str, str] = {}
    name = ""
    for line in lines[lines.index("Attributes:") + 1 :]:
        entry = re.match(r"    (\w+): (.*)", line)
        if entry:
            name = entry[1]
            texts[name] = entry[2]
        elif line.startswith("     ") and name:
            texts[name] += " " + line.strip()
        elif line.strip():
            break
    return {key: text.replace("``", "") for key, text in texts.items()}


# --- the sources -----------------------------------------------------------------------------------------


def _from_file(path: Path, model: type[Any], settings: Sequence[Setting]) -> dict[str, _Given]:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"the configuration file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # bad TOML, or bad UTF-8
        raise ConfigurationError(f"the configuration file {path} is not TOML: {error}") from error
    own = {field.name for field in dataclasses.fields(model)}
    leaves = {setting.name for setting in settings}
    given: dict[str, _Given] = {}
    for name, value in _flatten(tree, (), leaves):
        top = name.partition(".")[0]
        if top not in own and top in SECTIONS:
            continue
        if name not in leaves:
            raise _unknown(name, f"the file {path}", leaves | own | SECTIONS)
        given[name] = _Given(value=value, source=f"the file {path}")
    return given


def _flatten(tree: Mapping[str, Any], path: tuple[str, ...], leaves: set[str]) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = ".".join((*path, key))
        if isinstance(value, dict) and name not in leaves:
            yield from _flatten(value, (*path, key), leaves)
        else:
            yield name, value


def _from_environment(
    env: Mapping[str, str], model: type[Any], settings: Sequence[Setting]
) -> dict[str, _Given]:
    by_variable = {setting.variable: setting.name for setting in settings}
    own = {field.name for field in dataclasses.fields(model)}
    given: dict[str, _Given] = {}
    for variable, text in env.items():
        if not variable.startswith(PREFIX) or DELIMITER not in variable or not text:
            continue
        top = variable.removeprefix(PREFIX).partition(DELIMITER)[0].lower()
        if variable in by_variable:
            given[by_variable[variable]] = _Given(value=text, source=f"the environment variable {variable}")
        elif top in own or top not in SECTIONS:
            raise _unknown(variable, "the environment", set(by_variable))
    return given


def _unknown(name: str, source: str, known: set[str]) -> ConfigurationError:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "; see --help for the settings that there are"
    return ConfigurationError(f"unknown setting {name!r} in {source}{hint}", setting=name, source=source)


# --- values ----------------------------------------------------------------------------------------------


def _convert(setting: Setting, given: _Given) -> Any:
    value = given.value
    if setting.repeated:
        parts = (
            [value] if isinstance(value, str) else list(value) if isinstance(value, list | tuple) else value
        )
        if isinstance(parts, list) and all(isinstance(part, str) for part in parts):
            parts = [piece.strip() for part in parts for piece in part.split(",") if piece.strip()]
        value = parts
    elif setting.optional and isinstance(value, str) and value.lower() == "none":
        return None
    try:
        return pydantic.TypeAdapter(setting.type).validate_python(value)
    except pydantic.ValidationError as error:
        raise ConfigurationError(
            f"setting {setting.name} is {given.value!r} in {given.source}, which is not "
            f"{type_name(setting.type)}: {error.errors()[0]['msg']}",
            setting=setting.name,
            source=given.source,
        ) from error


def type_name(kind: Any) -> str:
    """A type as people read it: ``number``, ``cpu|cuda``, ``text or none``."""
    names = {
        float: "number",
        int: "integer",
        str: "text",
        bool: "true|false",
        Path: "path",
        type(None): "none",
    }
    if kind in names:
        return names[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return "|".join(str(argument) for argument in arguments)
    if origin is tuple:
        return f"{type_name(arguments[0])}, ..."
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_name(argument) for argument in arguments)
    return str(getattr(kind, "__name__", kind))


def _build(
    model: type[Any],
    path: tuple[str, ...],
    default: Any,
    values: Mapping[str, Any],
    given: Mapping[str, _Given],
) -> Any:
    hints = typing.get_type_hints(model)
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(model):
        here, kind = (*path, field.name), hints[field.name]
        value = _default(field, default)
        if dataclasses.is_dataclass(kind):
            value = _build(cast("type[Any]", kind), here, value, values, given)
        else:
            value = values.get(".".join(here), value)
        if value is dataclasses.MISSING:
            missing = next(setting for setting in _leaves(model, path, "", default) if setting.path == here)
            raise ConfigurationError(
                f"setting {missing.name} is missing; set {missing.variable}, its flag (see --help), or "
                f"{missing.path[-1]} in the table [{'.'.join(path)}] of the configuration file",
                setting=missing.name,
            )
        arguments[field.name] = value
    try:
        return model(**arguments)
    except ConfigurationError as error:
        raise _explained(error, path, given) from error


def _explained(
    error: ConfigurationError, path: tuple[str, ...], given: Mapping[str, _Given]
) -> ConfigurationError:
    """The component's refusal, with the section and the sources of its settings that were set."""
    prefix = "".join(f"{part}." for part in path)
    own = {name: origin.source for name, origin in given.items() if name.startswith(prefix)}
    named = {
        name: source for name, source in own.items() if name.removeprefix(prefix) in error.message
    } or own
    origin = ", ".join(f"{name} from {source}" for name, source in sorted(named.items()))
    where = f" (section [{prefix.rstrip('.')}]{': ' + origin if origin else ''})"
    return ConfigurationError(f"{error.message}{where}", **error.details)
