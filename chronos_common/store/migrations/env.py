"""Alembic's entry point: runs the migrations on the connection that ``store.schema`` hands over.

To add a revision: a file in ``versions/`` that names the last one as ``down_revision``, the same change in
``store/tables.py``, and its id in ``tables.REVISIONS``; a test compares the three.
"""

from alembic import context

from chronos_common.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
