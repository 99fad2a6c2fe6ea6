from __future__ import annotations

from pathlib import Path

import pytest

from chronos_common.errors import ConfigurationError
from chronos_common.store import StoreOptions
from chronos_common.store.opening import database_path


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("data", "data/chronos.db"),
        (Path("/var/lib/chronos"), "/var/lib/chronos/chronos.db"),
        ("sqlite:///data/state.db", "data/state.db"),
        ("sqlite:////var/lib/state.db", "/var/lib/state.db"),
    ],
)
def test_an_address_means_a_file(address: str | Path, path: str) -> None:
    assert database_path(address) == Path(path)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///a.db?mode=ro",
        "sqlite://host/a.db",
        "postgresql://user:secret@host/chronos",
        "://",
    ],
)
def test_an_address_that_cannot_be_opened_is_refused_without_its_secrets(address: str) -> None:
    with pytest.raises(ConfigurationError, match="store") as caught:
        database_path(address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"blob_threshold_bytes": -1},
        {"blob_grace_seconds": -1.0},
        {"busy_timeout_seconds": -0.5},
        {"busy_timeout_seconds": float("nan")},
    ],
)
def test_options_are_checked(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=r"store\."):
        StoreOptions(**fields)  # type: ignore[arg-type]  # one field of several types
