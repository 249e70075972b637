"""Fingerprints of answers, beside the log."""  # noqa: INP001 - Alembic loads it by its path.

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, unless a gateway that started made it."""
    op.create_table(
        "fingerprint",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("request_id", sa.String(128), primary_key=True),
        sa.Column("choice", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        if_not_exists=True,
    )
