"""Hours of traffic, rolled up and stored: what a report reads instead of the whole log.

An hour is written once, when it is over and every answer that began in it has ended. It holds
counts and times by tier, and nothing of any request. It stays when the log's months are pruned.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import sqlalchemy as sa

from audit.store import reading, told, writing
from gateway.insight.history import HOUR_MS, Hour, between, hours

# How long after its end an hour is still waited for: no answer takes longer.
SETTLED_MS = HOUR_MS
# A log that is older than its first roll-up is caught up with in steps, so that no pass is long.
MOST_HOURS = 24 * 31

metadata = sa.MetaData()
traffic = sa.Table(
    "traffic_hour",
    metadata,
    sa.Column("begins_ms", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("tier", sa.String(32), primary_key=True),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("failures", sa.BigInteger, nullable=False),
    sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
    sa.Column("completion_tokens", sa.BigInteger, nullable=False),
    sa.Column("latency_p50_ms", sa.Float, nullable=False),
    sa.Column("latency_p95_ms", sa.Float, nullable=False),
)
# One row: everything that began before this is rolled up.
progress = sa.Table(
    "traffic_progress",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("until_ms", sa.BigInteger, nullable=False),
)


def roll_up(engine: sa.Engine, *, now_ms: int) -> int:
    """Store the hours that are settled and not stored yet; return how many rows that made.

    Gateways that share a database may all call this. The log is read without a lock, so that
    nothing waits to be written meanwhile; the one that is first to store what it found stores it.

    Raises:
        LogUnavailable: The database cannot be used.
    """
    with told():
        _make_tables(engine)
        with reading(engine) as connection:
            begin = _until(connection)
            if begin is None:
                return 0
            end = min(_settled(now_ms), begin + MOST_HOURS * HOUR_MS)
            found = hours(
                each
                for each in between(connection, begin, end + SETTLED_MS)
                if begin <= each.began_ms < end
            )
        return _stored(engine, found, begin_ms=begin, end_ms=end) if end > begin else 0


def _make_tables(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        if sa.inspect(connection).has_table(progress.name):
            return
    # Under the log's lock: two gateways that start at once would both find them missing.
    with writing(engine).begin() as connection:
        metadata.create_all(connection)


def _stored(engine: sa.Engine, found: list[Hour], *, begin_ms: int, end_ms: int) -> int:
    with writing(engine).begin() as connection:
        if _until(connection) != begin_ms:
            return 0
        if found:
            connection.execute(traffic.insert(), [asdict(hour) for hour in found])
        connection.execute(progress.delete())
        connection.execute(progress.insert().values(id=0, until_ms=end_ms))
    return len(found)


def read(engine: sa.Engine) -> list[Hour]:
    """Return every hour: the stored ones, and those since, from the log.

    Raises:
        LogUnavailable: The database cannot be used.
    """
    with told(), engine.connect() as connection:
        if not sa.inspect(connection).has_table(progress.name):
            return hours(between(connection, 0, None))
        stored = connection.execute(sa.select(traffic).order_by(*traffic.primary_key)).all()
        until = _until(connection) or 0
        since = [e for e in between(connection, until, None) if e.began_ms >= until]
    return [*_rows(stored), *hours(since)]


def _until(connection: sa.Connection) -> int | None:
    """Return up to where hours are stored; at first, the log's first hour; None without any."""
    stored = connection.execute(sa.select(progress.c.until_ms)).scalar()
    if stored is not None:
        return int(stored)
    query = sa.text("SELECT min(time_ms) FROM leaf WHERE phase = 'outcome'")
    first = connection.execute(query).scalar()
    # The first to end may have begun in the hour before.
    return None if first is None else _hour(int(first)) - HOUR_MS


def _settled(now_ms: int) -> int:
    return _hour(now_ms - SETTLED_MS)


def _hour(time_ms: int) -> int:
    return time_ms // HOUR_MS * HOUR_MS


def _rows(stored: Sequence[sa.Row[tuple[object, ...]]]) -> Iterator[Hour]:
    for row in stored:
        yield Hour(**row._mapping)  # noqa: SLF001 - SQLAlchemy's name for a public part
