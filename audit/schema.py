"""The log's tables, alike on SQLite and on PostgreSQL (docs/formats/log-v1.md, "The database").

`deploy/migrations` brings a database of an earlier version to these.
"""

from typing import Any

import sqlalchemy as sa

# SQLite's strict tables know one integer type, of 64 bits; PostgreSQL's `integer` has 32.
_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _table(name: str, *parts: sa.schema.SchemaItem, with_rowid: bool = True) -> sa.Table:
    return sa.Table(name, metadata, *parts, sqlite_strict=True, sqlite_with_rowid=with_rowid)


def _key(name: str, kind: Any) -> "sa.Column[Any]":
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


metadata = sa.MetaData()
leaf = _table(
    "leaf",
    _key("idx", _INTEGER),
    sa.Column("uid", sa.Text, nullable=False, unique=True),
    sa.Column("time_ms", _INTEGER, nullable=False, index=True),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, index=True),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("leaf_hash", sa.LargeBinary(32), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
head = _table(
    "head",
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 0"), primary_key=True),
    sa.Column("size", _INTEGER, nullable=False),
    sa.Column("root", sa.LargeBinary(32), nullable=False),
    sa.Column("frontier", sa.LargeBinary, nullable=False),
)
checkpoint = _table(
    "checkpoint", _key("size", _INTEGER), sa.Column("note", sa.Text, nullable=False)
)
mark = _table(
    "mark",
    _key("leaf_idx", _INTEGER),
    _key("trace_id", _INTEGER),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("epoch", _INTEGER, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Index("ix_mark_issued", "tenant", "epoch", "trace_id"),
    with_rowid=False,
)
# The tree's inner nodes at every eighth height, which are the hashes of C2SP's tiles. Level 0,
# the leaves, is here only for entries that were pruned.
node = _table(
    "node",
    _key("level", _INTEGER),
    _key("idx", _INTEGER),
    sa.Column("hash", sa.LargeBinary(32), nullable=False),
    with_rowid=False,
)
# Which entries concern a person, by pseudonym (45 CFR 164.528 asks for that).
subject = _table(
    "subject",
    _key("pseudonym", sa.Text),
    _key("leaf_idx", _INTEGER),
    with_rowid=False,
)
anchor = _table(
    "anchor",
    _key("kind", sa.Text),
    _key("place", sa.Text),
    _key("size", _INTEGER),
    sa.Column("time_ms", _INTEGER, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("receipt", sa.LargeBinary, nullable=False),
    with_rowid=False,
)
segment = _table(
    "segment",
    _key("month", sa.Text),
    sa.Column("start", _INTEGER, nullable=False),
    sa.Column("end", _INTEGER, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("manifest", sa.Text, nullable=False),
    sa.Column("pruned_ms", _INTEGER),
)
hold = _table(
    "hold",
    _key("name", sa.Text),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("placed_ms", _INTEGER, nullable=False),
    sa.Column("lifted_ms", _INTEGER),
)
# Kept content, each subject's under a key of its own; without its row here it is noise.
subject_key = _table(
    "subject_key", _key("subject", sa.Text), sa.Column("wrapped", sa.LargeBinary, nullable=False)
)
content = _table(
    "content",
    _key("request_id", sa.Text),
    _key("kind", sa.Text),
    sa.Column("subject", sa.Text, nullable=False, index=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
    sa.Column("ciphertext", sa.LargeBinary, nullable=False),
)
# Until when content is kept, and whose request it was; a hold on the tenant keeps it longer.
content_term = _table(
    "content_term",
    _key("request_id", sa.Text),
    _key("kind", sa.Text),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("until_ms", _INTEGER, nullable=False, index=True),
)
