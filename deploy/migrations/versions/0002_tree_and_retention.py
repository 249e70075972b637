"""Nodes of the tree, pseudonyms, anchors, sealed months, legal holds, kept content."""  # noqa: INP001 - Alembic loads it by its path.

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables; the first gateway that starts fills in the nodes of the tree."""
    op.create_index("ix_leaf_time_ms", "leaf", ["time_ms"], if_not_exists=True)
    _index_tables()
    _retention_tables()
    _content_tables()


def _index_tables() -> None:
    op.create_table(
        "node",
        sa.Column("level", _INTEGER, primary_key=True, autoincrement=False),
        sa.Column("idx", _INTEGER, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
        if_not_exists=True,
    )
    op.create_table(
        "subject",
        sa.Column("pseudonym", sa.Text, primary_key=True),
        sa.Column("leaf_idx", _INTEGER, primary_key=True, autoincrement=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
        if_not_exists=True,
    )
    op.create_table(
        "anchor",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("place", sa.Text, primary_key=True),
        sa.Column("size", _INTEGER, primary_key=True, autoincrement=False),
        sa.Column("time_ms", _INTEGER, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("receipt", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
        if_not_exists=True,
    )


def _retention_tables() -> None:
    op.create_table(
        "segment",
        sa.Column("month", sa.Text, primary_key=True),
        sa.Column("start", _INTEGER, nullable=False),
        sa.Column("end", _INTEGER, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("manifest", sa.Text, nullable=False),
        sa.Column("pruned_ms", _INTEGER),
        sqlite_strict=True,
        if_not_exists=True,
    )
    op.create_table(
        "hold",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("placed_ms", _INTEGER, nullable=False),
        sa.Column("lifted_ms", _INTEGER),
        sqlite_strict=True,
        if_not_exists=True,
    )


def _content_tables() -> None:
    op.create_table(
        "subject_key",
        sa.Column("subject", sa.Text, primary_key=True),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
        if_not_exists=True,
    )
    op.create_table(
        "content",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
        if_not_exists=True,
    )
    op.create_index("ix_content_subject", "content", ["subject"], if_not_exists=True)
