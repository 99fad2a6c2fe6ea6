"""One tree of settings, read from flags, the environment and a file, in that order of precedence.

A program declares its settings as a frozen dataclass whose fields are *sections*: the config dataclasses of
the components that it is composed of. Each leaf is then a setting with one name in every place::

    section "worker", field "drain_seconds"
        flag           --worker-drain-seconds, or shorter where the program says so (see ``section``)
        environment    CHRONOS_WORKER__DRAIN_SECONDS
        file (TOML)    drain_seconds in the table [worker]

The types, the defaults and the help text (the ``Attributes:`` part of a docstring) are those of the
dataclass, so that nothing is written down twice. pydantic-settings reads the sources, merges and converts;
what is done here is to show it the dataclasses, and to say in one line what it refused and who set it.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import os
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, TypeVar

import pydantic
import pydantic_settings
from pydantic_core import ErrorDetails, PydanticCustomError

from chronos_common.errors import ConfigurationError

PREFIX: Final = "CHRONOS_"
DELIMITER: Final = "__"
CONFIG_VARIABLE: Final = "CHRONOS_CONFIG"
ENVIRONMENT: Final = "the environment variable"

SECTIONS: Final = frozenset(
    {
        *("cli", "client", "coordinator", "deadlines", "fleet", "health", "limits", "logging", "metrics"),
        *("server", "store", "tracing", "worker"),
    }
)
"""Sections that some program reads. One file may serve all of them: a program skips the others' sections
and refuses a name that nobody knows."""

S = TypeVar("S")
Values = dict[str, Any]


def section(component: type[S], *, flags: str | None = None) -> S:
    """A section: a field whose value is the component's config dataclass.

    Args:
        component: a frozen keyword-only dataclass.
        flags: prefix of its flags instead of the section's name; empty for none.
    """
    metadata = {} if flags is None else {"flags": flags}
    field: S = dataclasses.field(default_factory=component, metadata=metadata)
    return field


def flags_of(model: type[Any], path: str = "", prefix: str = "--") -> dict[str, str]:
    """The flag of every setting of a tree, by dotted name and in order of declaration."""
    flags: dict[str, str] = {}
    for field, kind, is_section in _fields(model):
        word = field.name.replace("_", "-")
        if is_section:
            word = field.metadata.get("flags", word)
            flags |= flags_of(kind, f"{path}{field.name}.", f"{prefix}{word}-" if word else prefix)
        else:
            flags[path + field.name] = field.metadata.get("flag", prefix + word)
    return flags


def variable_of(name: str) -> str:
    """The environment variable of a setting, by its dotted name."""
    return PREFIX + name.replace(".", DELIMITER).upper()


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
    config_file = config_file or env.get(CONFIG_VARIABLE) or None
    known, tree = flags_of(model), mirror(model)
    cli: pydantic_settings.CliSettingsSource[Any] = pydantic_settings.CliSettingsSource(
        tree,
        cli_parse_none_str="\0",  # "none" is a text like others where a setting holds text
    )
    try:
        given = {
            "the command line": cli(parsed_args=dict(flags or {}))(),
            ENVIRONMENT: _from_environment(tree, env, known),
            f"the file {config_file}": _from_file(tree, Path(config_file)) if config_file else {},
        }
        tree.sources = (*given.values(), _sections(model))
        return model(**dict(tree()))
    except pydantic_settings.SettingsError as error:
        raise ConfigurationError(f"the environment cannot be read: {error}: {error.__cause__}") from error
    except pydantic.ValidationError as error:
        raise _explained(error.errors()[0], known, given) from error


# --- the tree, as pydantic-settings wants it -------------------------------------------------------------


class Tree(pydantic_settings.BaseSettings):
    """A mirror of a program's tree. It reads nothing but its ``sources``, the strongest first."""

    model_config = pydantic_settings.SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=DELIMITER, cli_show_env_vars=True,
        cli_avoid_json=True, cli_implicit_flags=True, cli_parse_none_str="none",
    )  # fmt: skip
    sources: ClassVar[tuple[Values, ...]] = ()

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[pydantic_settings.BaseSettings], *_: Any, **__: Any
    ) -> tuple[pydantic_settings.PydanticBaseSettingsSource, ...]:
        """What was read already, so that an error can be traced to its source."""
        return tuple(pydantic_settings.InitSettingsSource(settings_cls, values) for values in cls.sources)


def mirror(model: type[Any]) -> type[Tree]:
    """A new settings class with the sections, types, defaults and help texts of a program's tree."""
    return pydantic.create_model(model.__name__, __base__=Tree, **_mirrored(model, None))


