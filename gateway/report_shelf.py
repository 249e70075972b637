"""The queue and the shelf of reports: asked for, taken once, ready or failed with a reason.

Several gateways may share the table, and each makes its own.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from audit import store
from gateway import instants
from gateway.errors import ReportUnknown
from gateway.report_rows import (
    FAILED,
    QUEUED,
    READY,
    RUNNING,
    Filed,
    asked,
    filed,
    metadata,
    reports,
)

# What kills its maker again and again is not tried for ever.
ATTEMPTS = 3
LISTED = 200


class Shelf:
    """The table of reports. Safe to use from several threads and processes."""

    def __init__(self, engine: sa.Engine) -> None:
        self._reading = engine
        self._engine = store.writing(engine)
        store.create_tables(engine, metadata)

    def ask(
        self,
        framework: str,
        *,
        start: datetime | None,
        end: datetime | None,
        requested_by: str,
        maker: str,
        now: datetime,
    ) -> Filed:
        """Put a report into a gateway's queue; it is there when this returns."""
        row = asked(framework, start, end, now=now) | {
            "requested_by": requested_by,
            "maker": maker,
        }
        with self._engine.begin() as connection:
            connection.execute(reports.insert().values(**row))
        return self.find(row["id"])

    def enter(
        self,
        framework: str,
        *,
        start: datetime | None,
        end: datetime | None,
        requested_by: str,
        maker: str,
        now: datetime,
        file: str,
        sha256: str,
        told: Mapping[str, Any],
    ) -> Filed:
        """File a report that was made without being asked for here, as the command line's."""
        row = asked(framework, start, end, now=now) | {
            "requested_by": requested_by,
            "maker": maker,
            "status": READY,
            "finished_ms": instants.milliseconds(now),
            "file": file,
            "sha256": sha256,
            "told": json.dumps(told),
        }
        with self._engine.begin() as connection:
            connection.execute(reports.insert().values(**row))
        return self.find(row["id"])

    def find(self, report_id: str) -> Filed:
        """Return a report.

        Raises:
            ReportUnknown: There is none of that id.
        """
        with self._reading.connect() as connection:
            row = connection.execute(reports.select().where(reports.c.id == report_id)).first()
        if row is None:
            raise ReportUnknown(f"No report {report_id[:40]!r} was asked for.")
        return filed(row)

    def newest(self, *, limit: int = LISTED) -> list[Filed]:
        """Return the newest reports, the newest first."""
        query = reports.select().order_by(reports.c.requested_ms.desc(), reports.c.id).limit(limit)
        with self._reading.connect() as connection:
            return [filed(row) for row in connection.execute(query)]

    def waiting(self, maker: str) -> int:
        """Return how many reports a gateway has yet to make."""
        query = sa.select(sa.func.count()).where(
            reports.c.maker == maker, reports.c.status.in_((QUEUED, RUNNING))
        )
        with self._reading.connect() as connection:
            return connection.execute(query).scalar_one()

    def take(self, maker: str) -> Filed | None:
        """Take the oldest report that waits for this gateway; it is `running` from now on."""
        query = (
            reports.select()
            .where(reports.c.maker == maker, reports.c.status == QUEUED)
            .order_by(reports.c.requested_ms, reports.c.id)
            .limit(1)
        )
        with self._engine.begin() as connection:
            row = connection.execute(query).first()
            if row is None:
                return None
            taken = {"status": RUNNING, "attempts": row.attempts + 1}
            connection.execute(reports.update().where(reports.c.id == row.id).values(**taken))
        return self.find(row.id)

    def resume(self, maker: str, *, now: datetime) -> None:
        """Queue again what a gateway that stopped was making, unless that was tried enough."""
        own = (reports.c.maker == maker) & (reports.c.status == RUNNING)
        spent = own & (reports.c.attempts >= ATTEMPTS)
        why = json.dumps({"problem": "The gateway stopped each time while it made this report."})
        failed = {"status": FAILED, "finished_ms": instants.milliseconds(now), "told": why}
        with self._engine.begin() as connection:
            connection.execute(reports.update().where(spent).values(**failed))
            connection.execute(reports.update().where(own).values(status=QUEUED))

    def finish(
        self, report_id: str, *, file: str, sha256: str, told: Mapping[str, Any], now: datetime
    ) -> None:
        """Note that a report lies there, signed and recorded."""
        self._end(report_id, READY, told, now, file=file, sha256=sha256)

    def fail(self, report_id: str, *, problem: str, now: datetime) -> None:
        """Note why there will be no report."""
        self._end(report_id, FAILED, {"problem": problem}, now)

    def _end(
        self, report_id: str, status: str, told: Mapping[str, Any], now: datetime, **more: str
    ) -> None:
        ended = {
            "status": status,
            "finished_ms": instants.milliseconds(now),
            "told": json.dumps(told),
            **more,
        }
        with self._engine.begin() as connection:
            connection.execute(reports.update().where(reports.c.id == report_id).values(**ended))
