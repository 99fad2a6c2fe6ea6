"""Settings: precedence, conversion, and errors that name the setting and its source."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import pytest

from chronos_common.errors import ConfigurationError
from chronos_common.runtime import load_settings, section
from chronos_common.runtime.settings import SECTIONS, describe, flags_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits.

    Attributes:
        max_bytes: most bytes of one message.
    """

    max_bytes: int = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkerPart:
    """A component.

    Attributes:
        address: where the ``coordinator`` listens, as
            host and port.
        drain_seconds: how long the last piece of work may take.
        device: where to compute.
        problems: patterns of problems.
        quorum: workers per version.
        verbose: say more.
    """

    address: str
    drain_seconds: float = 10.0
    device: Literal["cpu", "cuda"] = "cpu"
    problems: tuple[str, ...] = dataclasses.field(default=(), metadata={"flag": "--problem"})
    quorum: int | None = None
    verbose: bool = False
    limits: Limits = dataclasses.field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.drain_seconds < 0:
            raise ConfigurationError(f"drain_seconds is {self.drain_seconds}; it must be 0 or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tree:
    worker: WorkerPart = section(WorkerPart, flags="")
    fleet: Limits = section(Limits)


ADDRESS = {"CHRONOS_WORKER__ADDRESS": "host:1"}


def test_defaults_apply_where_nobody_sets_anything() -> None:
    tree = load_settings(Tree, env=ADDRESS)
    assert tree == Tree(worker=WorkerPart(address="host:1"), fleet=Limits())


def test_flags_override_the_environment_which_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "chronos.toml"
    file.write_text("[worker]\naddress='file'\ndrain_seconds=1\nquorum=7\n[worker.limits]\nmax_bytes=5\n")
    env = {"CHRONOS_WORKER__DRAIN_SECONDS": "2", "CHRONOS_WORKER__ADDRESS": "environment"}
    tree = load_settings(Tree, flags={"worker.address": "flag"}, env=env, config_file=file)
    assert tree.worker.address == "flag"
    assert tree.worker.drain_seconds == 2.0
    assert tree.worker.quorum == 7
    assert tree.worker.limits.max_bytes == 5


def test_the_environment_can_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "chronos.toml"
    file.write_text("[fleet]\nmax_bytes = 3\n")
    assert load_settings(Tree, env={**ADDRESS, "CHRONOS_CONFIG": str(file)}).fleet.max_bytes == 3


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("DRAIN_SECONDS", "2.5", "drain_seconds", 2.5),
        ("DEVICE", "cuda", "device", "cuda"),
        ("PROBLEMS", "a.*, b:C", "problems", ("a.*", "b:C")),
        ("QUORUM", "none", "quorum", None),
        ("QUORUM", "3", "quorum", 3),
        ("VERBOSE", "true", "verbose", True),
        ("DRAIN_SECONDS", "", "drain_seconds", 10.0),
    ],
)
def test_texts_become_values(variable: str, text: str, field: str, value: object) -> None:
    tree = load_settings(Tree, env={**ADDRESS, f"CHRONOS_WORKER__{variable}": text})
    assert getattr(tree.worker, field) == value


def test_none_is_a_value_only_where_there_may_be_none(tmp_path: Path) -> None:
    file = tmp_path / "chronos.toml"
    file.write_text("[worker]\nquorum = 'none'\n")
    flags = {"worker.address": "none"}
    worker = load_settings(Tree, flags=flags, env={"CHRONOS_WORKER__QUORUM": ""}, config_file=file).worker
    assert (worker.address, worker.quorum) == ("none", None)


def test_an_empty_flag_is_a_value_but_an_empty_variable_is_none() -> None:
    env = {**ADDRESS, "CHRONOS_WORKER__DRAIN_SECONDS": ""}
    worker = load_settings(Tree, flags={"worker.address": ""}, env=env).worker
    assert (worker.address, worker.drain_seconds) == ("", 10.0)


def test_a_section_keeps_the_defaults_that_its_owner_gives_it() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Owner:
        limits: Limits = dataclasses.field(default_factory=lambda: Limits(max_bytes=5))

    owner = dataclasses.make_dataclass("Program", [("part", Owner, dataclasses.field(default_factory=Owner))])
    assert load_settings(owner, env={}).part.limits.max_bytes == 5


def test_a_variable_that_sets_a_whole_section_is_json() -> None:
    env = {**ADDRESS, "CHRONOS_WORKER__LIMITS": '{"max_bytes": 7}'}
    assert load_settings(Tree, env=env).worker.limits.max_bytes == 7
    with pytest.raises(ConfigurationError, match="environment cannot be read.*worker"):
        load_settings(Tree, env={**ADDRESS, "CHRONOS_WORKER__LIMITS": "much"})


