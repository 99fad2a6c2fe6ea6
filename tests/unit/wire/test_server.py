from __future__ import annotations

import pytest

from chronos_common.errors import ConfigurationError
from chronos_common.wire.server import ServerConfig, join_address


def test_addresses() -> None:
    assert join_address("127.0.0.1", 80) == "127.0.0.1:80"
    assert join_address("::1", 80) == "[::1]:80"


@pytest.mark.parametrize("changes", [{"port": -1}, {"port": 65536}, {"host": ""}])
def test_a_server_that_cannot_listen(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        ServerConfig(**changes)  # type: ignore[arg-type]
