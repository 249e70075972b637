"""Schedules of reports: one of each calendar month or quarter, queued once the period has ended."""

import secrets
from datetime import datetime

import sqlalchemy as sa

from audit import store
from gateway import instants
from gateway.errors import ScheduleExists, ScheduleUnknown
from gateway.report_calendar import Cadence, complete, running
from gateway.report_rows import (
    Schedule,
    asked,
    metadata,
    reports,
    scheduled,
    schedules,
)

# A gateway that was down for longer, or a clock that leaps, asks for no more of one schedule.
CATCH_UP = 12


class Schedules:
    """The table of schedules. Safe to use from several threads and processes."""

    def __init__(self, engine: sa.Engine) -> None:
        self._reading = engine
        self._engine = store.writing(engine)
        store.create_tables(engine, metadata)

    def every(self) -> list[Schedule]:
        """Return every schedule, the oldest first."""
        query = schedules.select().order_by(schedules.c.created_ms, schedules.c.id)
        with self._reading.connect() as connection:
            return [scheduled(row) for row in connection.execute(query)]

    def draw(self, framework: str, cadence: Cadence, *, now: datetime) -> Schedule:
        """Return a schedule of each period, beginning with the one that runs now: record it first.

        Raises:
            ScheduleExists: There is such a schedule.
        """
        if any((each.framework, each.cadence) == (framework, cadence) for each in self.every()):
            raise _exists(framework, cadence)
        since = running(cadence, now).start
        return Schedule(f"sch_{secrets.token_hex(8)}", framework, cadence, now, since)

    def add(self, schedule: Schedule) -> None:
        """Have a report made of each period of a schedule that was drawn and recorded.

        Raises:
            ScheduleExists: There is such a schedule by now.
        """
        row = {
            "id": schedule.id,
            "framework": schedule.framework,
            "cadence": schedule.cadence.value,
            "created_ms": instants.milliseconds(schedule.created),
            "since_ms": instants.milliseconds(schedule.since),
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(schedules.insert().values(**row))
        except sa.exc.IntegrityError:
            raise _exists(schedule.framework, schedule.cadence) from None

    def require(self, schedule_id: str) -> None:
        """Require that there is a schedule: record its end, then remove it.

        Raises:
            ScheduleUnknown: There is none of that id.
        """
        if all(each.id != schedule_id for each in self.every()):
            raise _unknown(schedule_id)

    def remove(self, schedule_id: str) -> None:
        """End a schedule; reports that were made stay.

        Raises:
            ScheduleUnknown: There is none of that id.
        """
        with self._engine.begin() as connection:
            found = connection.execute(schedules.delete().where(schedules.c.id == schedule_id))
        if found.rowcount == 0:
            raise _unknown(schedule_id)

    def plan(self, maker: str, *, now: datetime) -> int:
        """Queue a report of every scheduled period that has ended and has none; return how many.

        In one transaction with the note that they are queued: no period is skipped by a crash,
        and none has two reports from two gateways.
        """
        with self._engine.begin() as connection:
            found = [scheduled(row) for row in connection.execute(schedules.select())]
            return sum(_planned(connection, each, maker=maker, now=now) for each in found)


def _planned(connection: sa.Connection, schedule: Schedule, *, maker: str, now: datetime) -> int:
    present = running(schedule.cadence, now).start
    spans = complete(schedule.cadence, since=schedule.since, now=now, at_most=CATCH_UP)
    for span in spans:
        row = asked(schedule.framework, span.start, span.end, now=now) | {
            "requested_by": "schedule",
            "schedule": schedule.id,
            "maker": maker,
        }
        connection.execute(reports.insert().values(**row))
    # Back as well as on: a clock that leapt ahead and came back must not leave the schedule
    # waiting for the day it showed.
    if schedule.since != present:
        connection.execute(
            schedules.update()
            .where(schedules.c.id == schedule.id)
            .values(since_ms=instants.milliseconds(present))
        )
    return len(spans)


def _exists(framework: str, cadence: Cadence) -> ScheduleExists:
    return ScheduleExists(f"There is a {cadence.value} schedule for {framework} already.")


def _unknown(schedule_id: str) -> ScheduleUnknown:
    return ScheduleUnknown(
        f"There is no schedule {schedule_id!r}. `sealgate report schedule list` shows them."
    )
