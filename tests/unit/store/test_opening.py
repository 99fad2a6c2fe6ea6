from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from chronos_common.errors import ConfigurationError, StoreError
from chronos_common.store import StoreOptions, open_store, opening
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


def refuse_files(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def no_file(**_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(opening.tempfile, "TemporaryFile", no_file)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_directory_that_cannot_be_written_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    refuse_files(monkeypatch, code)
    advice = rf"{tmp_path} cannot be written .* with id {os.geteuid()}, or choose another --store-path"
    with pytest.raises(StoreError, match=advice):
        open_store(tmp_path)


def test_a_full_disk_is_left_to_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_files(monkeypatch, errno.ENOSPC)
    open_store(tmp_path).close()
