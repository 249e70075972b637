"""Figures: that a stranger gets the same ones, and that what is no event is refused."""

import hashlib
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from audit.controls.errors import EventMalformed, FactsMalformed, PeriodInvalid
from audit.controls.records import GIVEN, STATEMENTS, opened
from audit.controls.scope import LogState, Period, facts
from audit.controls.tables import TABLES

START = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)
NOVEMBER = Period(START, START + 30 * DAY)


def _state(size):
    return LogState("o", size, "00", "note", verified=True)


def _figures(events, *, period=NOVEMBER, size=None):
    size = len(events) if size is None else size
    with opened(events, period=period, log=_state(size), facts=facts({})) as records:
        return {figure.name: figure for figure in records.all_figures()}


def test_stranger_recomputes_every_figure_from_stored_bytes(good_log):
    figures = _figures(good_log.events)
    bounds = {"start": NOVEMBER.start_ms, "end": NOVEMBER.end_ms}
    with closing(sqlite3.connect(":memory:")) as stranger:
        stranger.row_factory = sqlite3.Row
        stranger.execute("CREATE TABLE stored (idx INTEGER PRIMARY KEY, body BLOB)")
        stored = [(index, rfc8785.dumps(event)) for index, event in good_log.events]
        stranger.executemany("INSERT INTO stored VALUES (?, ?)", stored)
        stranger.execute("CREATE TABLE leaf AS SELECT idx, CAST(body AS TEXT) AS body FROM stored")
        stranger.executescript(TABLES)
        for name in STATEMENTS:
            rows = [dict(row) for row in stranger.execute(figures[name].query, bounds)]
            digest = hashlib.sha256(rfc8785.dumps(rows)).hexdigest()
            assert digest == figures[name].sha256, name


def test_every_figure_is_canonical_json_without_floats(good_log):
    for figure in _figures(good_log.events).values():
        assert json.loads(rfc8785.dumps(figure.data), parse_float=pytest.fail) == figure.data


def test_every_figure_is_ordered_by_its_query():
    assert [name for name, text in STATEMENTS.items() if "GROUP BY" in text
            and "ORDER BY" not in text.rsplit("GROUP BY", 1)[1]] == []  # fmt: skip


def test_order_in_which_entries_arrive_changes_nothing(good_log):
    forwards, backwards = _figures(good_log.events), _figures(good_log.events[::-1])
    assert forwards == backwards


def test_counts_agree_with_the_entries(good_log):
    figures = _figures(good_log.events)
    phases = {row["phase"]: row["events"] for row in figures["events_by_phase"].data}
    assert phases == {"access": 1, "denied": 2, "intent": 5, "outcome": 5, "system": 6}
    assert figures["daily_volume"].data == [
        {"day": "2026-11-01", "answered": 4, "denied": 2, "failed": 1}
    ]
    marks = {row["mark"]: row["choices"] for row in figures["mark_coverage"].data}
    assert marks == {"traceable": 2, "unmarked": 1, "weak": 1}


def test_vectors_count_as_answers_but_not_towards_the_marks(empty_log):
    user = empty_log.client()
    empty_log.answer(user, operation="embeddings.create", mark="unmarked", trace_id=None)
    empty_log.answer(user)
    figures = _figures(empty_log.events)
    assert figures["choice_records"].data[0]["choices"] == 2
    assert figures["mark_coverage"].data == [{"mark": "traceable", "choices": 1, "tokens": 40}]


def test_period_includes_its_start_and_excludes_its_end(empty_log):
    for at in (START - timedelta(milliseconds=1), START, START + 30 * DAY):
        empty_log.at = at
        empty_log.denied()
    assert _figures(empty_log.events)["entries_read"].data[0]["in_period"] == 1


def test_period_is_the_same_moment_in_any_zone():
    east = timezone(timedelta(hours=9))
    assert Period(START.astimezone(east), START + DAY).start_ms == NOVEMBER.start_ms


@given(st.lists(st.integers(0, 60_000), min_size=1, max_size=40))
def test_latency_classes_hold_every_answer_and_percentiles_are_answers(latencies):
    events = [
        (
            at,
            {
                "time": NOVEMBER.start_ms + at,
                "sealgate": {"phase": "outcome", "ending": "completed", "latency_ms": latency},
            },
        )
        for at, latency in enumerate(latencies)
    ]
    figures = _figures(events)
    assert sum(row["answers"] for row in figures["latency"].data) == len(latencies)
    row = figures["latency_summary"].data[0]
    ordered = sorted(latencies)
    assert row["median_ms"] == ordered[(len(ordered) + 1) // 2 - 1]
    assert row["p95_ms"] == ordered[-(-95 * len(ordered) // 100) - 1]


def test_account_of_an_operator_is_in_no_figure(good_log):
    good_log.access({"uid": "operator", "name": "m.muster", "type": "operator"}, "audit.verify")
    figures = _figures(good_log.events)
    assert "m.muster" not in json.dumps([figure.data for figure in figures.values()])


@pytest.mark.parametrize(
    "event",
    [
        {"sealgate": {"phase": "denied"}},
        {"time": True, "sealgate": {"phase": "denied"}},
        {"time": "1", "sealgate": {"phase": "denied"}},
        {"time": -1, "sealgate": {"phase": "denied"}},
        {"time": 1},
        {"time": 1, "sealgate": []},
        {"time": 1, "sealgate": {"phase": None}},
        {"time": 1, "sealgate": {"phase": "denied", "share": 0.5}},
        {"time": 1, "sealgate": {"phase": "denied", "list": [{"deep": float("nan")}]}},
        {"time": 1, "sealgate": {"phase": "denied", "bytes": b"x"}},
        {"time": 1, "sealgate": {"phase": "denied", "large": 2**53}},
    ],
)
def test_what_is_no_event_is_refused(event):
    with pytest.raises(EventMalformed):
        _figures([(0, event)])


def test_entry_given_twice_is_refused(good_log):
    events = good_log.events
    with pytest.raises(EventMalformed, match="same index"):
        _figures([*events, events[0]])


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (START.replace(tzinfo=None), START + DAY),
        (START, (START + DAY).replace(tzinfo=None)),
        (START, START),
        (START + DAY, START),
    ],
)
def test_period_without_zone_or_length_is_refused(start, end):
    with pytest.raises(PeriodInvalid):
        Period(start, end)


@pytest.mark.parametrize(
    "given",
    [
        {"tls": "yes"},
        {"retention_days": 1.5},
        {"retention_days": True},
        {"keys": "checkpoint"},
        {"keys": ["checkpoint"]},
        {"keys": [{"created": "2026-11-01"}]},
        {"keys": [{"name": "checkpoint", "created": 1.5}]},
        {"keys": [{"name": "checkpoint", "created": True}]},
        {"models": [{"id": ""}]},
        {"anchors": [{"place": "a file"}]},
        {"anchors": [{"kind": "file", "size": "9"}]},
    ],
)
def test_fact_of_another_type_is_refused(given):
    with pytest.raises(FactsMalformed):
        facts(given)


def test_creation_of_a_key_is_read_in_every_form():
    at = datetime(2026, 11, 1, 12, tzinfo=UTC)
    forms = (at, at.timestamp() * 1000 // 1, "2026-11-01T12:00:00Z")
    keys = [{"name": "k", "created": int(each) if isinstance(each, float) else each}
            for each in forms]  # fmt: skip
    assert {key.created for key in facts({"keys": keys}).keys} == {"2026-11-01T12:00:00Z"}


def test_given_figures_are_told_apart_from_queried_ones():
    assert GIVEN.keys().isdisjoint(STATEMENTS)
