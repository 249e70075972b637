"""What happened on each day, counted from the log's entries as they come.

Only entries that are new since the last look are read: the first look reads the window's days, and
at most `FIRST_LIMIT` entries. Counting is for people to see; a report counts anew, from everything.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa

from audit import store

WINDOW = timedelta(days=30)
FIRST_LIMIT = 500_000
_BATCH = 2_000
_leaf = store.leaf.c


@dataclass(slots=True)
class Day:
    """One day in UTC. Requests count by their intent, answers by their outcome.

    classes, marks, refusals, endings: how many of each data class, mark, reason, ending. stopped:
    sandboxes that did not leave by themselves, by how they ended.
    """

    requests: int = 0
    answered: int = 0
    denied: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    stopped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Tally:
    """The window's days, the oldest first, each present. partial: older entries were not read."""

    days: Sequence[tuple[date, Day]]
    partial: bool

    def total(self, name: str) -> int:
        """Add a count up over the days."""
        return sum(getattr(day, name) for _, day in self.days)

    def totals(self, name: str) -> Counter[str]:
        """Add counts up over the days, each word apart."""
        added: Counter[str] = Counter()
        for _, day in self.days:
            added.update(getattr(day, name))
        return added


class _Choice(msgspec.Struct):
    mark: str = "unmarked"
    sandbox: dict[str, Any] = {}


class _Own(msgspec.Struct):
    phase: str
    reason: str = ""
    data_class: str = "unclassified"
    ending: str = ""
    choices: list[_Choice] = []


class _Event(msgspec.Struct):
    sealgate: _Own


class Daybook:
    """Counts of one log. Safe to use from several threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._days: dict[date, Day] = {}
        self._next: int | None = None
        self._partial = False
        self._decoder = msgspec.json.Decoder(_Event)

    def tally(self, *, now: datetime) -> Tally:
        """Read what is new, and return the counts of the days up to today.

        Raises:
            LogUnavailable, LogTampered: The log cannot be read.
        """
        today = now.astimezone(UTC).date()
        with self._lock:
            start = self._beginning(now) if self._next is None else self._next
            for idx, time_ms, body in self._entries(start):
                self._next = idx + 1
                self._count(datetime.fromtimestamp(time_ms / 1000, UTC).date(), body)
            first = today - WINDOW + timedelta(days=1)
            self._days = {day: kept for day, kept in self._days.items() if day >= first}
            shown = (first + timedelta(days=number) for number in range(WINDOW.days))
            days = tuple((day, _copy(self._days.get(day, Day()))) for day in shown)
            return Tally(days, self._partial)

    def _beginning(self, now: datetime) -> int:
        """Return the first entry that the window is about, or the first that is read at all."""
        start_ms = int((now - WINDOW).timestamp() * 1000)
        with store.reading(self._engine) as connection:
            size = connection.execute(sa.select(store.head.c.size)).scalar_one()
            oldest = sa.select(sa.func.min(_leaf.idx)).where(_leaf.time_ms >= start_ms)
            first = connection.execute(oldest).scalar()
        first = size if first is None else first
        self._partial = size - first > FIRST_LIMIT
        self._next = max(first, size - FIRST_LIMIT)
        return self._next

    def _entries(self, start: int) -> Iterator[tuple[int, int, bytes]]:
        query = (
            sa.select(_leaf.idx, _leaf.time_ms, _leaf.body)
            .where(
                _leaf.idx >= start, _leaf.phase.in_(("intent", "outcome", "recovered", "denied"))
            )
            .order_by(_leaf.idx)
        )
        with (
            store.reading(self._engine) as connection,
            connection.execute(query, execution_options={"yield_per": _BATCH}) as rows,
        ):
            yield from ((row.idx, row.time_ms, row.body) for row in rows)

    def _count(self, day: date, body: bytes) -> None:
        try:
            own = self._decoder.decode(body).sealgate
        except msgspec.MsgspecError:
            # An entry of another shape counts nowhere; `sealgate audit verify` says what it is.
            return
        kept = self._days.setdefault(day, Day())
        match own.phase:
            case "intent":
                kept.requests += 1
                kept.classes[own.data_class] += 1
            case "denied":
                kept.denied += 1
                kept.refusals[own.reason] += 1
            case _:
                kept.answered += own.ending == "completed"
                kept.endings[own.ending] += 1
                kept.marks.update(choice.mark for choice in own.choices)
                kept.stopped.update(_stopped(own.choices))


def _stopped(choices: Sequence[_Choice]) -> Iterator[str]:
    """Yield how sandboxes ended that were killed: by the filter, by a signal, or unseen."""
    for choice in choices:
        end = choice.sandbox.get("end")
        if isinstance(end, dict) and end.get("how") not in (None, "exit", "left"):
            yield str(end["how"])


def _copy(day: Day) -> Day:
    """Return a day that later entries do not change."""
    return Day(
        day.requests,
        day.answered,
        day.denied,
        *(Counter(c) for c in (day.classes, day.marks, day.refusals, day.endings, day.stopped)),
    )
