"""The command line of a service is complete and follows from its settings."""

from __future__ import annotations

import dataclasses

import pytest

from chronos_common.errors import ConfigurationError
from chronos_common.runtime import LoggingConfig, section, settings_from_command_line
from chronos_common.runtime.settings import describe, flags_of, variable_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """A component.

    Attributes:
        port: where to listen; 100 % of traffic comes in there.
        wait_seconds: how long to wait.
        names: who may come in.
        secure: whether to encrypt.
        limit: most visitors.
    """

    port: int
    wait_seconds: float = 2.0
    names: tuple[str, ...] = ()
    secure: bool = False
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.port < 0:
            raise ConfigurationError(f"port is {self.port}; it must be 0 or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tree:
    worker: Part = section(Part, flags="")
    logging: LoggingConfig = section(LoggingConfig)


def parse(*argv: str) -> Tree:
    return settings_from_command_line(
        Tree, argv, prog="service", description="Serves.", epilog="Exit codes: 0."
    )


def test_every_setting_is_an_option() -> None:
    tree = parse(
        "--port", "5", "--wait-seconds", "1.5", "--names", "a", "--names", "b", "--secure", "--limit", "3",
        "--logging-level", "debug",
    )  # fmt: skip
    assert tree.worker == Part(port=5, wait_seconds=1.5, names=("a", "b"), secure=True, limit=3)
    assert tree.logging.level == "debug"
    assert parse("--port=1", "--no-secure", "--limit=none").worker == Part(port=1)


def test_help_tells_default_unit_and_variable_of_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse("--help")
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, flag in flags_of(Tree).items():
        assert f"{flag} " in text or f"{flag}," in text
        assert f"[env: {variable_of(name)}]" in text
    for part in (Part, LoggingConfig):
        assert len(describe(part)) == len(dataclasses.fields(part))
        assert all(described in text for described in describe(part).values())
    assert (
        "--wait-seconds SECONDS how long to wait. (default: 2.0) [env: CHRONOS_WORKER__WAIT_SECONDS]" in text
    )
    assert "where to listen; 100 % of traffic comes in there. (required) [" in text
    assert "who may come in. (default: ()) [env: CHRONOS_WORKER__NAMES] (may be repeated)" in text
    assert "(default: False)" in text
    assert "--limit {int,none} most visitors. (default: none)" in text
    assert "--worker " not in text  # a whole section as JSON, which the library would offer
    assert "Exit codes: 0." in text


def test_version_is_the_distribution_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse("--version")
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("service ")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "worker.port is missing"),
        (["--port", "x"], "worker.port is 'x' in the command line: Input should be a valid integer"),
        (["--port", "-1"], "must be 0 or more"),
    ],
)
def test_a_bad_setting_is_a_usage_error(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(*argv)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "service --help" in error


def test_abbreviated_options_are_refused() -> None:
    with pytest.raises(SystemExit) as stop:
        parse("--por", "1")
    assert stop.value.code == 2
