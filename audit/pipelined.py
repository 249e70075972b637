"""What a batch reads and writes on PostgreSQL, in two exchanges with the server in place of ten.

A batch is short, so what it waits for is the way to the server and back. Reads are sent together
once the write lock is held; writes are collected and sent together by `set_head`, the last of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from audit import rows as plain
from audit import store
from audit.rows import Head, Rows

# So many entries of other writers are taken in at once; more are read as they come.
AT_ONCE = 4096
_HEAD = "SELECT size, root, frontier FROM head"
_LEAVES = "SELECT idx, leaf_hash FROM leaf WHERE idx >= %b ORDER BY idx"
_NEWEST = "SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1"
_PLACES = "SELECT uid, idx, body FROM leaf WHERE uid = ANY(%b::text[])"
_SET_HEAD = "UPDATE head SET size = %b, root = %b, frontier = %b"
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


def rows(connection: sa.Connection) -> Rows:
    """Return the rows that a connection's transaction sees, by the fastest way there is."""
    if connection.dialect.driver == "psycopg":
        module = connection.dialect.loaded_dbapi
        driver = connection.connection.driver_connection
        if driver is not None and module.Pipeline.is_supported():
            return Pipelined(driver, error=module.Error)
    return plain.rows(connection)


class Pipelined:
    """The log's rows within one transaction of psycopg. Its errors are told here.

    driver: psycopg's connection.
    """

    def __init__(self, driver: Any, *, error: type[Exception]) -> None:
        self._driver = driver
        self._error = error
        self._looked: tuple[int, Head | None, list[tuple[int, bytes]]] | None = None
        self._places: dict[str, tuple[int, bytes]] = {}
        self._writes: list[tuple[str, Sequence[Any]]] = []

    def look(self, start: int, uids: Sequence[str]) -> None:
        """Ask at once for the head, the entries from `start` on, and the places of the uids."""
        with self._told(), self._driver.pipeline():
            head = self._run(_HEAD)
            leaves = self._run(f"{_LEAVES} LIMIT {AT_ONCE + 1}", (start,))
            places = self._run(_PLACES, (list(uids),))
        found = head.fetchone()
        self._looked = (start, None if found is None else Head(*found), leaves.fetchall())
        self._places = {uid: (index, body) for uid, index, body in places}

    def head(self) -> Head | None:
        """Return the head, None if there is none."""
        if self._looked is not None:
            return self._looked[1]
        with self._told():
            found = self._run(_HEAD).fetchone()
        return None if found is None else Head(*found)

    def leaves(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Yield index and hash of the entries from an index on."""
        known = self._looked
        if known is not None and known[0] == start and len(known[2]) <= AT_ONCE:
            yield from known[2]
            return
        with self._told(), self._driver.cursor(name="leaves", binary=True) as cursor:
            cursor.itersize = AT_ONCE
            cursor.execute(_LEAVES, (start,))
            yield from cursor

    def newest_checkpoint(self) -> str | None:
        """Return the note of the newest checkpoint."""
        with self._told():
            found = self._run(_NEWEST).fetchone()
        return None if found is None else found[0]

    def places(self, uids: Sequence[str]) -> dict[str, tuple[int, bytes]]:
        """Return index and stored bytes of those of the uids that are in the log."""
        if self._looked is None:
            self.look(plain.BELOW_ALL, uids)
        return {uid: self._places[uid] for uid in uids if uid in self._places}

    def insert(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Have rows inserted when the head is set; they have all the columns of the table."""
        if rows:
            columns = list(rows[0])
            values = [[row[name] for row in rows] for name in columns]
            self._writes.append((_insertion(table, columns), values))

    def set_head(self, head: Head) -> None:
        """Write what was to be inserted, and the head."""
        with self._told(), self._driver.pipeline():
            for statement, values in self._writes:
                self._run(statement, values)
            self._run(_SET_HEAD, head)
        self._writes = []

    def _run(self, statement: str, values: Sequence[Any] = ()) -> Any:
        return self._driver.cursor(binary=True).execute(statement, values)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            raise store.failure(error) from error


def _insertion(table: sa.Table, columns: Sequence[str]) -> str:
    """Return the statement that takes columns as arrays: as many parameters for any many rows."""
    names = ", ".join(f'"{name}"' for name in columns)
    arrays = ", ".join(f"%b::{table.c[name].type.compile(dialect=_DIALECT)}[]" for name in columns)
    return f'INSERT INTO "{table.name}" ({names}) SELECT * FROM unnest({arrays})'  # noqa: S608 - our own names.
