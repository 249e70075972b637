"""A batch on PostgreSQL in two exchanges with the server, in place of ten.

A batch is short, so what it waits for is the way to the server and back. The first exchange begins
the transaction, takes the write lock and reads; the second writes and commits.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import sqlalchemy as sa

from audit import rows as plain
from audit import store
from audit.exchange import Exchange, Refused, Row, array, integer, read_integer
from audit.postgres import LOCKING, TURN_LIMIT
from audit.rows import Head, Rows

# So many entries of other writers are taken in by the first exchange; more are read as they come.
AT_ONCE = 4096
# Each statement sees what was committed when it began. Where the database's own default is
# stricter, all would see what was committed before the turn was waited for, and be refused.
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
_HEAD = "SELECT size, root, frontier FROM head"
_LEAVES = "SELECT idx, leaf_hash FROM leaf WHERE idx >= $1 ORDER BY idx LIMIT $2"
_NEWEST = "SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1"
_PLACES = "SELECT uid, idx, body FROM leaf WHERE uid = ANY($1::text[])"
_SET_HEAD = "UPDATE head SET size = $1, root = $2, frontier = $3"


def connect(engine: sa.Engine) -> sa.Connection:
    """Return a connection for `batch`.

    Raises:
        LogUnavailable: The log cannot be reached.
    """
    if _pipelined(engine):
        # The batch says itself where its transaction begins and ends.
        return engine.execution_options(isolation_level="AUTOCOMMIT").connect()
    return store.writing(engine).connect()


@contextmanager
def batch(connection: sa.Connection) -> Iterator[Rows]:
    """Give the log's rows to one transaction that holds the write lock, and commit it.

    `look` comes first and `set_head` last. Whoever gets an error drops the connection.

    Raises:
        LogUnavailable: It cannot be used, or the turn did not come in time. Where the answer to
            the commit was lost, it may have been written.
    """
    if not _pipelined(connection.engine):
        with connection.begin():
            yield plain.rows(connection)
        return
    module = connection.dialect.loaded_dbapi
    try:
        # What is prepared lasts as long as the driver's connection, and so does this dictionary.
        prepared = connection.connection.info.setdefault("prepared", {})
        driver: Any = connection.connection.driver_connection
        limit_s = connection.get_execution_options()[TURN_LIMIT]
        yield _Pipelined(
            Exchange(driver.pgconn, pq=module.pq, prepared=prepared, turn_limit_s=limit_s)
        )
    except (module.Error, Refused) as error:
        raise store.failure(error) from error


class _Pipelined:
    """The log's rows within one transaction of PostgreSQL."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._start = 0
        self._head: Head | None = None
        self._leaves: list[tuple[int, bytes]] = []
        self._places: dict[str, tuple[int, bytes]] = {}

    def look(self, start: int, uids: Sequence[str]) -> None:
        """Take the lock, and ask for the head, the entries from `start` on, the uids' places."""
        exchange = self._exchange
        exchange.send(_BEGIN)
        exchange.send(LOCKING)
        # What is read from here on holds all that was committed before the lock was taken.
        exchange.send(_HEAD)
        exchange.send(_LEAVES, integer(start), integer(AT_ONCE))
        exchange.send(_PLACES, array("text", uids))
        _, _, heads, leaves, places = exchange.answers()
        self._start = start
        self._head = _head(heads[0]) if heads else None
        self._leaves = _leaves(leaves)
        self._places = {uid.decode(): (read_integer(index), body) for uid, index, body in places}

    def head(self) -> Head | None:
        """Return the head, None if there is none."""
        return self._head

    def leaves(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Yield index and hash of the entries from an index on."""
        found = self._leaves if start == self._start else self._read(start)
        yield from found
        while len(found) == AT_ONCE:
            found = self._read(found[-1][0] + 1)
            yield from found

    def newest_checkpoint(self) -> str | None:
        """Return the note of the newest checkpoint."""
        self._exchange.send(_NEWEST)
        found = self._exchange.answers()[0]
        return found[0][0].decode() if found else None

    def places(self, uids: Sequence[str]) -> dict[str, tuple[int, bytes]]:
        """Return index and stored bytes of those of the uids that are there."""
        return {uid: self._places[uid] for uid in uids if uid in self._places}

    def insert(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Have rows inserted, all with the same columns; the server does so meanwhile."""
        if rows:
            statement, kinds = _insertion(table, tuple(rows[0]))
            columns = [array(kind, [row[name] for row in rows]) for name, kind in kinds.items()]
            self._exchange.send(statement, *columns)

    def set_head(self, head: Head) -> None:
        """Write the head, and commit."""
        self._exchange.send(_SET_HEAD, integer(head.size), head.root, head.frontier)
        self._exchange.send("COMMIT")
        self._exchange.answers()

    def _read(self, start: int) -> list[tuple[int, bytes]]:
        self._exchange.send(_LEAVES, integer(start), integer(AT_ONCE))
        return _leaves(self._exchange.answers()[0])


def _pipelined(engine: sa.Engine) -> bool:
    return engine.dialect.driver == "psycopg" and bool(
        engine.dialect.loaded_dbapi.Pipeline.is_supported()
    )


def _head(row: Row) -> Head:
    size, root, frontier = row
    return Head(read_integer(size), root, frontier)


def _leaves(rows: Sequence[Row]) -> list[tuple[int, bytes]]:
    return [(read_integer(index), hashed) for index, hashed in rows]


@cache
def _insertion(table: sa.Table, columns: tuple[str, ...]) -> tuple[str, Mapping[str, str]]:
    """Return the statement that takes columns as arrays, one statement for however many rows.

    With it, the type of each column.
    """
    kinds = {name: table.c[name].type.compile(dialect=_dialect()).lower() for name in columns}
    names = ", ".join(f'"{name}"' for name in kinds)
    arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(kinds.values(), 1))
    return f'INSERT INTO "{table.name}" ({names}) SELECT * FROM unnest({arrays})', kinds  # noqa: S608 - our own names.


@cache
def _dialect() -> sa.Dialect:
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - a log in a file is spared it.

    return postgresql.dialect()  # type: ignore[no-untyped-call]
