"""The house rules hold in this repository, and the code that checks them sees what it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import house


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def function(lines: int, header: str = "def long():") -> str:
    return "\n".join([header, *["    x = 1"] * (lines - 1)]) + "\n"


def test_the_repository_keeps_the_rules() -> None:
    assert house.violations() == []


def test_file_length_is_bounded(tmp_path: Path) -> None:
    path = write(tmp_path / "a.py", "x = 1\n" * house.MAX_FILE_LINES)
    assert house.size_violations(path) == []
    write(path, "x = 1\n" * (house.MAX_FILE_LINES + 1))
    (violation,) = house.size_violations(path)
    assert "401 lines" in violation


def test_protos_are_bounded_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.proto", "// x\n" * (house.MAX_FILE_LINES + 1))
    assert len(house.size_violations(path)) == 1


@pytest.mark.parametrize("header", ["def long():", "async def long():"])
def test_function_length_is_bounded(tmp_path: Path, header: str) -> None:
    assert house.size_violations(write(tmp_path / "a.py", function(house.MAX_FUNCTION_LINES, header))) == []
    (violation,) = house.size_violations(
        write(tmp_path / "b.py", function(house.MAX_FUNCTION_LINES + 1, header))
    )
    assert "b.py:1: long has 61 lines" in violation


def test_unfinished_code_is_found(tmp_path: Path) -> None:
    marker = "to do".replace(" ", "").upper()
    error = "not implemented error".title().replace(" ", "")
    path = write(tmp_path / "a.py", f"x = 1  # {marker} later\nraise {error}\ny = 2\n")
    assert [violation.split(":")[1] for violation in house.wording_violations(path)] == ["1", "2"]


def test_paths_of_one_machine_are_found(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.py", "\n".join(f"open('/{top}/data')" for top in ("home", "root", "mnt", "etc"))
    )
    assert [violation.split(":")[1] for violation in house.wording_violations(path)] == ["1", "2", "3"]


def test_generated_code_is_not_judged(tmp_path: Path) -> None:
    write(tmp_path / "chronos_common" / "pb" / "a_pb2.py", "x = 1\n" * 1000)
    kept = write(tmp_path / "chronos_common" / "a.py", "x = 1\n")
    assert list(house.source_files(tmp_path)) == [kept]


def test_command_reports_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    long_file = write(tmp_path / "chronos_common" / "a.py", "x = 1\n" * 401)
    monkeypatch.setattr(house, "violations", lambda: house.size_violations(long_file))
    assert house.main() == 1
    assert str(long_file) in capsys.readouterr().err
    monkeypatch.setattr(house, "violations", list)
    assert house.main() == 0
