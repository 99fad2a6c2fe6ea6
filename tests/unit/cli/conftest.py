"""The command line without a coordinator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chronos_common.cli.main import main
from tests.support.fake_client import Cli, FakeClient, Finished


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs ``chronos ARGUMENTS`` in this process."""

    def run(*arguments: str) -> Finished:
        code = main(arguments)
        captured = capsys.readouterr()
        return Finished(code, captured.out, captured.err)

    return run


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeClient]]:
    """A coordinator with the run ``r1``."""
    FakeClient.reset()
    for module in ("chronos_common.wire", "chronos_common.cli.running"):
        monkeypatch.setattr(f"{module}.SyncCoordinatorClient", FakeClient)
    for variable in ("CHRONOS_CLI__COORDINATOR", "CHRONOS_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    yield FakeClient
    FakeClient.reset()
