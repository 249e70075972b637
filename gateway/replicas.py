"""Minute limits of several gateways over one PostgreSQL: each tells what it let in, and learns.

Twice a second. In between a gateway admits by what it learned last, so for that long several may
together let in more than the limit; what was let in too much is owed, and nothing is let in before
it is made up for. A gateway that died is forgotten after ten seconds.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from audit import store

EXCHANGE_S = 0.5
FORGOTTEN_S = 10.0
_MINUTE_S = 60.0

metadata = sa.MetaData()
pace = sa.Table(
    "pace",
    metadata,
    sa.Column("subject", sa.String(128), primary_key=True),
    sa.Column("requests", sa.Double, nullable=False),
    sa.Column("tokens", sa.Double, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)
running = sa.Table(
    "running_requests",
    metadata,
    sa.Column("replica", sa.String(32), primary_key=True),
    sa.Column("subject", sa.String(128), primary_key=True),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)
# The database's own clock: gateways' clocks need not agree.
_NOW = sa.func.extract("epoch", sa.func.clock_timestamp())


@dataclass(frozen=True, slots=True)
class Told:
    """What a gateway let in of a subject since it last told. running: at this moment."""

    subject: str
    requests: float
    tokens: float
    requests_per_minute: int
    tokens_per_minute: int
    running: int


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a subject's minute, below 0 where it is owed."""

    subject: str
    requests: float
    tokens: float


@dataclass(frozen=True, slots=True)
class Learned:
    """left: of the subjects that were told. elsewhere: requests of any that other gateways run."""

    left: Sequence[Left] = ()
    elsewhere: Mapping[str, int] = field(default_factory=dict)


class Replicas:
    """One gateway's share in the exchange. Makes the tables where they are missing."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._name = secrets.token_hex(8)
        store.create_tables(engine, metadata)

    def exchange(self, told: Sequence[Told]) -> Learned:
        """Tell and learn. Blocks; for a thread.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: Nothing of it was told.
        """
        # In one order everywhere: two gateways never wait for each other's rows.
        ordered = sorted(told, key=lambda each: each.subject)
        with self._engine.begin() as connection:
            left = {each.subject: connection.execute(_spend(each)).one() for each in ordered}
            for each in ordered:
                connection.execute(self._count(each))
            elsewhere = self._elsewhere(connection)
        return Learned(
            [Left(name, row.requests, row.tokens) for name, row in left.items()], elsewhere
        )

    def leave(self) -> None:
        """Take this gateway's requests out of the account."""
        with self._engine.begin() as connection:
            connection.execute(running.delete().where(running.c.replica == self._name))

    def _count(self, told: Told) -> Any:
        row = {"replica": self._name, "subject": told.subject, "count": told.running, "at": _NOW}
        insert: Any = _insert(running).values(row)
        changed = {"count": insert.excluded.count, "at": insert.excluded.at}
        return insert.on_conflict_do_update(index_elements=["replica", "subject"], set_=changed)

    def _elsewhere(self, connection: sa.Connection) -> dict[str, int]:
        connection.execute(running.delete().where(running.c.at < _NOW - FORGOTTEN_S))
        others = (
            sa.select(running.c.subject, sa.func.sum(running.c["count"]).label("total"))
            .where(running.c.replica != self._name, running.c["count"] > 0)
            .group_by(running.c.subject)
        )
        return {row.subject: int(row.total) for row in connection.execute(others)}


def _spend(told: Told) -> Any:
    """Return the statement that fills a subject's buckets up to now and takes from them."""
    insert: Any = _insert(pace).values(
        subject=told.subject,
        requests=told.requests_per_minute - told.requests,
        tokens=told.tokens_per_minute - told.tokens,
        at=_NOW,
    )
    passed = _NOW - pace.c.at
    requests = _filled(pace.c.requests, told.requests_per_minute, passed) - told.requests
    tokens = _filled(pace.c.tokens, told.tokens_per_minute, passed) - told.tokens
    changed = {"requests": requests, "tokens": tokens, "at": _NOW}
    return insert.on_conflict_do_update(index_elements=["subject"], set_=changed).returning(
        pace.c.requests, pace.c.tokens
    )


def _filled(left: Any, per_minute: int, passed: Any) -> Any:
    return sa.func.least(float(per_minute), left + passed * (per_minute / _MINUTE_S))


def _insert(table: sa.Table) -> Any:
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - a lone gateway is spared it.

    return postgresql.insert(table)
