"""Problems by name: ``package.module:attribute``, resolved only where an allow-list permits it.

A coordinator hands out such names, so that to a worker they are input from outside: the name is matched
against the worker's own list before anything is imported, and nothing is ever unpickled.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from chronos_common.errors import ChronosError, ConfigurationError, ProblemError, ProblemNotAllowedError
from chronos_common.problem.base import InnerProblem

_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z]\w*", re.ASCII)


def load_problem(
    path: str, config: str | Mapping[str, Any] | None = None, *, allow: Sequence[str]
) -> InnerProblem:
    """Import a problem and build it.

    Args:
        path: ``package.module:attribute``; the attribute is an :class:`InnerProblem` class, a function of
            the same top-level package that returns one, or an instance.
        config: keyword arguments for the class or function, as a mapping or a JSON object.
        allow: shell-style patterns over the whole path, for example ``"mylab.problems:*"``; ``*`` also
            matches dots. An empty list allows nothing.

    Raises:
        ProblemNotAllowedError: no pattern matches.
        ConfigurationError: a malformed path or config, arguments that do not fit, or that the constructor
            refuses.
        ProblemError: the module cannot be imported, what it holds is not a problem, or its constructor fails
            without any argument.
    """
    if not _PATH.fullmatch(path):
        raise ConfigurationError(f"'{path}' is not a problem path; write 'package.module:ClassName'")
    if not any(fnmatchcase(path, pattern) for pattern in allow):
        raise ProblemNotAllowedError(
            f"problem '{path}' is not on this worker's allow-list {list(allow)}; "
            "start the worker with a pattern that matches it",
            problem=path,
        )
    target = _import(path)
    arguments = parse_config(config)
    if isinstance(target, InnerProblem):
        if arguments:
            raise ConfigurationError(f"'{path}' is a ready instance and takes no configuration")
        return target
    return _build(path, target, arguments)


def parse_config(config: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """A problem's configuration as keyword arguments.

    Raises:
        ConfigurationError: not JSON, or not an object.
    """
    if not config:
        return {}
    if isinstance(config, str):
        try:
            config = json.loads(config)
        except json.JSONDecodeError as error:
            raise ConfigurationError(f"the problem configuration is not JSON: {error}") from error
    if not isinstance(config, Mapping) or not all(isinstance(key, str) for key in config):
        raise ConfigurationError("the problem configuration must be a JSON object of keyword arguments")
    return dict(config)


def _import(path: str) -> Any:
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ProblemError(
            f"problem '{path}' cannot be imported: {error}; name its folder with --path, or install what it needs",
            problem=path,
        ) from error
    except (Exception, SystemExit) as error:
        raise ProblemError(
            f"problem '{path}' cannot be imported: its module raised {_described(error)}", problem=path
        ) from error
    if not hasattr(module, attribute):
        raise ProblemError(f"module '{module_name}' has no '{attribute}'", problem=path)
    return getattr(module, attribute)


def _build(path: str, target: Any, arguments: dict[str, Any]) -> InnerProblem:
    # A function that the module merely imported (os.system, say) was not meant by the allow-list.
    own = getattr(target, "__module__", "").partition(".")[0] == re.split(r"[.:]", path)[0]
    factory = inspect.isfunction(target) and own
    if not factory and not (inspect.isclass(target) and issubclass(target, InnerProblem)):
        raise ProblemError(
            f"'{path}' is neither an InnerProblem class or instance nor a function of its own package",
            problem=path,
        )
    _check_arguments(path, target, arguments)
    problem = _call(path, target, arguments)
    if not isinstance(problem, InnerProblem):
        raise ProblemError(
            f"'{path}' returned a {type(problem).__name__} instead of an InnerProblem", problem=path
        )
    return problem


def _call(path: str, target: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    try:
        return target(**arguments)
    except ChronosError:
        raise
    except (Exception, SystemExit) as error:
        kind = ConfigurationError if arguments else ProblemError
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise kind(
            f"the constructor of problem '{path}' failed with {given or 'no arguments'}: {_described(error)}",
            problem=path,
        ) from error


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _check_arguments(path: str, target: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    if inspect.isabstract(target):
        raise ProblemError(f"'{path}' is abstract: it does not define outer_parameters()", problem=path)
    signature = inspect.signature(target)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ConfigurationError(
            f"the configuration does not fit '{path}': {error}; it takes {signature}", problem=path
        ) from error
