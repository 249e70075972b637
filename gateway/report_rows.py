"""The tables of reports that were asked for and of schedules, and what their rows say.

They lie beside the log. A report's row says who asked for it, what became of it and which file it
is; the file lies in the home of the gateway that made it.
"""

import hashlib
import json
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from gateway import instants
from gateway.report_calendar import Cadence

metadata = sa.MetaData()
reports = sa.Table(
    "report",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("framework", sa.String(64), nullable=False),
    sa.Column("start_ms", sa.BigInteger),
    sa.Column("end_ms", sa.BigInteger),
    sa.Column("requested_ms", sa.BigInteger, nullable=False, index=True),
    sa.Column("requested_by", sa.String(160), nullable=False),
    sa.Column("schedule", sa.String(32)),
    sa.Column("maker", sa.String(16)),
    sa.Column("status", sa.String(8), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("finished_ms", sa.BigInteger),
    sa.Column("file", sa.String(128)),
    sa.Column("sha256", sa.String(64)),
    sa.Column("told", sa.Text),
)
schedules = sa.Table(
    "report_schedule",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("framework", sa.String(64), nullable=False),
    sa.Column("cadence", sa.String(16), nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    # Periods that begin before this have their report, or are to have none.
    sa.Column("since_ms", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("framework", "cadence"),
)

QUEUED, RUNNING, READY, FAILED = "queued", "running", "ready", "failed"


@dataclass(frozen=True, slots=True)
class Filed:
    """A report that was asked for.

    start, end: None where nobody named them. status: `queued`, `running`, `ready` or `failed`.
    maker: the home that makes it. told: counts and log when ready, why it failed otherwise.
    """

    id: str
    framework: str
    start: datetime | None
    end: datetime | None
    requested: datetime
    requested_by: str
    schedule: str | None
    maker: str | None
    status: str
    attempts: int
    finished: datetime | None
    file: str | None
    sha256: str | None
    told: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Schedule:
    """A report of each calendar period, from `since` on."""

    id: str
    framework: str
    cadence: Cadence
    created: datetime
    since: datetime


def maker(home: Path) -> str:
    """Name a home among those that share the tables, without telling where it is."""
    return hashlib.sha256(f"{socket.gethostname()}:{home.resolve()}".encode()).hexdigest()[:16]


def asked(
    framework: str, start: datetime | None, end: datetime | None, *, now: datetime
) -> dict[str, Any]:
    """Return the row of a report that waits; who asked and who is to make it are yet to be set."""
    return {
        "id": f"rep_{secrets.token_hex(12)}",
        "framework": framework,
        "start_ms": instants.milliseconds(start) if start else None,
        "end_ms": instants.milliseconds(end) if end else None,
        "requested_ms": instants.milliseconds(now),
        "status": QUEUED,
        "attempts": 0,
    }


def filed(row: Any) -> Filed:
    """Read a row of `reports`."""
    return Filed(
        id=row.id,
        framework=row.framework,
        start=_moment(row.start_ms),
        end=_moment(row.end_ms),
        requested=instants.moment(row.requested_ms),
        requested_by=row.requested_by,
        schedule=row.schedule,
        maker=row.maker,
        status=row.status,
        attempts=row.attempts,
        finished=_moment(row.finished_ms),
        file=row.file,
        sha256=row.sha256,
        told=json.loads(row.told) if row.told else {},
    )


def scheduled(row: Any) -> Schedule:
    """Read a row of `schedules`."""
    return Schedule(
        id=row.id,
        framework=row.framework,
        cadence=Cadence(row.cadence),
        created=instants.moment(row.created_ms),
        since=instants.moment(row.since_ms),
    )


def _moment(at_ms: int | None) -> datetime | None:
    return None if at_ms is None else instants.moment(at_ms)
