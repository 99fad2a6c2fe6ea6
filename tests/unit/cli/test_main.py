"""Help, versions, errors and exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from chronos_common.cli.main import app, main
from tests.support.fake_client import Cli, FakeClient

COMMANDS = ("demo", "run", "runs", "show", "watch", "stop", "verify", "export")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_every_option(cli: Cli, command: str) -> None:
    done = cli(command, "--help")
    assert done.code == 0
    assert "Usage: chronos" in done.out
    registered = next(c for c in app.registered_commands if c.callback and c.callback.__name__ == command)
    assert registered.callback is not None
    assert registered.callback.__doc__
    import inspect

    for name, parameter in inspect.signature(registered.callback, eval_str=True).parameters.items():
        declared = parameter.annotation.__metadata__[0]
        assert declared.help, f"{command}: {name} has no help"


def test_version(cli: Cli) -> None:
    done = cli("--version")
    assert done.code == 0
    assert done.out.startswith("chronos ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing",),
        ("show",),
        ("run", "a:B", "--inner-steps", "0"),
        ("run", "a:B", "--local", "2", "--coordinator", "h:1"),
        ("runs", "--coordinator", "nowhere"),
        ("run", "a:B", "--detach"),
        ("run", "a:B", "--set", "novalue"),
        ("run", "a:B", "--config", "[1]"),
        ("run", "a:B", "--config", "{"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_names_itself(
    cli: Cli, fake: type[FakeClient], arguments: tuple[str, ...]
) -> None:
    done = cli(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err
    assert "Traceback" not in done.err


def test_an_error_is_one_line_on_stderr(cli: Cli, fake: type[FakeClient]) -> None:
    done = cli("show", "missing")
    assert (done.code, done.out) == (1, "")
    assert done.err == "chronos: error: there is no run 'missing'; `chronos runs` lists them\n"


def test_debug_shows_where_it_came_from(cli: Cli, fake: type[FakeClient]) -> None:
    done = cli("--debug", "show", "missing")
    assert done.code == 1
    assert "Traceback" in done.err


def test_an_unexpected_error_is_one_line_too(
    cli: Cli, fake: type[FakeClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: FakeClient) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(FakeClient, "list_runs", broken)
    done = cli("runs")
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "ZeroDivisionError: oops" in done.err
    with pytest.raises(ZeroDivisionError):
        main(["--debug", "runs"])


def test_interrupted(cli: Cli, fake: type[FakeClient], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: FakeClient) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeClient, "list_runs", interrupt)
    done = cli("runs")
    assert (done.code, done.out, done.err) == (130, "", "chronos: interrupted\n")


def test_interrupted_before_a_command_begins(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: signal.raise_signal(signal.SIGINT))
    done = cli("--version")
    assert (done.code, done.err.strip()) == (130, "chronos: interrupted")


def test_interrupted_while_the_command_line_is_prepared(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("chronos_common.cli.main.app", interrupt)
    done = cli("runs")
    assert (done.code, done.out, done.err) == (130, "", "chronos: interrupted\n")


def test_every_exit_code_is_in_the_help(cli: Cli) -> None:
    text = " ".join(cli("--help").out.split())
    for code in ("0 done", "1 failed", "2 wrong usage", "130 interrupted", "143 terminated"):
        assert code in text


def test_sigterm_leaves_by_an_exception_and_the_handler_is_put_back(
    cli: Cli, fake: type[FakeClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(FakeClient, "list_runs", lambda self: os.kill(os.getpid(), signal.SIGTERM))
    done = cli("runs")
    assert (done.code, done.out, done.err) == (143, "", "chronos: terminated\n")
    assert signal.getsignal(signal.SIGTERM) is before


def test_help_and_the_clients_commands_load_neither_torch_nor_matplotlib() -> None:
    program = (
        "import sys; from chronos_common.cli.main import main; main(['--help']); "
        "import chronos_common.cli.views, chronos_common.cli.following; "
        "print(sorted({'torch', 'matplotlib', 'sklearn'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_help_does_not_load_grpc() -> None:
    program = (
        "import sys; from chronos_common.cli.main import main; main(['run', '--help']); "
        "print('grpc' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "False"
