"""A log of millions: figures take one pass, and memory does not grow with the entries."""

import itertools
import sqlite3
import tracemalloc
from contextlib import closing

import pytest

from audit.controls.catalogue import load
from audit.controls.examination import examine
from audit.controls.records import STATEMENTS, opened
from audit.controls.scope import Facts, LogState, Period
from audit.controls.tables import TABLES


@pytest.fixture(scope="module")
def tables():
    with closing(sqlite3.connect("")) as connection:
        connection.execute("CREATE TABLE leaf (idx INTEGER PRIMARY KEY, body TEXT NOT NULL)")
        connection.executescript(TABLES)
        yield connection


def scans_within(plan):
    """Yield what a plan scans anew for each row of what is around it."""
    parents = {each[0]: each[1] for each in plan}
    correlated = {each[0] for each in plan if each[3].startswith("CORRELATED")}
    for number, parent, _, what in plan:
        if what.startswith("SCAN") and "VIRTUAL TABLE" not in what:
            around = parent
            while around:
                if around in correlated:
                    yield number, what
                around = parents[around]


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_figure_reads_a_table_again_for_each_row(tables, name):
    plan = tables.execute(f"EXPLAIN QUERY PLAN {STATEMENTS[name]}", {"start": 0, "end": 1})
    assert list(scans_within(plan.fetchall())) == []


def test_plan_that_reads_again_is_noticed(tables):
    query = "SELECT idx FROM event AS e WHERE EXISTS (SELECT 1 FROM leaf WHERE body = e.phase)"
    plan = tables.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
    assert list(scans_within(plan)) != []


def peak(log, period, size):
    """Return the most memory that an examination of so many entries takes, in bytes."""
    # What a gateway does for itself is listed, each start and each sealing; requests are counted.
    asked = [each for each in log.entries if each["sealgate"]["phase"] in ("intent", "outcome")]
    again = ({**event, "time": period.start_ms} for event in itertools.cycle(asked))
    events = enumerate(itertools.islice(again, size))
    state = LogState(log.state.origin, size, log.state.root_hex, "", verified=True)
    tracemalloc.start()
    try:
        with opened(events, period=period, log=state, facts=Facts()) as records:
            examine(load("hipaa"), records)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_log(good_log):
    start = good_log.at.replace(day=1, hour=0, minute=0, second=0)
    period = Period(start, start.replace(day=28))
    # The first one also imports and caches.
    peak(good_log, period, 500)
    small, large = peak(good_log, period, 1_000), peak(good_log, period, 9_000)
    assert large - small < 8_000 * 8
