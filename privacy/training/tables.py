"""The ledger's database: SQLite or PostgreSQL, its tables, and how a writer excludes the others."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from privacy.training.errors import LedgerTampered, LedgerUnavailable

BUSY_LIMIT_S = 30.0
_DRIVER = "postgresql+psycopg"
GENESIS = bytes(32)

metadata = sa.MetaData()
head = sa.Table(
    "ledger_head",
    metadata,
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 0"), primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.LargeBinary(32), nullable=False),
)
entry = sa.Table(
    "ledger_entry",
    metadata,
    sa.Column("idx", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("signature", sa.LargeBinary(64), nullable=False),
)
account = sa.Table(
    "ledger_account",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("epsilon", sa.Double, nullable=False),
    sa.Column("delta", sa.Double, nullable=False),
    sa.Column("records", sa.BigInteger, nullable=False),
    sa.Column("rdp_order", sa.Integer),
    sa.Column("rdp", sa.Double, nullable=False),
    sa.Column("closed", sa.Boolean, nullable=False),
)
record = sa.Table(
    "ledger_record",
    metadata,
    sa.Column("fingerprint", sa.LargeBinary(16), primary_key=True),
    sa.Column("account", sa.Text, nullable=False, index=True),
)
run = sa.Table(
    "ledger_run",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("accounts", sa.Text, nullable=False),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("noise_multiplier", sa.Double, nullable=False),
    sa.Column("sampling_rate", sa.Double, nullable=False),
    sa.Column("planned", sa.BigInteger, nullable=False),
    sa.Column("leased", sa.BigInteger, nullable=False),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("settled", sa.Boolean, nullable=False),
)


def open_database(url: str) -> sa.Engine:
    """Open the ledger's database, its tables made if they are not there.

    url: `postgresql://…`, or the path of an SQLite file.

    Raises:
        LedgerUnavailable: It cannot be opened, or would lose what it acknowledged.
    """
    with told():
        engine = _postgres(url) if "://" in url else _sqlite(Path(url))
    try:
        with told(), engine.begin() as connection:
            _create(connection)
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Give a transaction that no other writer overlaps; it is durable once this returns.

    Raises:
        LedgerUnavailable: The database cannot be written; nothing was.
    """
    with told(), engine.begin() as connection:
        # SQLite's transactions begin IMMEDIATE; elsewhere the head's row is the lock.
        connection.execute(sa.select(head.c.id).with_for_update()).one()
        yield connection


@contextmanager
def told() -> Iterator[None]:
    """Turn the database's errors into the ledger's."""
    try:
        yield
    except sa.exc.DatabaseError as error:
        if type(error.orig) is sqlite3.DatabaseError:
            raise LedgerTampered(f"The ledger's database is damaged: {error.orig}.") from error
        raise LedgerUnavailable(f"The ledger cannot be used: {error.orig}.") from error
    except ModuleNotFoundError:
        raise LedgerUnavailable(
            "A ledger on PostgreSQL needs an extra: pip install 'sealgate[postgres]'."
        ) from None
    except (sa.exc.SQLAlchemyError, OSError) as error:
        raise LedgerUnavailable(f"The ledger cannot be used: {error}.") from error


def _create(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        # Two creations at once would both find no tables; the number is only this ledger's.
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(7262177265)"))
    metadata.create_all(connection)
    if connection.execute(sa.select(head.c.id)).first() is None:
        connection.execute(head.insert().values(id=0, size=0, hash=GENESIS))


def _postgres(url: str) -> sa.Engine:
    engine = sa.create_engine(sa.make_url(url).set(drivername=_DRIVER))

    @sa.event.listens_for(engine, "connect")
    def _require_durable(connection: Any, _: Any) -> None:
        with connection.cursor() as cursor:
            for setting in ("fsync", "synchronous_commit"):
                if cursor.execute(f"SHOW {setting}").fetchone()[0] == "off":
                    raise LedgerUnavailable(
                        f"The ledger's server has {setting} off and may forget what it "
                        "acknowledged. Turn it on."
                    )
        connection.rollback()

    return engine


def _sqlite(path: Path) -> sa.Engine:
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    location = f"file:{quote(str(path.absolute()))}?mode=rw"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            location, uri=True, timeout=BUSY_LIMIT_S, isolation_level=None, check_same_thread=False
        )
        # FULL: a lease that was granted is on disk, whatever happens to the machine.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "trusted_schema=OFF"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    url = sa.URL.create("sqlite", database=str(path.absolute()))
    engine = sa.create_engine(url, creator=connect)

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
