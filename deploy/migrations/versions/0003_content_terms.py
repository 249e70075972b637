"""How long kept content stays."""  # noqa: INP001 - Alembic loads it by its path.

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table; content that was kept before has no term, and stays until it is shredded."""
    op.create_table(
        "content_term",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("until_ms", _INTEGER, nullable=False),
        sqlite_strict=True,
        if_not_exists=True,
    )
    op.create_index("ix_content_term_until_ms", "content_term", ["until_ms"], if_not_exists=True)