def test_a_nested_section_has_its_own_variable() -> None:
    env = {**ADDRESS, "CHRONOS_WORKER__LIMITS__MAX_BYTES": "9", "CHRONOS_FLEET__MAX_BYTES": "8"}
    tree = load_settings(Tree, env=env)
    assert (tree.worker.limits.max_bytes, tree.fleet.max_bytes) == (9, 8)


def test_repeated_flags_and_file_lists_are_sequences(tmp_path: Path) -> None:
    file = tmp_path / "chronos.toml"
    file.write_text('[worker]\nproblems = ["x.*", "y.*"]\n')
    assert load_settings(Tree, env=ADDRESS, config_file=file).worker.problems == ("x.*", "y.*")
    flags = {"worker.problems": ["a", "b,c"]}
    assert load_settings(Tree, env=ADDRESS, flags=flags).worker.problems == ("a", "b", "c")


def test_a_value_that_does_not_convert_names_setting_and_source() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(Tree, env={**ADDRESS, "CHRONOS_WORKER__DRAIN_SECONDS": "soon"})
    for part in ("worker.drain_seconds", "'soon'", "CHRONOS_WORKER__DRAIN_SECONDS", "number"):
        assert part in str(caught.value)
    assert caught.value.details["setting"] == "worker.drain_seconds"


def test_what_the_component_refuses_names_the_source_too() -> None:
    with pytest.raises(ConfigurationError, match=r"must be 0 or more .*\[worker\].*the command line"):
        load_settings(Tree, env=ADDRESS, flags={"worker.drain_seconds": "-1"})


def test_a_missing_setting_says_where_it_can_be_set() -> None:
    with pytest.raises(
        ConfigurationError, match=r"address is missing; set CHRONOS_WORKER__ADDRESS.*\[worker\]"
    ):
        load_settings(Tree, env={})


@pytest.mark.parametrize(
    ("env", "text", "hint"),
    [
        ({"CHRONOS_WORKER__DRAIN_SECOND": "1"}, "", "CHRONOS_WORKER__DRAIN_SECONDS"),
        ({"CHRONOS_WORKR__DEVICE": "cpu"}, "", "CHRONOS_WORKER__DEVICE"),
        ({}, "[worker]\ndrain_second = 1\n", r"worker\.drain_seconds"),
        ({}, "[wroker]\ndevice = 'cpu'\n", "worker"),
        ({}, "device = 'cpu'\n", "device"),
    ],
)
def test_unknown_names_are_refused_with_a_hint(
    env: dict[str, str], text: str, hint: str, tmp_path: Path
) -> None:
    file = tmp_path / "chronos.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=f"unknown setting.*{hint}"):
        load_settings(Tree, env={**ADDRESS, **env}, config_file=file)


def test_sections_of_other_programs_are_skipped(tmp_path: Path) -> None:
    file = tmp_path / "chronos.toml"
    file.write_text("[coordinator]\nanything = 1\n")
    env = {**ADDRESS, "CHRONOS_STORE__URL": "sqlite://", "CHRONOS_HOME": "x"}
    assert load_settings(Tree, env=env, config_file=file).worker.address == "host:1"


def test_a_section_of_a_program_is_not_skipped_because_another_knows_it() -> None:
    with pytest.raises(ConfigurationError, match="unknown setting"):
        load_settings(Tree, env={**ADDRESS, "CHRONOS_FLEET__MAX_BITES": "1"})


@pytest.mark.parametrize("content", [b"[worker", b"\xff\xfe\x00"])
def test_an_unreadable_file_is_named(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "broken.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="broken.toml is not TOML"):
        load_settings(Tree, env=ADDRESS, config_file=file)
    with pytest.raises(ConfigurationError, match="absent.toml cannot be read"):
        load_settings(Tree, env=ADDRESS, config_file=tmp_path / "absent.toml")


def test_the_process_environment_is_read_when_settings_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHRONOS_WORKER__ADDRESS", "first")
    assert load_settings(Tree).worker.address == "first"
    monkeypatch.setenv("CHRONOS_WORKER__ADDRESS", "second")
    assert load_settings(Tree).worker.address == "second"


def test_flags_follow_the_section_unless_the_program_shortens_them() -> None:
    flags = flags_of(Tree)
    assert flags["worker.drain_seconds"] == "--drain-seconds"
    assert flags["worker.problems"] == "--problem"
    assert flags["worker.limits.max_bytes"] == "--limits-max-bytes"
    assert flags["fleet.max_bytes"] == "--fleet-max-bytes"


def test_help_is_the_docstring() -> None:
    assert describe(WorkerPart)["address"] == "where the coordinator listens, as host and port."
    assert describe(Tree) == {}
    assert {"worker", "coordinator", "logging", "metrics"} <= SECTIONS
