"""The log in a PostgreSQL database, for several gateway processes: locking and durability.

Writers take turns under one advisory lock, held by the transaction; readers see one snapshot.
A server that would acknowledge what a crash could lose is refused.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from audit.errors import LogUnavailable

# Names the log's lock among the advisory locks of its database.
LOCK = 0x5EA1_6A7E
# Waits for the turn to write, which lasts until the transaction ends. Taking it twice is harmless.
LOCKING = f"SELECT FROM pg_advisory_xact_lock({LOCK})"
# An execution option of ours: the longest wait for that turn, in seconds.
TURN_LIMIT = "sealgate_turn_limit_s"
CONNECT_LIMIT_S = 5
# A peer that is gone without a word, or a network that drops everything, is told within about 30 s
# by the kernel (libpq's connection parameters). A server that stands still is not: see
# `exchange.SILENCE_LIMIT_S`.
LIVENESS = {
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
DRIVER = "postgresql+psycopg"
# psycopg's `pq.Format.BINARY`; importing it would make the driver more than an extra.
_BINARY = 1
# What must not be off, or an acknowledged commit can be lost or torn.
DURABILITY = ("fsync", "full_page_writes", "synchronous_commit")
# What the database must keep text in.
ENCODING = "UTF8"


def engine(url: str, *, busy_limit_s: float, begin_option: str) -> sa.Engine:
    """Return an engine over the database. begin_option: the execution option of writers.

    Raises:
        LogUnavailable: The URL is none, or the driver is not installed.
    """
    try:
        parsed = sa.make_url(url).set(drivername=DRIVER)
        made = sa.create_engine(
            parsed,
            # A turn is waited for by a statement, and those behind it must see what came meanwhile,
            # whatever the database's own default is.
            isolation_level="READ COMMITTED",
            execution_options={TURN_LIMIT: busy_limit_s},
            connect_args={
                "connect_timeout": CONNECT_LIMIT_S,
                # The exchange sends and reads UTF-8, whatever the role or its environment prefers.
                "client_encoding": "utf8",
                **LIVENESS,
                "options": f"-c lock_timeout={round(busy_limit_s * 1000)}",
            },
        )
    except sa.exc.ArgumentError:
        raise LogUnavailable(
            "The database's URL cannot be read; it starts with postgresql://."
        ) from None
    except ModuleNotFoundError:
        raise LogUnavailable(
            "PostgreSQL needs its driver: pip install 'sealgate[postgres]'."
        ) from None

    def begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get(begin_option):
            connection.exec_driver_sql(LOCKING)

    sa.event.listen(made, "begin", begin)
    sa.event.listen(made, "connect", _require_fit)
    sa.event.listen(made, "connect", _stream_in_binary)
    return made


def _stream_in_binary(connection: Any, _record: object) -> None:
    """Have long results sent as they are: a body written in hex is twice as long."""

    class Cursor(connection.server_cursor_factory):  # type: ignore[misc]  # known at run time alone
        format = _BINARY

    connection.server_cursor_factory = Cursor


def damaged(error: BaseException) -> bool:
    """Return whether the server says that its files are corrupt (SQLSTATE class XX)."""
    return str(getattr(error, "sqlstate", "") or "").startswith("XX")


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows by COPY, which takes a third of the time of as many INSERTs.

    rows: all of the same members, each a column.

    Raises:
        LogUnavailable: The server does not take them.
    """
    names = list(rows[0])
    columns = ", ".join(f'"{name}"' for name in names)
    # SQLAlchemy does not speak COPY, nor does it see this driver's errors.
    driver: Any = connection.connection
    try:
        with (
            driver.cursor() as cursor,
            cursor.copy(f'COPY "{table.name}" ({columns}) FROM STDIN') as copy,
        ):
            for row in rows:
                copy.write_row([row[name] for name in names])
    except connection.dialect.loaded_dbapi.Error as error:
        raise LogUnavailable(f"The log cannot be used: {error}.") from error


def _require_fit(connection: Any, _record: object) -> None:
    """Refuse a server that may lose what it acknowledged, or a database that changes text."""
    with connection.cursor() as cursor:
        for name in DURABILITY:
            if _shown(cursor, name) == "off":
                raise LogUnavailable(
                    f"The database runs with {name}=off and would acknowledge entries that a "
                    "crash loses. Turn it on."
                )
        encoding = _shown(cursor, "server_encoding")
        if encoding != ENCODING:
            raise LogUnavailable(
                f"The database is encoded in {encoding}, and the log's text is {ENCODING}. Make "
                f"another one: CREATE DATABASE name ENCODING '{ENCODING}' TEMPLATE template0."
            )
    connection.rollback()


def _shown(cursor: Any, name: str) -> str:
    shown: str = cursor.execute(f"SHOW {name}").fetchone()[0]
    return shown
