"""The schema: every table, declared once. Migrations lead to exactly this (a test compares the two)."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

REVISIONS: Final = ("0001", "0002", "0003")
"""Every schema revision, oldest first; the last one is what this release writes."""

metadata: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

leadership: Final = Table(
    "leadership",
    metadata,
    Column(
        "id", Integer, CheckConstraint("id = 1", name="single_row"), primary_key=True, autoincrement=False
    ),
    Column("epoch", BigInteger, nullable=False),
    Column("holder", Text, nullable=False),
)
"""One row: the last epoch that was handed out. Only its holder may write."""

streams: Final = Table(
    "streams",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("id", String(255), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("head", BigInteger, nullable=False),
    Column("trimmed", BigInteger, nullable=False, server_default="0"),
)
"""One row per journal: who may append, the seq of the last entry, and that of the last one that was dropped."""

journal: Final = Table(
    "journal",
    metadata,
    Column("stream_kind", String(32), primary_key=True),
    Column("stream_id", String(255), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(64), nullable=False),
    Column("time", Double, nullable=False),
    Column("meta", Text, nullable=False),
    Column("payload", LargeBinary),
    Column("blob", String(64)),
    ForeignKeyConstraint(["stream_kind", "stream_id"], ["streams.kind", "streams.id"]),
    Index(None, "blob", sqlite_where=text("blob IS NOT NULL")),
)
"""A payload lies in ``payload``, or aside under the hash in ``blob``, or there is none."""

runs: Final = Table(
    "runs",
    metadata,
    Column("run_id", String(255), primary_key=True),
    Column("status", String(32), nullable=False),
    Column("config", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("counts", Text, nullable=False, server_default=""),
)
"""``counts`` is JSON, or empty: what the coordinator counts and no journal has."""

workers: Final = Table(
    "workers",
    metadata,
    Column("worker_id", String(255), primary_key=True),
    Column("incarnation", BigInteger, nullable=False),
    Column("instance_id", String(255), nullable=False),
    Column("registered_at", Double, nullable=False),
)

snapshots: Final = Table(
    "snapshots",
    metadata,
    Column("stream_kind", String(32), primary_key=True),
    Column("stream_id", String(255), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("meta", Text, nullable=False),
    Column("payload", LargeBinary),
    Column("blob", String(64)),
    ForeignKeyConstraint(["stream_kind", "stream_id"], ["streams.kind", "streams.id"]),
)
"""A payload lies in ``payload``, however large it is, so that it goes with its row; nothing writes ``blob``."""

samples: Final = Table(
    "samples",
    metadata,
    # Not BigInteger: SQLite numbers rows by itself only under the type INTEGER (which has 64 bits there).
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("run_id", String(255), ForeignKey("runs.run_id"), nullable=False),
    Column("name", String(255), nullable=False),
    Column("worker_id", String(255), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("time", Double, nullable=False),
    Column("value", Double),
    Index(None, "run_id", "name", "time"),
)
"""``value`` is NULL for NaN, which SQLite cannot hold."""
