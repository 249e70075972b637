"""Templates into HTML: everything is escaped, and a name that is missing is an error."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_HERE = Path(__file__).parent
STATIC = _HERE / "static"
# No line ends between a number and its sign.
_SPACE = "\u00a0"


class Templates:
    """The console's templates, compiled once."""

    def __init__(self) -> None:
        self._environment = Environment(
            autoescape=True,
            loader=FileSystemLoader(_HERE / "templates"),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "moment": moment,
            "iso": iso,
            "number": number,
            "share": share,
        }
        self._environment.globals["asset"] = asset

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """Return a template's HTML."""
        return self._environment.get_template(name).render(values)


def moment(value: datetime | int | None) -> str:
    """Write a moment, or milliseconds since 1970, for people, in UTC."""
    if value is None:
        return "—"
    return _utc(value).strftime("%Y-%m-%d %H:%M:%S")


def iso(value: datetime | int) -> str:
    """Write it for machines (RFC 3339)."""
    return _utc(value).isoformat(timespec="seconds")


def number(value: float | None) -> str:
    """Write a number with its thousands apart."""
    if value is None:
        return "—"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"


def share(part: float, whole: float) -> str:
    """Write a part of a whole in per cent; a dash where there is no whole."""
    if not whole:
        return "—"
    percent = 100 * part / whole
    # What is not all must not read as all, nor something as nothing.
    if 0 < percent < 0.1:  # noqa: PLR2004 - The last digit shown.
        return f"< 0.1{_SPACE}%"
    if 99.9 < percent < 100:  # noqa: PLR2004
        return f"> 99.9{_SPACE}%"
    digits = 0 if percent in (0, 100) else 1
    return f"{percent:.{digits}f}{_SPACE}%"


@cache
def asset(name: str) -> str:
    """Return the address of a file of `static/`, which changes with its content."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:16]
    return f"/console/static/{name}?v={digest}"


def _utc(value: datetime | int) -> datetime:
    if isinstance(value, int):
        return datetime.fromtimestamp(value / 1000, UTC)
    return value.astimezone(UTC)
