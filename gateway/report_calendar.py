"""Calendar periods that reports are made of again and again, in UTC. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

_MONTHS = 12


class Cadence(StrEnum):
    """How often: after each calendar month, or after each quarter of the year."""

    MONTHLY = "monthly"
    QUARTERLY = "quarterly"

    @property
    def months(self) -> int:
        """How many months one period has."""
        return 1 if self is Cadence.MONTHLY else 3


@dataclass(frozen=True, slots=True)
class Span:
    """A calendar period. end: the first moment after it."""

    start: datetime
    end: datetime


def running(cadence: Cadence, at: datetime) -> Span:
    """Return the period that a moment lies in."""
    moment = at.astimezone(UTC)
    month = (moment.month - 1) // cadence.months * cadence.months
    first = moment.year * _MONTHS + month
    return Span(_first_of(first), _first_of(first + cadence.months))


def complete(cadence: Cadence, *, since: datetime, now: datetime, at_most: int) -> list[Span]:
    """Return the periods that began at or after `since` and have ended, the oldest first.

    at_most: the newest so many; a clock that leaps a century ahead asks for no thousand reports.
    """
    spans: list[Span] = []
    span = _before(cadence, running(cadence, now))
    while span.start >= since and len(spans) < at_most:
        spans.append(span)
        span = _before(cadence, span)
    return spans[::-1]


def _before(cadence: Cadence, span: Span) -> Span:
    first = span.start.year * _MONTHS + span.start.month - 1
    return Span(_first_of(first - cadence.months), span.start)


def _first_of(months: int) -> datetime:
    return datetime(months // _MONTHS, months % _MONTHS + 1, 1, tzinfo=UTC)
