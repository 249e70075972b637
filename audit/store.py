"""Where the log lies: one SQLite file, its tables, and how it is opened and read.

WAL with `synchronous=FULL`: a commit that returned is on disk. Several processes may hold the
file; each writer takes the write lock before it reads the head.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

from audit.errors import LogTampered, LogUnavailable
from audit.merkle import EMPTY_ROOT

BUSY_LIMIT_S = 2.0
# An execution option of ours: how a connection begins its transactions.
_BEGIN = "sealgate_begin"

metadata = sa.MetaData()
leaf = sa.Table(
    "leaf",
    metadata,
    sa.Column("idx", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("uid", sa.Text, nullable=False, unique=True),
    sa.Column("time_ms", sa.Integer, nullable=False),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, index=True),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("leaf_hash", sa.LargeBinary(32), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sqlite_strict=True,
)
head = sa.Table(
    "head",
    metadata,
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 0"), primary_key=True),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("root", sa.LargeBinary(32), nullable=False),
    sa.Column("frontier", sa.LargeBinary, nullable=False),
    sqlite_strict=True,
)
checkpoint = sa.Table(
    "checkpoint",
    metadata,
    sa.Column("size", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("note", sa.Text, nullable=False),
    sqlite_strict=True,
)
mark = sa.Table(
    "mark",
    metadata,
    sa.Column("leaf_idx", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("trace_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Index("ix_mark_issued", "tenant", "epoch", "trace_id"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)


def open_log(path: Path, *, busy_limit_s: float = BUSY_LIMIT_S) -> sa.Engine:
    """Open the log's file, made with its tables if it is not there yet.

    busy_limit_s: longest wait for another process's transaction.

    Raises:
        LogUnavailable: The file cannot be made, read or written.
        LogTampered: The file is there and is no database, or a damaged one.
    """
    engine = _engine(path, busy_limit_s)
    try:
        # Only here is a file made: a log that vanishes later must not come back empty.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        with told(), writing(engine).begin() as connection:
            _create(connection)
    except OSError as error:
        raise LogUnavailable(f"The log {path} cannot be opened: {error.strerror}.") from None
    except BaseException:
        engine.dispose()
        raise
    return engine


def writing(engine: sa.Engine) -> sa.Engine:
    """Return the engine with transactions that take the write lock as they begin.

    What such a transaction reads stays true until it commits.
    """
    return engine.execution_options(**{_BEGIN: "IMMEDIATE"})


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Give a connection that sees the log as it stood at its first query.

    Raises:
        LogUnavailable: The log cannot be read.
        LogTampered: The database is damaged.
    """
    with told(), engine.connect() as connection:
        yield connection


@contextmanager
def told() -> Iterator[None]:
    """Turn the database's errors into the log's."""
    try:
        yield
    except sa.exc.DatabaseError as error:
        # "malformed" and "not a database" have no class of their own in sqlite3, and text that
        # is no UTF-8 has no SQLite error code.
        damaged = type(error.orig) is sqlite3.DatabaseError
        if damaged or not hasattr(error.orig, "sqlite_errorcode"):
            raise LogTampered(f"The log's database is damaged: {error.orig}.") from error
        raise LogUnavailable(f"The log cannot be used: {error.orig}.") from error
    except UnicodeDecodeError as error:
        raise LogTampered("The log's database is damaged: its text is no UTF-8.") from error
    except sa.exc.SQLAlchemyError as error:
        raise LogUnavailable(f"The log cannot be used: {error}.") from error


def file_of(engine: sa.Engine) -> Path:
    """Return the file that `open_log` opened."""
    return Path(engine.url.database or "")


def _engine(path: Path, busy_limit_s: float) -> sa.Engine:
    location = f"file:{quote(str(path.absolute()))}?mode=rw"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            location, uri=True, timeout=busy_limit_s, isolation_level=None, check_same_thread=False
        )
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "trusted_schema=OFF"):
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    url = sa.URL.create("sqlite", database=str(path.absolute()))
    engine = sa.create_engine(url, creator=connect)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: sa.Connection) -> None:
    """Begin for real: the driver would leave a reading transaction open to later commits."""
    mode = connection.get_execution_options().get(_BEGIN, "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")


def _create(connection: sa.Connection) -> None:
    """Make the tables and the head of an empty tree, unless they are there."""
    metadata.create_all(connection)
    if connection.execute(sa.select(head.c.size)).first() is None:
        connection.execute(head.insert().values(id=0, size=0, root=EMPTY_ROOT, frontier=b""))
