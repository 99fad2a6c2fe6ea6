"""A cluster of this machine stays plain, whatever environment and file say of other coordinators."""

from __future__ import annotations

import pytest

from chronos_common.cli.cluster import PLAIN_CLIENT, PLAIN_SERVER
from chronos_common.runtime import settings_from_command_line
from chronos_common.wire import ClientSecurity, ServerSecurity
from chronos_coordinator.app import Settings
from chronos_worker.app import Settings as WorkerSettings


def test_flags_of_the_local_cluster_win(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA", "TOKEN_FILE"):
        monkeypatch.setenv(f"CHRONOS_SERVER__{name}", "/nowhere")
    for name in ("TLS_CA", "TLS_CERT", "TLS_KEY", "TLS_SERVER_NAME", "TOKEN_FILE"):
        monkeypatch.setenv(f"CHRONOS_CLIENT__{name}", "/nowhere")
    served = settings_from_command_line(Settings, PLAIN_SERVER, prog="c", description="")
    worked = settings_from_command_line(WorkerSettings, PLAIN_CLIENT, prog="w", description="")
    assert served.server == ServerSecurity()
    assert worked.client == ClientSecurity()
