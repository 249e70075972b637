"""The log in one SQLite file: how it is opened, and what its errors mean.

WAL with `synchronous=FULL`: a commit that returned is on disk. Several processes may hold the
file; each writer takes the write lock before it reads the head.
"""

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

from audit.errors import LogTampered, LogUnavailable
from audit.turns import Turns

# What was deleted is overwritten: a shredded key must not linger in a free page.
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "trusted_schema=OFF", "secure_delete=ON")


def engine(path: Path, *, busy_limit_s: float, begin_option: str) -> sa.Engine:
    """Return an engine over the file. begin_option: the execution option of writers."""
    turns = Turns()

    def begin(connection: sa.Connection) -> None:
        """Begin for real: the driver would leave a reading transaction open to later commits."""
        if not connection.get_execution_options().get(begin_option):
            connection.exec_driver_sql("BEGIN DEFERRED")
            return
        try:
            # Whoever's turn did not come goes on all the same: the file's own lock decides.
            turns.take(id(connection), limit_s=busy_limit_s)
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except BaseException:
            turns.give_back(id(connection))
            raise
        turns.claim(id(connection))

    def ended(connection: sa.Connection) -> None:
        turns.give_back(id(connection))

    made = sa.create_engine(
        sa.URL.create("sqlite", database=str(path.absolute())),
        creator=lambda: _connected(path, busy_limit_s),
    )
    sa.event.listen(made, "begin", begin)
    # Told just before it happens: who is called next waits that long for the file's lock, alone.
    sa.event.listen(made, "commit", ended)
    sa.event.listen(made, "rollback", ended)
    return made


def _connected(path: Path, busy_limit_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode=rw",
        uri=True,
        timeout=busy_limit_s,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def create(path: Path) -> None:
    """Make the file if it is not there, readable by its owner alone.

    Raises:
        LogUnavailable: It cannot be made or opened.
    """
    _open(path, os.O_CREAT | os.O_RDWR)


def require(path: Path) -> None:
    """Require that the file is there, with something in it; it is not written to.

    Raises:
        LogUnavailable: It is not, or cannot be opened.
        LogTampered: It is empty.
    """
    _open(path, os.O_RDWR)
    # To SQLite an empty file is a new database.
    if path.stat().st_size == 0:
        raise LogTampered(f"The log {path} is empty. Restore its copy.")


def identity(engine: sa.Engine) -> tuple[tuple[int, int], ...]:
    """Identify the database and its write-ahead log by what their names point to now.

    Raises:
        LogUnavailable: One of them is gone.
    """
    path = engine.url.database or ""
    try:
        # Twice a batch: plain strings take a fifth of the time of paths.
        found = [os.stat(file) for file in (path, f"{path}-wal")]  # noqa: PTH116
    except OSError as error:
        raise LogUnavailable(f"The log's file is gone: {error.strerror}, {path}.") from None
    return tuple((each.st_dev, each.st_ino) for each in found)


def checkpoint(engine: sa.Engine) -> None:
    """Move the write-ahead log into the file and empty it, so that deleted bytes are gone.

    Raises:
        LogUnavailable: Somebody reads an older state at this moment.
    """
    connection = engine.raw_connection()
    try:
        busy = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.Error as error:
        raise LogUnavailable(f"The log cannot be used: {error}.") from error
    finally:
        connection.close()
    if busy:
        raise LogUnavailable("Somebody reads the log's deleted pages now. Try again.")


def damaged(error: BaseException) -> bool:
    """Return whether the driver's error says that the file is no database, or a damaged one."""
    # "malformed" and "not a database" have no class of their own in sqlite3, and text that is no
    # UTF-8 has no SQLite error code.
    return type(error) is sqlite3.DatabaseError or not hasattr(error, "sqlite_errorcode")


def _open(path: Path, flags: int) -> None:
    try:
        os.close(os.open(path, flags | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise LogUnavailable(
            f"The log {path} cannot be opened: {error.strerror}. If it is lost, restore its copy."
        ) from None
