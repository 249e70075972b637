"""Which months and quarters are due, whatever the clock does."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.store import open_log
from gateway.errors import ScheduleExists, ScheduleUnknown
from gateway.report_calendar import Cadence, complete, running
from gateway.report_schedules import CATCH_UP, Schedules
from gateway.report_shelf import Shelf

MOMENTS = st.datetimes(
    min_value=datetime(2001, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone.
    max_value=datetime(2199, 1, 1),  # noqa: DTZ001 - As above.
    timezones=st.just(UTC),
)


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@given(MOMENTS, st.sampled_from(Cadence))
def test_running_period_holds_its_moment_and_borders_on_the_next(moment, cadence):
    span = running(cadence, moment)
    assert span.start <= moment < span.end
    assert running(cadence, span.end).start == span.end
    assert running(cadence, span.end - timedelta(microseconds=1)) == span


def test_quarters_are_those_of_the_calendar():
    span = running(Cadence.QUARTERLY, at("2026-12-31T23:59:59"))
    assert (span.start, span.end) == (at("2026-10-01"), at("2027-01-01"))


def test_ended_periods_come_oldest_first_and_bounded():
    found = complete(Cadence.MONTHLY, since=at("2026-01-01"), now=at("2026-04-01"), at_most=12)
    assert [f"{span.start:%Y-%m}" for span in found] == ["2026-01", "2026-02", "2026-03"]
    leapt = complete(Cadence.MONTHLY, since=at("2026-01-01"), now=at("2126-04-01"), at_most=12)
    assert len(leapt) == 12
    assert leapt[-1].end == at("2126-04-01")


@pytest.fixture
def tables(tmp_path):
    engine = open_log(tmp_path / "log.db")
    yield Schedules(engine), Shelf(engine)
    engine.dispose()


def periods(shelf):
    return sorted(f"{filed.start:%Y-%m}" for filed in shelf.newest())


def added(schedules, cadence, now):
    made = schedules.draw("hipaa", cadence, now=now)
    schedules.add(made)
    return made


def test_each_period_is_queued_once_and_none_before_the_schedule(tables):
    schedules, shelf = tables
    added(schedules, Cadence.MONTHLY, at("2026-01-20"))
    assert schedules.plan("m", now=at("2026-01-31T23:59:59")) == 0
    assert schedules.plan("m", now=at("2026-02-01")) == 1
    assert schedules.plan("n", now=at("2026-02-01")) == 0
    assert schedules.plan("m", now=at("2026-05-03")) == 3
    assert periods(shelf) == ["2026-01", "2026-02", "2026-03", "2026-04"]


def test_clock_that_leaps_and_comes_back_neither_floods_nor_ends_a_schedule(tables):
    schedules, shelf = tables
    added(schedules, Cadence.MONTHLY, at("2026-01-20"))
    assert schedules.plan("m", now=at("2100-01-01")) == CATCH_UP
    assert schedules.plan("m", now=at("2026-01-25")) == 0
    assert schedules.plan("m", now=at("2026-02-02")) == 1
    assert "2026-01" in periods(shelf)


def test_one_schedule_of_a_kind_and_none_of_an_unknown_id(tables):
    schedules, _ = tables
    made = added(schedules, Cadence.MONTHLY, at("2026-01-20"))
    assert schedules.every() == [made]
    with pytest.raises(ScheduleExists):
        added(schedules, Cadence.MONTHLY, at("2026-01-21"))
    # Two that look at the same moment both see none.
    with pytest.raises(ScheduleExists):
        schedules.add(replace(made, id="sch_other"))
    added(schedules, Cadence.QUARTERLY, at("2026-01-21"))
    schedules.require(made.id)
    schedules.remove(made.id)
    for refused in (schedules.require, schedules.remove):
        with pytest.raises(ScheduleUnknown):
            refused(made.id)
