from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from chronos_common.errors import ConfigurationError, ProblemError, ProblemNotAllowedError
from chronos_common.problem import InnerProblem, load_problem

SOURCE = """
from os.path import join
from chronos_common.errors import ProblemError
from chronos_common.problem import InnerProblem

class Problem(InnerProblem):
    def __init__(self, size: int = 1) -> None:
        self.size = size
    def outer_parameters(self):
        return {"x": 1.0}

class Picky(InnerProblem):
    def __init__(self, size=None) -> None:
        if size is None:
            raise SystemExit(7)
        if size == "typed":
            raise ProblemError("words of its own")
        self.size = int(size)
    def outer_parameters(self):
        return {"x": 1.0}

class Abstract(InnerProblem):
    pass

def make(size):
    return Problem(size)

def wrong():
    return 3

ready = Problem(7)
number = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "loadable").mkdir()
    (tmp_path / "loadable" / "__init__.py").write_text("")
    (tmp_path / "loadable" / "problems.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("loadable", "loadable.problems"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "loadable.problems"


@pytest.mark.parametrize(
    ("attribute", "config", "size"),
    [
        ("Problem", None, 1),
        ("Problem", "", 1),
        ("Problem", '{"size": 4}', 4),
        ("Problem", {"size": 5}, 5),
        ("make", {"size": 6}, 6),
        ("ready", None, 7),
    ],
)
def test_builds_classes_functions_and_instances(module: str, attribute: str, config: Any, size: int) -> None:
    problem = load_problem(f"{module}:{attribute}", config, allow=["loadable.*"])
    assert isinstance(problem, InnerProblem)
    assert problem.size == size  # type: ignore[attr-defined]


@pytest.mark.parametrize("allow", [[], ["other.*"], ["loadable.problems:Other"], ["oadable*"]])
def test_what_is_not_on_the_list_is_never_imported(module: str, allow: list[str]) -> None:
    with pytest.raises(ProblemNotAllowedError, match="allow-list"):
        load_problem(f"{module}:Problem", allow=allow)
    assert module not in sys.modules


@pytest.mark.parametrize(
    "path",
    [
        "",
        "loadable",
        "loadable:",
        ":Problem",
        "a:b:c",
        "a:b.c",
        "../a:B",
        "a b:C",
        "a:_private",
        "a:__import__",
    ],
)
def test_malformed_paths_are_refused_even_with_an_open_list(path: str) -> None:
    with pytest.raises(ConfigurationError, match="not a problem path"):
        load_problem(path, allow=["*"])


@pytest.mark.parametrize(
    ("attribute", "words"),
    [
        ("Missing", "has no 'Missing'"),
        ("number", "neither"),
        ("join", "neither"),
        ("wrong", "returned a int"),
        ("Abstract", "abstract"),
    ],
)
def test_what_is_not_a_problem_is_refused(module: str, attribute: str, words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        load_problem(f"{module}:{attribute}", allow=["loadable.*"])


def test_a_module_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(ProblemError, match=r"no_such_module.*cannot be imported"):
        load_problem("no_such_module.inside:Problem", allow=["*"])


@pytest.mark.parametrize(
    ("attribute", "config", "words"),
    [
        ("Problem", "{size: 3}", "not JSON"),
        ("Problem", "[1, 2]", "JSON object"),
        ("Problem", '{"width": 3}', r"width.*size: int = 1"),
        ("make", {}, "size"),
        ("ready", {"size": 1}, "no configuration"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    module: str, attribute: str, config: Any, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load_problem(f"{module}:{attribute}", config, allow=["loadable.*"])


def test_what_a_constructor_raises_is_said_to_come_from_there(module: str) -> None:
    path = f"{module}:Picky"
    with pytest.raises(
        ConfigurationError, match=r"constructor of .*:Picky' .*size='abc': ValueError: invalid"
    ):
        load_problem(path, {"size": "abc"}, allow=["*"])
    with pytest.raises(ProblemError, match=r"constructor of .*no arguments: SystemExit: 7"):
        load_problem(path, allow=["*"])
    with pytest.raises(ProblemError, match="^words of its own$"):
        load_problem(path, {"size": "typed"}, allow=["*"])


@pytest.mark.parametrize(
    ("source", "words"), [("1 / 0", "ZeroDivisionError"), ("raise SystemExit", "SystemExit")]
)
def test_what_a_module_raises_is_said_to_come_from_there(
    module: str, tmp_path: Path, source: str, words: str
) -> None:
    (tmp_path / "loadable" / "failing.py").write_text(source)
    with pytest.raises(ProblemError, match=f"'loadable.failing:X' cannot be imported: .*{words}"):
        load_problem("loadable.failing:X", allow=["*"])
