"""A log's entries, loaded into a private SQLite database, and the figures queried from them.

The queries decide nothing; `audit.controls.queries` does. The database is temporary and goes
with its connection: SQLite keeps what does not fit in memory in a file without a name.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any

from audit.controls.errors import EventMalformed
from audit.controls.scope import Facts, LogState, Period
from audit.controls.statements import ACCESS, LOG, TRAFFIC
from audit.controls.statements_custody import ANSWERS, CUSTODY
from audit.controls.statements_privacy import OVERSIGHT, PRIVACY
from audit.controls.tables import TABLES
from audit.controls.verdicts import Figure

STATEMENTS: Mapping[str, str] = {
    **LOG,
    **TRAFFIC,
    **ACCESS,
    **CUSTODY,
    **ANSWERS,
    **PRIVACY,
    **OVERSIGHT,
}
# Not queries of the log: what verification and the operator said when the report was made.
GIVEN = {
    "log_state": "Given by the log's verification when the report was made.",
    "system_facts": "Given by the gateway when the report was made; not part of the log.",
}

# RFC 8785, section 3.2.2.3, after IEEE 754: integers below this are the same everywhere.
EXACT = 2**53

Event = Mapping[str, Any]


class Records:
    """The figures of one period. Each is computed once, when it is first asked for."""

    def __init__(
        self, connection: sqlite3.Connection, *, period: Period, log: LogState, facts: Facts
    ) -> None:
        self.period = period
        self.log = log
        self.facts = facts
        self._connection = connection
        self._figures: dict[str, Figure] = {}

    def figure(self, name: str) -> Figure:
        """Return a figure; its data is a list of rows, or an object for what was given."""
        if name not in self._figures:
            self._figures[name] = self._compute(name)
        return self._figures[name]

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return a query's rows."""
        rows: list[dict[str, Any]] = self.figure(name).data
        return rows

    def row(self, name: str) -> dict[str, Any]:
        """Return the only row of a query that always has one."""
        return self.rows(name)[0]

    def all_figures(self) -> tuple[Figure, ...]:
        """Return every figure, by name."""
        return tuple(self.figure(name) for name in sorted({*STATEMENTS, *GIVEN}))

    def _compute(self, name: str) -> Figure:
        if name == "log_state":
            return Figure(name, GIVEN[name], _log_data(self.log))
        if name == "system_facts":
            return Figure(name, GIVEN[name], self.facts.as_data())
        statement = STATEMENTS[name]
        bounds = {"start": self.period.start_ms, "end": self.period.end_ms}
        cursor = self._connection.execute(statement, bounds)
        columns = [column[0] for column in cursor.description]
        return Figure(
            name, statement, [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
        )


@contextmanager
def opened(
    events: Iterable[tuple[int, Event]], *, period: Period, log: LogState, facts: Facts
) -> Iterator[Records]:
    """Load a log's entries and yield their records.

    Args:
        events: (index, event) of the whole log, not only of the period: whether an outcome has
            its intent, and which state a period began in, depends on what came before. Entries
            at or beyond the verified size are left aside, since no checkpoint covers them.
        period: what the figures cover.
        log: what verification found.
        facts: the system's state.

    Raises:
        EventMalformed: an entry without time or phase, with an inexact number, or given twice.
            From a log that did not verify, all but the last are left aside instead.
    """
    with closing(sqlite3.connect("")) as connection:
        connection.execute("CREATE TABLE leaf (idx INTEGER PRIMARY KEY, body TEXT NOT NULL)")
        leaves = _whole(events, log) if log.trusted else _salvaged(events, log)
        try:
            connection.executemany("INSERT INTO leaf VALUES (?, ?)", leaves)
        except sqlite3.IntegrityError as error:
            raise EventMalformed(
                "two entries have the same index; read the log again, once"
            ) from error
        connection.executescript(TABLES)
        yield Records(connection, period=period, log=log, facts=facts)


def _whole(events: Iterable[tuple[int, Event]], log: LogState) -> Iterator[tuple[int, str]]:
    return (_leaf(index, event) for index, event in events if index < log.size)


def _salvaged(events: Iterable[tuple[int, Event]], log: LogState) -> Iterator[tuple[int, str]]:
    """Leave aside what is no event: a log that was tampered with must still get its report."""
    for index, event in events:
        if index < log.size:
            with suppress(EventMalformed):
                yield _leaf(index, event)


def _leaf(index: int, event: Event) -> tuple[int, str]:
    _check(index, event)
    return index, json.dumps(event, default=_refuse)


def _check(index: int, event: Event) -> None:
    if not isinstance(event, Mapping):
        raise EventMalformed(f"entry {index} is no object")
    sealgate = event.get("sealgate")
    phase = sealgate.get("phase") if isinstance(sealgate, Mapping) else None
    time_ms = event.get("time")
    if not isinstance(time_ms, int) or isinstance(time_ms, bool) or time_ms < 0:
        raise EventMalformed(f"entry {index} has no time in milliseconds")
    if not isinstance(phase, str):
        raise EventMalformed(f"entry {index} has no phase")
    if _is_inexact(event):
        raise EventMalformed(
            f"entry {index} holds a number that is no integer below 2^53, which not every reader "
            "of JSON keeps exact"
        )


def _is_inexact(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_is_inexact, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_is_inexact, value))
    return isinstance(value, float) or (isinstance(value, int) and abs(value) >= EXACT)


def _refuse(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise EventMalformed(f"an entry holds a {type(value).__name__}, which is not JSON")


def _log_data(log: LogState) -> dict[str, Any]:
    return {
        "origin": log.origin,
        "size": log.size,
        "root": log.root_hex,
        "verified": log.verified,
        "anchored": log.anchored,
        "problem": log.problem or "",
    }
