from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from chronos_common.errors import LeadershipHeldError, StoreError
from chronos_common.store.lock import FileLock


def test_only_one_holds_the_lock_and_the_others_learn_who(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    first.acquire("a coordinator with a long name")
    first.acquire("again")
    with pytest.raises(LeadershipHeldError, match="'a coordinator with a long name'"):
        second.acquire("b")
    first.release()
    first.release()
    second.acquire("b")
    with pytest.raises(LeadershipHeldError, match=r"'b' \(process"):
        first.acquire("a")
    second.release()


def test_a_holder_that_has_not_signed_yet_is_another_process(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    first.acquire("a")
    (tmp_path / "lock").write_text("")
    with pytest.raises(LeadershipHeldError, match="another process"):
        second.acquire("b")
    first.release()


def test_a_lock_file_that_cannot_be_signed_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    lock = FileLock(tmp_path / "lock")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(StoreError, match="No space left"):
            lock.acquire("a")
    other = FileLock(tmp_path / "lock")
    other.acquire("b")
    other.release()


def test_a_lock_file_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="lock file"):
        FileLock(tmp_path / "missing" / "lock").acquire("a")
