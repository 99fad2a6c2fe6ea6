"""What was dropped of a journal, and an index that finds out which blobs are still named."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Journals so far are whole."""
    op.add_column("streams", sa.Column("trimmed", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index(op.f("ix_journal_blob"), "journal", ["blob"], sqlite_where=sa.text("blob IS NOT NULL"))


def downgrade() -> None:
    """An older release could not read a journal that lost its beginning; nothing keeps it from one that did not."""
    op.drop_index(op.f("ix_journal_blob"), "journal")
    op.drop_column("streams", "trimmed")
