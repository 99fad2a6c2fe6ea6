"""Leadership, journals of streams, runs, workers, snapshots, samples."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table; the one row of ``leadership`` starts at epoch 0, which nobody holds."""
    leadership = op.create_table(
        "leadership",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_leadership_single_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leadership")),
    )
    op.bulk_insert(leadership, [{"id": 1, "epoch": 0, "holder": ""}])
    op.create_table(
        "streams",
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("id", sa.String(255), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "id", name=op.f("pk_streams")),
    )
    op.create_table(
        "journal",
        sa.Column("stream_kind", sa.String(32), nullable=False),
        sa.Column("stream_id", sa.String(255), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("meta", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column("blob", sa.String(64), nullable=True),
        sa.ForeignKeyConstraint(
            ["stream_kind", "stream_id"], ["streams.kind", "streams.id"], name=op.f("fk_journal_streams")
        ),
        sa.PrimaryKeyConstraint("stream_kind", "stream_id", "seq", name=op.f("pk_journal")),
    )
    op.create_table(
        "snapshots",
        sa.Column("stream_kind", sa.String(32), nullable=False),
        sa.Column("stream_id", sa.String(255), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("meta", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column("blob", sa.String(64), nullable=True),
        sa.ForeignKeyConstraint(
            ["stream_kind", "stream_id"], ["streams.kind", "streams.id"], name=op.f("fk_snapshots_streams")
        ),
        sa.PrimaryKeyConstraint("stream_kind", "stream_id", "seq", name=op.f("pk_snapshots")),
    )
    _create_listings()


def _create_listings() -> None:
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(255), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_runs")),
    )
    op.create_table(
        "workers",
        sa.Column("worker_id", sa.String(255), nullable=False),
        sa.Column("incarnation", sa.BigInteger(), nullable=False),
        sa.Column("instance_id", sa.String(255), nullable=False),
        sa.Column("registered_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("worker_id", name=op.f("pk_workers")),
    )
    op.create_table(
        "samples",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.String(255), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("worker_id", sa.String(255), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_samples_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_samples")),
    )
    op.create_index(op.f("ix_samples_run_id_name_time"), "samples", ["run_id", "name", "time"])


def downgrade() -> None:
    """Drop every table: what a release wrote is not kept by an older one."""
    for name in ("samples", "workers", "runs", "snapshots", "journal", "streams", "leadership"):
        op.drop_table(name)
