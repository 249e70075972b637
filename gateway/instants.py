"""Moments as tables and entries hold them: whole milliseconds since 1970, in UTC."""

from datetime import UTC, datetime


def milliseconds(moment: datetime) -> int:
    """Return a moment as it is held."""
    return int(moment.timestamp() * 1000)


def moment(time_ms: int) -> datetime:
    """Return a held moment."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def written(time_ms: int) -> str:
    """Write a held moment for a person (RFC 3339, to the second)."""
    return moment(time_ms).isoformat(timespec="seconds")
