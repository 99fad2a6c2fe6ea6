"""Key-value options and import paths."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from chronos_common.cli.imports import import_path
from chronos_common.cli.options import keyword_arguments
from chronos_common.errors import ConfigurationError


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("a=1", 1),
        ("a=0.5", 0.5),
        ("a=true", True),
        ("a=word", "word"),
        ('a="1"', "1"),
        ("a=[1, 2]", [1, 2]),
        ("a=", ""),
        ("a=b=c", "b=c"),
    ],
)
def test_a_value_is_json_or_else_text(pair: str, value: object) -> None:
    assert keyword_arguments("", [pair], "problem") == {"a": value}


def test_pairs_are_put_on_top_of_the_object() -> None:
    assert keyword_arguments('{"a": 1, "b": 2}', ["b=3", "c=4"], "problem") == {"a": 1, "b": 3, "c": 4}


@pytest.mark.parametrize(("config", "pairs"), [("{", []), ("[]", []), ("", ["a"]), ("", ["=1"])])
def test_what_sets_nothing_is_refused_with_its_owner(config: str, pairs: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="estimator"):
        keyword_arguments(config, pairs, "estimator")


def test_directories_are_on_the_path_only_inside(tmp_path: Path) -> None:
    before = list(sys.path)
    with import_path([tmp_path]):
        assert sys.path == [str(tmp_path), *before]
    assert sys.path == before


def test_a_path_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--path"), import_path([tmp_path / "nothing"]):
        pass
