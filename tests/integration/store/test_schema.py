"""The schema: its history leads to what the code declares, and other people's files are left alone."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import chronos_common.store
from chronos_common.errors import CorruptStateError, LeadershipHeldError, StoreError
from chronos_common.store import open_store
from chronos_common.store.dialect import sqlite_database
from chronos_common.store.lock import FileLock
from chronos_common.store.tables import REVISIONS, metadata
from tests.support.storing import entry, journal, leading, record

MIGRATIONS = Path(chronos_common.store.__file__).parent / "migrations"


def config() -> Config:
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    return made


def test_the_migrations_lead_to_the_declared_tables(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    database = sqlite_database(tmp_path / "chronos.db")
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    database.engine.dispose()


def test_the_declared_revisions_are_those_that_exist() -> None:
    history = ScriptDirectory.from_config(config()).walk_revisions()
    assert tuple(reversed([script.revision for script in history])) == REVISIONS


def test_the_schema_can_be_removed_and_made_again(tmp_path: Path) -> None:
    leading(open_store(tmp_path)).close()
    database = sqlite_database(tmp_path / "chronos.db")
    with database.writer().begin() as connection:
        made = config()
        made.attributes["connection"] = connection
        command.downgrade(made, "base")
    database.engine.dispose()
    store = open_store(tmp_path)
    assert store.runs() == []
    assert store.acquire("test") == 1
    store.close()


def test_a_store_of_the_first_release_keeps_what_it_holds(tmp_path: Path) -> None:
    database = sqlite_database(tmp_path / "chronos.db")
    with database.writer().begin() as connection:
        made = config()
        made.attributes["connection"] = connection
        command.upgrade(made, "0001")
    database.engine.dispose()
    run_sql(tmp_path / "chronos.db", "INSERT INTO streams VALUES ('run', 'run', 0, 1)")
    run_sql(tmp_path / "chronos.db", "INSERT INTO runs VALUES ('run', 'active', '{\"seed\":0}', 1.5)")
    run_sql(
        tmp_path / "chronos.db",
        "INSERT INTO journal VALUES ('run', 'run', 1, 'accepted', 1001.0, '{}', NULL, NULL)",
    )
    store = open_store(tmp_path)
    assert store.runs() == [dataclasses.replace(record(), head=1, trimmed=0)]
    assert journal(store) == [entry(1)]
    store.close()


def test_an_upgrade_waits_for_the_leader_to_go(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "chronos.db-lock")
    lock.acquire("older release")
    with pytest.raises(LeadershipHeldError, match="older release"):
        open_store(tmp_path)
    lock.release()
    open_store(tmp_path).close()


def run_sql(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    run_sql(tmp_path / "chronos.db", "UPDATE alembic_version SET version_num = '9999'")
    for read_only in (False, True):
        with pytest.raises(StoreError, match="'9999'.*newer release.*upgrade Chronos"):
            open_store(tmp_path, read_only=read_only)


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    run_sql(tmp_path / "chronos.db", "CREATE TABLE bookmarks (url TEXT)")
    with pytest.raises(StoreError, match="another program"):
        open_store(tmp_path)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, read_only: bool) -> None:
    (tmp_path / "chronos.db").write_bytes(b"These are not the bytes you are looking for.\n" * 100)
    with pytest.raises(CorruptStateError, match=r"chronos\.db is damaged"):
        open_store(tmp_path, read_only=read_only)


def test_a_path_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot create the directory"):
        open_store(tmp_path / "file" / "data")
    (tmp_path / "data" / "chronos.db").mkdir(parents=True)
    with pytest.raises(StoreError, match="unable to open"):
        open_store(tmp_path / "data")


def test_a_reader_needs_a_store_of_this_schema(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store at"):
        open_store(tmp_path, read_only=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "chronos.db").touch()
    with pytest.raises(StoreError, match="older schema"):
        open_store(tmp_path, read_only=True)


def test_a_store_is_opened_by_url_or_directory(tmp_path: Path, monkeypatch: Any) -> None:
    by_url = open_store(f"sqlite:///{tmp_path}/deep/er/state.db")
    leading(by_url)
    assert [
        run.run_id for run in open_store(f"sqlite:///{tmp_path}/deep/er/state.db", read_only=True).runs()
    ] == ["run"]
    by_url.close()
    monkeypatch.chdir(tmp_path)
    open_store("sqlite:///relative.db").close()
    open_store(Path("100% é?#")).close()
    assert (tmp_path / "relative.db").is_file()
    assert (tmp_path / "100% é?#" / "chronos.db").is_file()
