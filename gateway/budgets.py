"""What each subject spent today, in tokens: in memory, and in the database for the next start.

Several gateways over one database see each other's spending at every flush. A gateway that is
killed forgets what it spent since its last one.
"""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from threading import Lock
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from audit import store

metadata = sa.MetaData()
spending = sa.Table(
    "spending",
    metadata,
    sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("subject", sa.String(128), primary_key=True),
    sa.Column("tokens", sa.BigInteger, nullable=False),
)


class Budgets:
    """Counts tokens by subject and day (UTC). now: the current moment, in UTC."""

    def __init__(self, engine: sa.Engine, *, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._now = now
        self._lock = Lock()
        store.create_tables(engine, metadata)
        self._day = self._today()
        self._spent = Counter(self._stored(self._day))
        self._unwritten: Counter[str] = Counter()

    def spent(self, subject: str) -> int:
        """Return what the subject spent today."""
        with self._lock:
            self._turn_day()
            return self._spent[subject]

    def spend(self, subject: str, tokens: int) -> None:
        """Add what was spent, or give back what was not, by a negative number."""
        with self._lock:
            self._turn_day()
            self._spent[subject] += tokens
            self._unwritten[subject] += tokens

    def flush(self) -> None:
        """Write what is new, and learn what other gateways wrote. Blocks; for a thread."""
        with self._lock:
            self._turn_day()
            day, unwritten, self._unwritten = self._day, self._unwritten, Counter()
        changes = {subject: tokens for subject, tokens in unwritten.items() if tokens}
        try:
            self._write(day, changes)
            stored = self._stored(day)
        except sa.exc.SQLAlchemyError:
            with self._lock:
                self._unwritten.update(changes)
            raise
        with self._lock:
            if self._day == day:
                self._spent = Counter(stored)
                self._spent.update(self._unwritten)

    def _write(self, day: str, changes: dict[str, int]) -> None:
        if not changes:
            return
        rows = [{"day": day, "subject": s, "tokens": t} for s, t in sorted(changes.items())]
        with store.changing(self._engine).begin() as connection:
            connection.execute(_adding(self._engine.dialect.name), rows)

    def _stored(self, day: str) -> dict[str, int]:
        query = sa.select(spending.c.subject, spending.c.tokens).where(spending.c.day == day)
        with self._engine.connect() as connection:
            return {row.subject: row.tokens for row in connection.execute(query)}

    def _turn_day(self) -> None:
        """Begin a new day's count. What yesterday left unwritten no longer binds anyone."""
        today = self._today()
        if today != self._day:
            self._day, self._spent, self._unwritten = today, Counter(), Counter()

    def _today(self) -> str:
        return self._now().date().isoformat()


def _adding(dialect: str) -> Any:
    """Return the statement that adds tokens to a row, or makes it."""
    insert: Any = _insert(dialect)
    return insert.on_conflict_do_update(
        index_elements=["day", "subject"],
        set_={"tokens": spending.c.tokens + insert.excluded.tokens},
    )


def _insert(dialect: str) -> Any:
    if dialect != "postgresql":
        return sqlite.insert(spending)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - a log in a file is spared it.

    return postgresql.insert(spending)
