"""Opens a store by its address."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import Final

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from chronos_common.errors import ConfigurationError, StoreError
from chronos_common.store.base import Observe, StoreOptions, observe_nothing
from chronos_common.store.dialect import Database, sqlite_database
from chronos_common.store.schema import ensure_schema
from chronos_common.store.sql import SqlStore

DATABASE_NAME: Final = "chronos.db"


def open_store(
    url_or_path: str | os.PathLike[str],
    *,
    observe: Observe = observe_nothing,
    read_only: bool = False,
    options: StoreOptions | None = None,
) -> SqlStore:
    """Open the durable store, and create or upgrade it where needed (unless ``read_only``).

    Args:
        url_or_path: a directory, which then holds ``chronos.db`` and what belongs to it, or an SQLAlchemy URL:
            ``sqlite:///relative/chronos.db``, ``sqlite:////absolute/chronos.db``.
        observe: told the duration of every write and commit.
        read_only: open what exists, change nothing; several processes may, beside the leader.
        options: see :class:`~chronos_common.store.base.StoreOptions`.

    Raises:
        ConfigurationError: an address that this release cannot open.
        LeadershipHeldError: the schema needs an upgrade while another process leads.
        CorruptStateError: the database is damaged, or the file is none.
        StoreError: it cannot be read or written, does not exist (``read_only``), or a newer release wrote it.
    """
    path = database_path(url_or_path)
    if read_only and not path.is_file():
        raise StoreError(f"there is no store at {path}; check the path, or start a coordinator there first")
    if not read_only:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot create the directory {path.parent}: {error.strerror}") from error
        _require_writable(path.parent)
    database = sqlite_database(path, read_only=read_only, options=options)
    return open_database(database, observe=observe, read_only=read_only, options=options)


def _require_writable(directory: Path) -> None:
    """Asks by trying: permissions do not tell of a file system that is read-only."""
    try:
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            return  # a disk that is full now may still be read
        raise StoreError(
            f"the store's directory {directory} cannot be written ({error.strerror}): make it writable for the user "
            f"with id {os.geteuid()}, or choose another --store-path"
        ) from error


def open_database(
    database: Database,
    *,
    observe: Observe = observe_nothing,
    read_only: bool = False,
    options: StoreOptions | None = None,
) -> SqlStore:
    """A store on a database, whose schema is brought up to date; on an error the database is closed again.

    Raises:
        StoreError: as :func:`open_store`.
    """
    try:
        ensure_schema(database, read_only=read_only)
    except BaseException:
        database.engine.dispose()
        raise
    return SqlStore(database, observe=observe, read_only=read_only, options=options)


def database_path(url_or_path: str | os.PathLike[str]) -> Path:
    """The database file that an address means.

    Raises:
        ConfigurationError: as :func:`open_store`.
    """
    text = os.fspath(url_or_path)
    if "://" not in text:
        if not text:
            raise ConfigurationError("the store's path is empty; name a directory")
        return Path(text) / DATABASE_NAME
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise ConfigurationError(f"the store's address {text!r} is no URL: {error}") from error
    # Nothing of the URL but its scheme is repeated: others carry passwords.
    if url.drivername != "sqlite":
        raise ConfigurationError(
            f"the store's URL has scheme {url.drivername!r}; this release opens 'sqlite'"
        )
    if not url.database or url.database == ":memory:" or url.query or url.host:
        raise ConfigurationError(
            "the store's URL must name a file and nothing else: sqlite:///relative.db or sqlite:////absolute.db"
        )
    return Path(url.database)
