"""What a batch reads and writes, row by row: by SQLAlchemy, or on SQLite by its driver itself.

The driver's way takes a fifth of the time. A statement there inserts many rows at once, so that a
batch takes the interpreter's lock some ten times, not once a row: a busy event loop would hold
each of these up.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa

from audit import store

# Rows of one statement at most; nine columns of these stay below the 999 parameters of any build.
ROWS_LIMIT = 64
# No entry has this index; what lies below the first one is found as well.
BELOW_ALL = -(2**63)

# Built once: every batch runs them.
_HEAD = sa.select(store.head.c.size, store.head.c.root, store.head.c.frontier)
_SET_HEAD = store.head.update()
_LEAVES = (
    sa.select(store.leaf.c.idx, store.leaf.c.leaf_hash)
    .where(store.leaf.c.idx >= sa.bindparam("size"))
    .order_by(store.leaf.c.idx)
)
_NEWEST = sa.select(store.checkpoint.c.note).order_by(store.checkpoint.c.size.desc()).limit(1)
_PLACES = sa.select(store.leaf.c.uid, store.leaf.c.idx, store.leaf.c.body).where(
    store.leaf.c.uid.in_(sa.bindparam("uids", expanding=True))
)


class Head(NamedTuple):
    """The tree as the log says it is. frontier: as `Frontier.encode` writes it."""

    size: int
    root: bytes
    frontier: bytes


class Rows(Protocol):
    """The log's rows within one transaction."""

    def look(self, start: int, uids: Sequence[str]) -> None:
        """Ask at once for the head, `leaves` from an index on, and `places`, where that helps.

        It comes first; `leaves` is then asked for with that index, `places` with those uids.
        """

    def head(self) -> Head | None:
        """Return the head, None if there is none."""

    def set_head(self, head: Head) -> None:
        """Replace it: the last that a batch writes, and what commits it where that saves time."""

    def leaves(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Yield index and hash of the entries from an index on."""

    def newest_checkpoint(self) -> str | None:
        """Return the note of the newest checkpoint."""

    def places(self, uids: Sequence[str]) -> dict[str, tuple[int, bytes]]:
        """Return index and stored bytes of those of the uids that are in the log."""

    def insert(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows that all have the table's columns, none or many."""


def rows(connection: sa.Connection) -> Rows:
    """Return the rows that a connection's transaction sees."""
    if connection.dialect.name == "sqlite":
        driver = connection.connection.driver_connection
        if isinstance(driver, sqlite3.Connection):
            return _Driven(driver)
    return _Rows(connection)


class _Rows:
    """By SQLAlchemy, on any database."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def look(self, start: int, uids: Sequence[str]) -> None:
        """Nothing: each is asked for by itself."""

    def head(self) -> Head | None:
        row = self._connection.execute(_HEAD).one_or_none()
        return None if row is None else Head(*row)

    def set_head(self, head: Head) -> None:
        self._connection.execute(_SET_HEAD, head._asdict())

    def leaves(self, start: int) -> Iterator[tuple[int, bytes]]:
        found = self._connection.execute(_LEAVES, {"size": start}).yield_per(4096)
        return ((index, hashed) for index, hashed in found)

    def newest_checkpoint(self) -> str | None:
        note: str | None = self._connection.execute(_NEWEST).scalar_one_or_none()
        return note

    def places(self, uids: Sequence[str]) -> dict[str, tuple[int, bytes]]:
        found = self._connection.execute(_PLACES, {"uids": list(uids)})
        return {uid: (index, body) for uid, index, body in found}

    def insert(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        store.insert(self._connection, table, rows)


class _Driven:
    """By the SQLite driver. Its errors are told here: SQLAlchemy does not see them."""

    def __init__(self, driver: sqlite3.Connection) -> None:
        self._driver = driver

    def look(self, start: int, uids: Sequence[str]) -> None:
        """Nothing: a file is not far."""

    def head(self) -> Head | None:
        found = self._run("SELECT size, root, frontier FROM head").fetchall()
        return Head(*found[0]) if found else None

    def set_head(self, head: Head) -> None:
        self._run("UPDATE head SET size = ?, root = ?, frontier = ?", head)

    def leaves(self, start: int) -> Iterator[tuple[int, bytes]]:
        query = "SELECT idx, leaf_hash FROM leaf WHERE idx >= ? ORDER BY idx"
        yield from self._run(query, (start,))

    def newest_checkpoint(self) -> str | None:
        query = "SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1"
        found = self._run(query).fetchone()
        return None if found is None else found[0]

    def places(self, uids: Sequence[str]) -> dict[str, tuple[int, bytes]]:
        found: dict[str, tuple[int, bytes]] = {}
        for part in _parts(uids):
            query = f"SELECT uid, idx, body FROM leaf WHERE uid IN ({_marks(len(part))})"  # noqa: S608 - question marks.
            found |= {uid: (index, body) for uid, index, body in self._run(query, part)}
        return found

    def insert(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        for part in _parts(rows):
            values = [value for row in part for value in row.values()]
            self._run(_insertion(table.name, tuple(part[0]), len(part)), values)

    def _run(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return self._driver.execute(statement, values)
        except sqlite3.Error as error:
            raise store.failure(error) from error


def _parts(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """Cut items into parts whose sizes are powers of two: few sizes are few statements to keep."""
    start = 0
    while left := len(items) - start:
        size = min(1 << (left.bit_length() - 1), ROWS_LIMIT)
        yield items[start : start + size]
        start += size


@cache
def _insertion(table: str, columns: tuple[str, ...], rows: int) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    values = ", ".join([f"({_marks(len(columns))})"] * rows)
    return f'INSERT INTO "{table}" ({names}) VALUES {values}'  # noqa: S608 - our own names.


def _marks(count: int) -> str:
    return ", ".join("?" * count)
