"""What is counted of a run outside of its journal, so that a restart goes on counting."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Runs so far begin to be counted."""
    op.add_column("runs", sa.Column("counts", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    """The counts go; nothing depends on them."""
    op.drop_column("runs", "counts")