def _mirrored(component: type[Any], owner: Any) -> dict[str, Any]:
    texts = describe(component)
    mirrored: dict[str, Any] = {}
    for field, kind, is_section in _fields(component):
        default = _default(field, owner)
        if is_section:
            strict = pydantic.ConfigDict(extra="forbid")
            inner = pydantic.create_model(kind.__name__, __config__=strict, **_mirrored(kind, default))
            mirrored[field.name] = Annotated[inner, pydantic.AfterValidator(functools.partial(_made, kind))]
        else:
            read = pydantic.BeforeValidator(functools.partial(_from_text, kind))
            default = ... if default is dataclasses.MISSING else default
            about = pydantic.Field(default=default, description=texts.get(field.name))
            mirrored[field.name] = (Annotated[kind, pydantic_settings.NoDecode, read], about)
    return mirrored


def _made(component: type[Any], values: pydantic.BaseModel) -> Any:
    try:
        return component(**dict(values))
    except ConfigurationError as error:
        raise PydanticCustomError("refused", "refused", {"error": error}) from error


def _from_text(kind: Any, value: Any) -> Any:
    if isinstance(value, str) and type(None) in typing.get_args(kind) and value.lower() == "none":
        return None
    if isinstance(value, str) and typing.get_origin(kind) is tuple:
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _fields(model: type[Any]) -> Iterator[tuple[dataclasses.Field[Any], Any, bool]]:
    hints = typing.get_type_hints(model)
    for field in dataclasses.fields(model):
        yield field, hints[field.name], dataclasses.is_dataclass(hints[field.name])


def _sections(model: type[Any]) -> Values:
    return {field.name: _sections(kind) for field, kind, is_section in _fields(model) if is_section}


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
    part = (inspect.getdoc(model) or "").partition("\nAttributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", re.split(r"\n(?=\S)", part)[0], re.MULTILINE)
    return {name: " ".join(text.replace("``", "").split()) for name, text in entries}


# --- the sources, and what to say about them -------------------------------------------------------------


def _from_environment(tree: type[Tree], env: Mapping[str, str], known: Iterable[str]) -> Values:
    source = pydantic_settings.EnvSettingsSource(tree)
    source.env_vars = {
        name.lower(): text
        for name, text in env.items()
        if name.startswith(PREFIX) and DELIMITER in name and text
    }
    for name in source.env_vars:  # the library looks at those of the tree's own sections only
        if name[len(PREFIX) : name.index(DELIMITER)] not in SECTIONS.union(tree.model_fields):
            raise _unknown(name.upper(), "the environment", map(variable_of, known))
    return source()


def _from_file(tree: type[Tree], path: Path) -> Values:
    try:
        values = pydantic_settings.TomlConfigSettingsSource(tree, path.resolve(strict=True))()
    except OSError as error:
        raise ConfigurationError(f"the configuration file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # bad TOML, or bad UTF-8
        raise ConfigurationError(f"the configuration file {path} is not TOML: {error}") from error
    others = SECTIONS.difference(tree.model_fields)
    return {name: value for name, value in values.items() if name not in others}


def _unknown(name: str, source: str, known: Iterable[str]) -> ConfigurationError:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "; see --help for the settings that there are"
    return ConfigurationError(f"unknown setting {name!r} in {source}{hint}", setting=name, source=source)


def _source_of(name: str, given: Mapping[str, Values]) -> str:
    """Who has the last word on a setting; empty for nobody."""
    for source, values in given.items():
        node: Any = values
        for part in name.split("."):
            node = node.get(part, {}) if isinstance(node, dict) else {}
        if node != {}:
            return f"{source} {variable_of(name)}" if source == ENVIRONMENT else source
    return ""


def _explained(error: ErrorDetails, known: Iterable[str], given: Mapping[str, Values]) -> ConfigurationError:
    """What was refused, in one line."""
    *table, last = (part for part in error["loc"] if isinstance(part, str))  # an index is no part of a name
    name = ".".join((*table, last))
    source = _source_of(name, given)
    if error["type"] == "refused":
        refusal: ConfigurationError = error["ctx"]["error"]
        fields = [leaf.removeprefix(f"{name}.") for leaf in known if leaf.startswith(f"{name}.")]
        origins = {
            field: _source_of(f"{name}.{field}", given) for field in fields if field in refusal.message
        }
        where = [
            f"section [{name}]",
            *(f"{field} from {origin}" for field, origin in origins.items() if origin),
        ]
        return ConfigurationError(f"{refusal} ({', '.join(where)})", **refusal.details)
    if error["type"] == "extra_forbidden":
        if source.startswith(ENVIRONMENT):
            return _unknown(variable_of(name), "the environment", map(variable_of, known))
        return _unknown(name, source, {*known, *SECTIONS})
    if error["type"] == "missing":
        places = f"{variable_of(name)}, its flag, or {last} in the file's table [{'.'.join(table)}]"
        return ConfigurationError(f"setting {name} is missing; set {places}", setting=name)
    return ConfigurationError(
        f"setting {name} is {error['input']!r} in {source}: {error['msg']}", setting=name, source=source
    )
