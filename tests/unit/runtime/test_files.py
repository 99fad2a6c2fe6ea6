"""Files that are whole or not there, whenever the process dies."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from chronos_common.runtime import ProcessLock, remove_file, replace_file, sync_directory


def test_a_file_is_flushed_before_it_gets_its_name_and_the_name_after(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    seen: list[tuple[bytes, bool]] = []

    def fsync(descriptor: int) -> None:
        seen.append((path.read_bytes(), os.path.isdir(f"/proc/self/fd/{descriptor}")))
        os.fsync(descriptor)

    replace_file(path, b"new", fsync=fsync)
    assert seen == [(b"old", False), (b"new", True)]
    assert list(tmp_path.iterdir()) == [path]


def failing(at: int) -> Callable[[int], None]:
    calls = iter(range(10))

    def fsync(_descriptor: int) -> None:
        if next(calls) == at:
            raise OSError(errno.ENOSPC, "No space left on device")

    return fsync


@pytest.mark.parametrize(("at", "left"), [(0, b"old"), (1, b"new")])
def test_a_write_that_fails_leaves_one_of_the_two(tmp_path: Path, at: int, left: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"new", fsync=failing(at))
    assert path.read_bytes() == left
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_dead_writer_left_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file.writing").write_bytes(b"a longer torn beginning")
    replace_file(tmp_path / "file", b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"new")]


def test_removing_is_durable_and_may_be_repeated(tmp_path: Path) -> None:
    synced: list[int] = []
    (tmp_path / "file").write_bytes(b"")
    remove_file(tmp_path / "file", fsync=synced.append)
    remove_file(tmp_path / "file", fsync=synced.append)
    assert len(synced) == 1
    sync_directory(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_directory(tmp_path / "missing")


def test_a_lock_says_who_holds_it(tmp_path: Path) -> None:
    first, second = ProcessLock(tmp_path / "lock"), ProcessLock(tmp_path / "lock")
    assert first.acquire("me") is None
    assert second.acquire("you") == f"'me' (process {os.getpid()})"
    first.release()
    assert second.acquire("you") is None
    second.release()
