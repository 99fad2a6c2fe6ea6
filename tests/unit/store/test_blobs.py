from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from chronos_common.errors import CorruptStateError
from chronos_common.store.blobs import BlobDirectory


class Flushes:
    """Records what was flushed, in order: the content of files, the names of directories' entries."""

    def __init__(self) -> None:
        self.seen: list[bytes | list[str]] = []

    def __call__(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        self.seen.append(sorted(os.listdir(path)) if path.is_dir() else path.read_bytes())


def test_bytes_are_flushed_before_the_name_and_the_name_before_sync_returns(tmp_path: Path) -> None:
    flushes = Flushes()
    blobs = BlobDirectory(tmp_path / "blobs", fsync=flushes)
    name = blobs.write(b"content")
    assert name == hashlib.sha256(b"content").hexdigest()
    assert flushes.seen == [["blobs"], b"content"]
    blobs.sync()
    assert flushes.seen[2:] == [[name]]
    blobs.sync()
    assert len(flushes.seen) == 3


def test_identical_content_is_written_once_but_its_name_is_flushed_again(tmp_path: Path) -> None:
    BlobDirectory(tmp_path).write(b"content")
    flushes = Flushes()
    blobs = BlobDirectory(tmp_path, fsync=flushes)
    name = blobs.write(b"content")
    assert flushes.seen == []
    blobs.sync()
    assert flushes.seen == [[name]]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(descriptor: int) -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        BlobDirectory(tmp_path, fsync=fail).write(b"content")
    assert list(tmp_path.iterdir()) == []


def test_content_is_checked_when_it_is_read(tmp_path: Path) -> None:
    blobs = BlobDirectory(tmp_path)
    name = blobs.write(b"content")
    assert blobs.read(name) == b"content"
    (tmp_path / name).write_bytes(b"Content")
    with pytest.raises(CorruptStateError, match=name) as caught:
        blobs.read(name)
    assert caught.value.details == {"blob": name}
    assert blobs.write(b"content") == name
    assert blobs.read(name) == b"content"
    with pytest.raises(CorruptStateError, match="cannot be read"):
        blobs.read("0" * 64)
