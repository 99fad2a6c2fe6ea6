"""Brings a database to the schema of this release, or says why not."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import column, inspect, select, table

from chronos_common.errors import StoreError
from chronos_common.runtime import sync_directory
from chronos_common.store.dialect import Database
from chronos_common.store.tables import REVISIONS

_VERSION_TABLE = "alembic_version"


def ensure_schema(database: Database, *, read_only: bool) -> None:
    """Create or upgrade the schema where needed, in one transaction and under the leader's lock.

    Raises:
        LeadershipHeldError: an upgrade is needed while another process leads.
        CorruptStateError: the file is damaged or no database.
        StoreError: it cannot be opened or written, belongs to another program, was written by a newer
            release, or needs an upgrade and is opened read-only.
    """
    if current_revision(database) == REVISIONS[-1]:
        return
    if read_only:
        raise StoreError(f"{database.where} has an older schema; open it once for writing to upgrade it")
    database.lock.acquire("schema upgrade")
    try:
        with database.translating():
            _upgrade(database)
        for directory in database.directories:
            sync_directory(directory)
    finally:
        database.lock.release()


def current_revision(database: Database) -> str | None:
    """The schema revision of a database, None for an empty one.

    Raises:
        StoreError: as :func:`ensure_schema`.
    """
    with database.reading() as connection:
        tables = inspect(connection).get_table_names()
        if not tables:
            return None
        if _VERSION_TABLE not in tables:
            raise StoreError(f"{database.where} belongs to another program; choose another path")
        revision = connection.scalar(select(column("version_num")).select_from(table(_VERSION_TABLE)))
    if revision is not None and revision not in REVISIONS:
        raise StoreError(
            f"{database.where} has schema revision {revision!r}, written by a newer release than this one "
            f"(which knows up to {REVISIONS[-1]!r}); upgrade Chronos"
        )
    return revision


def _upgrade(database: Database) -> None:
    # Imported here because a restart, which has nothing to upgrade, should not pay for it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with database.writer().begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
