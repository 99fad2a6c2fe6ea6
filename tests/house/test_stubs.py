"""The stubs are what the protos say, and a generation repairs exactly what differs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """``protos/generate.py`` is a build script, not an installed module: load it from its file."""
    spec = importlib.util.spec_from_file_location("chronos_generate", ROOT / "protos" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_stubs_in_use_equal_a_fresh_generation(generator: ModuleType) -> None:
    assert generator.differences(ROOT / "chronos_common" / "pb") == []


def test_generated_code_never_imports_the_name_chronos(generator: ModuleType, tmp_path: Path) -> None:
    for relative in generator.generate(tmp_path):
        lines = (tmp_path / relative).read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if line.startswith(("from chronos.", "import chronos."))]
    assert (tmp_path / "py.typed").is_file()


def test_generation_repairs_what_differs_and_leaves_the_rest_alone(
    generator: ModuleType, tmp_path: Path
) -> None:
    first, second, *_ = [path for path in generator.generate(tmp_path) if path.suffix == ".pyi"]
    untouched = (tmp_path / second).stat().st_mtime_ns
    expected = (tmp_path / first).read_bytes()
    (tmp_path / first).write_text("stale", encoding="utf-8")
    (tmp_path / "removed_pb2.py").write_text("", encoding="utf-8")
    (tmp_path / "py.typed").unlink()

    assert generator.differences(tmp_path) == [
        "left over: removed_pb2.py",
        "missing: py.typed",
        f"stale: {first}",
    ]
    assert generator.main(["--check", "--output", str(tmp_path)]) == 1
    assert generator.main(["--output", str(tmp_path)]) == 0
    assert generator.main(["--check", "--output", str(tmp_path)]) == 0
    assert (tmp_path / first).read_bytes() == expected
    assert (tmp_path / second).stat().st_mtime_ns == untouched


@pytest.mark.parametrize("content", [None, 'syntax = "proto3"; message {'])
def test_protos_that_cannot_be_compiled_are_an_error(
    generator: ModuleType, tmp_path: Path, content: str | None
) -> None:
    protos = tmp_path / "protos"
    if content is not None:
        (protos / "chronos" / "v1").mkdir(parents=True)
        (protos / "chronos" / "v1" / "broken.proto").write_text(content, encoding="utf-8")
    with pytest.raises(generator.StubGenerationError):
        generator.generate(tmp_path / "out", protos)
    assert not (tmp_path / "out").exists()
