"""Queries over the log, and the accounting of disclosures of one person."""

from types import SimpleNamespace

import pytest

from audit import search as searching
from audit.search import Query, disclosures, search, search_back

START = 1_790_000_000_000


@pytest.fixture
def people(log, make):
    """Ten requests of two tenants about three people, two refusals, one recorded disclosure."""
    events = []
    for number in range(10):
        about = {
            "tenant": "ward-a" if number < 6 else "ward-b",
            "time_ms": START + number,
        }
        name = f"req_{number}"
        events += [
            make.intent(name, trace_ids=(number,), pseudonym=f"ps_{number % 3}", **about),
            make.outcome(name, trace_ids=(number,), **about),
        ]
    for name, reason in (("req_x", "invalid_api_key"), ("req_y", "insufficient_role")):
        own = {"phase": "denied", "reason": reason}
        denied = make.event(
            f"{name}/denied", "chat", own, request_id=name, tenant="system", time_ms=START + 50
        )
        denied["actor"]["user"] = {"uid": "cred_9", "name": "Night", "type": "client"}
        events.append(denied)
    told = {
        "phase": "access",
        "pseudonym": "ps_1",
        "detail": {"recipient": "Public health", "what": "a notice", "purpose": "164.512(b)"},
    }
    events.append(
        make.event(
            "acc_1/access", "disclosure.recorded", told, request_id="acc_1", time_ms=START + 60
        )
    )
    log.record(*events)
    return log


def found(log, **asked):
    return [index for index, _ in search(log.engine, Query(**asked)).entries]


@pytest.mark.parametrize(
    ("asked", "indices"),
    [
        ({}, range(23)),
        ({"tenant": "ward-b"}, range(12, 20)),
        ({"start_ms": START + 2, "end_ms": START + 4}, range(4, 8)),
        ({"actor": "Night"}, [20, 21]),
        ({"actor": "cred_9"}, [20, 21]),
        ({"decision": "denied"}, [20, 21]),
        ({"decision": "insufficient_role"}, [21]),
        ({"decision": "allowed", "tenant": "system"}, []),
        ({"request_id": "req_4"}, [8, 9]),
        ({"pseudonym": "ps_2", "tenant": "ward-a"}, [4, 5, 10, 11]),
        ({"pseudonym": "ps_1", "operation": "disclosure.recorded"}, [22]),
        ({"pseudonym": "ps_9"}, []),
        ({"tenant": "nobody' OR 1=1 --"}, []),
    ],
)
def test_query_finds_what_it_asks_for(people, asked, indices):
    assert found(people, **asked) == list(indices)


def test_query_gives_pages_and_says_where_to_go_on(people):
    first = search(people.engine, Query(tenant="ward-a", limit=5))
    assert ([index for index, _ in first.entries], first.more) == ([0, 1, 2, 3, 4], 4)
    rest = search(people.engine, Query(tenant="ward-a", limit=50, after=first.more))
    assert ([index for index, _ in rest.entries], rest.more) == ([5, 6, 7, 8, 9, 10, 11, 22], None)


def test_search_back_finds_the_same_the_newest_first(people):
    for asked in ({}, {"tenant": "ward-b"}, {"actor": "Night"}, {"pseudonym": "ps_2"}):
        back = [index for index, _ in search_back(people.engine, Query(**asked)).entries]
        assert back == found(people, **asked)[::-1]


def test_search_back_gives_pages_and_says_where_to_go_on(people):
    first = search_back(people.engine, Query(tenant="ward-a", limit=5))
    assert ([index for index, _ in first.entries], first.more) == ([22, 11, 10, 9, 8], 8)
    rest = search_back(people.engine, Query(tenant="ward-a"), before=first.more)
    assert ([i for i, _ in rest.entries], rest.more) == ([7, 6, 5, 4, 3, 2, 1, 0], None)


def test_query_that_reads_much_and_finds_little_hands_over_in_time(people, monkeypatch):
    monkeypatch.setattr(searching, "SCAN_LIMIT", 7)
    first = search(people.engine, Query(actor="Night"))
    assert (first.entries, first.more) == ((), 6)


def test_accounting_names_each_disclosure_with_its_recipient_and_purpose(people):
    told = disclosures(people.engine, "ps_1")
    assert [each.request_id for each in told] == ["req_1", "req_4", "req_7", "acc_1"]
    assert told[0].recipient == "Ward A (cred_1)"
    assert told[0].what == "chat.completions.create, unclassified"
    assert (told[-1].recipient, told[-1].what, told[-1].purpose) == (
        "Public health",
        "a notice",
        "164.512(b)",
    )
    assert disclosures(people.engine, "ps_1", start_ms=START + 5, end_ms=START + 60)[0].index == 14
    assert disclosures(people.engine, "ps_9") == []


def test_pseudonym_that_was_moved_to_another_entry_is_found(people):
    people.sql(["UPDATE subject SET pseudonym = 'ps_9' WHERE leaf_idx = 2"])
    with pytest.raises(Exception, match="pseudonym of entry 2"):
        people.verify()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM subject WHERE leaf_idx = 2",
        "INSERT INTO subject VALUES ('ps_1', 3)",
        "INSERT INTO subject VALUES ('ps_1', 99)",
    ],
)
def test_disclosure_that_was_hidden_or_made_up_is_found(people, statement):
    people.sql([statement])
    with pytest.raises(Exception, match="entry"):
        people.verify()


def test_same_queries_work_on_postgres(new_log, database, make):
    log = new_log(database).start()
    log.record(make.intent("req_1", pseudonym="ps_1"), make.outcome("req_1"))
    asked = SimpleNamespace(engine=log.engine)
    assert found(asked, pseudonym="ps_1", start_ms=0, actor="Ward A") == [0, 1]
    assert [each.index for each in disclosures(log.engine, "ps_1")] == [0]
