"""Where the log lies, a SQLite file or a PostgreSQL database, and how it is opened and read."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from audit import postgres, sqlite
from audit.errors import LogTampered, LogUnavailable
from audit.merkle import EMPTY_ROOT
from audit.schema import checkpoint, head, leaf, mark, metadata, node, subject

__all__ = [
    "checkpoint",
    "existing_log",
    "head",
    "leaf",
    "mark",
    "metadata",
    "node",
    "open_log",
    "reading",
    "subject",
    "told",
    "writing",
]

BUSY_LIMIT_S = 2.0
# An execution option of ours: the connection's transactions write.
_WRITES = "sealgate_writes"

# Built once: every batch runs them.
_inserts = {table.name: table.insert() for table in metadata.sorted_tables}

Location = Path | str


def open_log(location: Location, *, busy_limit_s: float = BUSY_LIMIT_S) -> sa.Engine:
    """Open the log, made with its tables if it is not there yet.

    location: a file's path, or the `postgresql://` URL of a database that exists.
    busy_limit_s: longest wait for another process's transaction.

    Raises:
        LogUnavailable: It cannot be made, reached, read or written.
        LogTampered: The file is there and is no database, or a damaged one.
    """
    if isinstance(location, Path):
        # Only here is a file made: a log that vanishes later must not come back empty.
        sqlite.create(location)
    return _opened(location, busy_limit_s)


def existing_log(location: Location, *, busy_limit_s: float = BUSY_LIMIT_S) -> sa.Engine:
    """Open the log if it is there, as `open_log` does; tables that it lacks are made.

    Raises:
        LogUnavailable: It is not there, or cannot be used.
        LogTampered: It is no database, or a damaged one, or holds no log.
    """
    if isinstance(location, Path):
        sqlite.require(location)
    engine = _engine(location, busy_limit_s)
    try:
        with reading(engine) as connection:
            _require_head(connection)
    finally:
        engine.dispose()
    return _opened(location, busy_limit_s)


def create_tables(engine: sa.Engine, tables: sa.MetaData) -> None:
    """Make tables beside the log's own unless they are there, as a writer that waits its turn.

    Whoever looks first and writes then loses to a writer in between: SQLite does not let it wait.

    Raises:
        LogUnavailable: They cannot be made.
    """
    with told(), writing(engine).begin() as connection:
        tables.create_all(connection)


def writing(engine: sa.Engine) -> sa.Engine:
    """Return the engine with transactions that take the write lock as they begin.

    What such a transaction reads stays true until it commits.
    """
    return engine.execution_options(**{_WRITES: True})


def changing(engine: sa.Engine) -> sa.Engine:
    """Return the engine with transactions that change other tables than the log's.

    SQLite has one lock for all of a file: there they wait their turn with the log's. A server
    locks what is changed.
    """
    return writing(engine) if engine.dialect.name == "sqlite" else engine


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Give a connection that sees the log as it stood at its first query.

    Raises:
        LogUnavailable: The log cannot be read.
        LogTampered: The database is damaged.
    """
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(isolation_level="REPEATABLE READ")
    with told(), engine.connect() as connection:
        yield connection


@contextmanager
def told() -> Iterator[None]:
    """Turn the database's errors into the log's."""
    try:
        yield
    except sa.exc.DatabaseError as error:
        raise (failure(error.orig) if error.orig else LogUnavailable(str(error))) from error
    except UnicodeDecodeError as error:
        raise LogTampered("The log's database is damaged: its text is no UTF-8.") from error
    except sa.exc.SQLAlchemyError as error:
        raise LogUnavailable(f"The log cannot be used: {error}.") from error


def failure(error: BaseException) -> LogTampered | LogUnavailable:
    """Return what a driver's error means for the log."""
    if _damaged(error):
        return LogTampered(f"The log's database is damaged: {error}.")
    return LogUnavailable(
        f"The log cannot be used: {error}. See to its disk or its server, then try again."
    )


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of the same members, none or many."""
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        postgres.insert(connection, table, rows)
    else:
        connection.execute(_inserts[table.name], rows)


def forget_deleted(engine: sa.Engine) -> None:
    """Let what was deleted leave the write-ahead log's file too, where the log is a file.

    A server's own write-ahead log is its operator's to expire.

    Raises:
        LogUnavailable: A reader keeps it there; try again.
    """
    if engine.dialect.name == "sqlite":
        with told():
            sqlite.checkpoint(engine)


def identity(engine: sa.Engine) -> Hashable:
    """Return what tells whether the log still lies where it was opened.

    Raises:
        LogUnavailable: Its file is gone.
    """
    # A server looks after its own files.
    return sqlite.identity(engine) if engine.dialect.name == "sqlite" else engine.url


def _opened(location: Location, busy_limit_s: float) -> sa.Engine:
    engine = _engine(location, busy_limit_s)
    try:
        with told(), writing(engine).begin() as connection:
            _create(connection)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _engine(location: Location, busy_limit_s: float) -> sa.Engine:
    if isinstance(location, Path):
        return sqlite.engine(location, busy_limit_s=busy_limit_s, begin_option=_WRITES)
    return postgres.engine(location, busy_limit_s=busy_limit_s, begin_option=_WRITES)


def _damaged(error: BaseException) -> bool:
    if hasattr(error, "sqlstate"):
        return postgres.damaged(error)
    return sqlite.damaged(error)


def _require_head(connection: sa.Connection) -> None:
    there = sa.inspect(connection).has_table(head.name)
    if not there or connection.execute(sa.select(head.c.size)).first() is None:
        raise LogTampered("The database is there and holds no log. Restore its copy.")


def _create(connection: sa.Connection) -> None:
    """Make the tables and the head of an empty tree, unless they are there."""
    metadata.create_all(connection)
    # A file of an earlier version has the table, and `create_all` looks no further.
    for index in leaf.indexes:
        index.create(connection, checkfirst=True)
    if connection.execute(sa.select(head.c.size)).first() is None:
        connection.execute(head.insert().values(id=0, size=0, root=EMPTY_ROOT, frontier=b""))
