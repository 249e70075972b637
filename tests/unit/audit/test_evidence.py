"""What the log answers about marks, periods and open intents."""

import pytest

from audit import evidence
from audit.errors import LogUnavailable


@pytest.fixture
def marked(log, make):
    log.record(
        make.intent("req_1", trace_ids=(5, 2**32 - 1)),
        make.outcome("req_1", trace_ids=(5, 2**32 - 1)),
        make.intent("req_2", trace_ids=(5,)),
        make.intent("req_3", trace_ids=(5,), tenant="ward-b"),
        make.intent("req_4", trace_ids=(8,), epoch=2),
    )
    return log.engine


def test_issued_lists_one_tenants_ids_of_one_epoch(marked):
    assert evidence.issued(marked, tenant="ward-a", epoch=1) == [
        (5, "req_1"),
        (2**32 - 1, "req_1"),
        (5, "req_2"),
    ]
    assert evidence.issued(marked, tenant="ward-a", epoch=2) == [(8, "req_4")]
    assert evidence.issued(marked, tenant="ward-c", epoch=1) == []


def test_trace_leads_to_every_request_that_was_issued_it_oldest_first(marked):
    def find(trace_id, tenant="ward-a", epoch=1):
        return evidence.find_trace(marked, trace_id=trace_id, tenant=tenant, epoch=epoch)

    assert find(5) == ["req_1", "req_2"]
    assert find(5, tenant="ward-b") == ["req_3"]
    assert find(5, epoch=2) == []
    assert find(6) == []


def test_dangling_lists_intents_without_an_ending(marked):
    open_requests = [intent["api"]["request"]["uid"] for intent in evidence.dangling(marked)]
    assert open_requests == ["req_2", "req_3", "req_4"]


def test_period_takes_its_start_and_leaves_its_end(log, make):
    log.record(*(make.system(f"sys_{time}", time_ms=time) for time in (1000, 2000, 3000)))

    def uids(**period):
        return [
            (index, event["metadata"]["uid"])
            for index, event in evidence.events(log.engine, **period)
        ]

    assert uids(start_ms=1000, end_ms=3000) == [(0, "sys_1000"), (1, "sys_2000")]
    assert uids(start_ms=1001) == [(1, "sys_2000"), (2, "sys_3000")]
    assert uids(end_ms=1000) == []
    assert len(uids()) == 3


def test_clock_that_went_back_neither_loses_nor_reorders_events(log, make):
    log.record(*(make.system(f"sys_{time}", time_ms=time) for time in (5000, 1000, 4000)))
    assert [index for index, _ in evidence.events(log.engine, start_ms=1000)] == [0, 1, 2]
    assert [index for index, _ in evidence.events(log.engine, end_ms=4500)] == [1, 2]
    assert log.verify().first_ms == 1000


def test_events_are_read_from_one_moment(log, make):
    log.record(*(make.system(f"sys_{number}") for number in range(3)))
    reading = evidence.events(log.engine)
    next(reading)
    log.record(make.system("sys_late"))
    assert [index for index, _ in reading] == [1, 2]


def test_log_that_cannot_be_read_says_so(log, make):
    log.close()
    log.path.rename(log.path.with_suffix(".away"))
    with pytest.raises(LogUnavailable):
        evidence.issued(log.engine, tenant="ward-a", epoch=1)
