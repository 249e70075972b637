"""The log's first tables: entries, head, checkpoints, marks."""  # noqa: INP001 - Alembic loads it by its path.

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables of version 0.1, unless `sealgate init` made them."""
    op.create_table(
        "leaf",
        sa.Column("idx", _INTEGER, primary_key=True, autoincrement=False),
        sa.Column("uid", sa.Text, nullable=False, unique=True),
        sa.Column("time_ms", _INTEGER, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
        if_not_exists=True,
    )
    op.create_index("ix_leaf_request_id", "leaf", ["request_id"], if_not_exists=True)
    op.create_table(
        "head",
        sa.Column("id", sa.Integer, sa.CheckConstraint("id = 0"), primary_key=True),
        sa.Column("size", _INTEGER, nullable=False),
        sa.Column("root", sa.LargeBinary(32), nullable=False),
        sa.Column("frontier", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
        if_not_exists=True,
    )
    op.create_table(
        "checkpoint",
        sa.Column("size", _INTEGER, primary_key=True, autoincrement=False),
        sa.Column("note", sa.Text, nullable=False),
        sqlite_strict=True,
        if_not_exists=True,
    )
    op.create_table(
        "mark",
        sa.Column("leaf_idx", _INTEGER, primary_key=True, autoincrement=False),
        sa.Column("trace_id", _INTEGER, primary_key=True, autoincrement=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("epoch", _INTEGER, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
        if_not_exists=True,
    )
    op.create_index("ix_mark_issued", "mark", ["tenant", "epoch", "trace_id"], if_not_exists=True)
