"""Kept content goes when its term is over, unless a hold keeps it, and takes its key along."""

import json

import pytest

from audit import forgetting, holds
from audit.content import Contents, Text
from audit.errors import ContentUnknown, HoldInForce

KEY, EARLIER = bytes(32), bytes([1]) * 32


def text(request_id, *, kind="prompt", subject="ps_1", tenant="clinic", until_ms=1000):
    return Text(request_id, kind, subject, tenant, until_ms, b"the patient's words")


@pytest.fixture(params=["file", "postgres"])
def contents(request, new_log):
    place = request.getfixturevalue("database") if request.param == "postgres" else None
    return Contents(new_log(place, busy_limit_s=10).engine, lambda: [KEY])


def expire(contents, now_ms=1000):
    told = []
    done = forgetting.expire(contents.engine, now_ms=now_ms, record=told.append)
    return done.contents, told


def kept(contents):
    return [request_id for request_id, _ in contents.listed()]


def test_content_goes_when_its_term_is_over_and_not_before(contents):
    contents.keep(text("req_1"))
    contents.keep(text("req_2", until_ms=2000))
    assert expire(contents, 999) == (0, [])
    assert expire(contents) == (1, [1])
    assert kept(contents) == ["req_2"]
    assert contents.read("req_2", "prompt") == b"the patient's words"
    with pytest.raises(ContentUnknown):
        contents.read("req_1", "prompt")
    assert expire(contents) == (0, [])


def test_key_goes_with_the_last_of_a_subjects_content(contents):
    contents.keep(text("req_1"))
    contents.keep(text("req_2", subject="ps_2", until_ms=2000))
    expire(contents)
    with contents.engine.connect() as connection:
        left = connection.exec_driver_sql("SELECT subject FROM subject_key").scalars().all()
    assert left == ["ps_2"]


@pytest.mark.parametrize(
    ("scope", "value", "stays"),
    [
        ("all", "", ["req_1", "req_2"]),
        ("tenant", "clinic", ["req_1"]),
        ("request", "req_2", ["req_2"]),
        ("subject", "ps_2", ["req_2"]),
        ("subject", "ps_3", []),
    ],
)
def test_hold_keeps_what_it_covers(contents, scope, value, stays):
    contents.keep(text("req_1"))
    contents.keep(text("req_2", subject="ps_2", tenant="ward"))
    holds.place(contents.engine, "case", scope=scope, value=value, now_ms=1)
    assert expire(contents)[0] == 2 - len(stays)
    assert kept(contents) == stays
    holds.lift(contents.engine, "case", now_ms=2)
    expire(contents)
    assert kept(contents) == []


@pytest.mark.parametrize(("scope", "value"), [("tenant", "clinic"), ("request", "req_1")])
def test_hold_on_a_part_of_it_forbids_to_shred_a_subject(contents, scope, value):
    contents.keep(text("req_1"))
    holds.place(contents.engine, "case", scope=scope, value=value, now_ms=1)
    with pytest.raises(HoldInForce):
        forgetting.shred(contents.engine, "ps_1", record=pytest.fail)


def test_many_go_in_parts(contents, monkeypatch):
    monkeypatch.setattr(forgetting, "CHUNK", 3)
    for number in range(8):
        contents.keep(text(f"req_{number}"))
    assert expire(contents) == (8, [8])


def test_shredding_leaves_no_term_behind(contents):
    contents.keep(text("req_1"))
    forgetting.shred(contents.engine, "ps_1", record=lambda: None)
    contents.keep(text("req_1"))
    assert kept(contents) == ["req_1"]


def test_key_that_was_rotated_still_opens_what_it_wrapped(new_log):
    keys = [EARLIER]
    contents = Contents(new_log().engine, lambda: list(keys))
    contents.keep(text("req_1"))
    keys.insert(0, KEY)
    contents.keep(text("req_2"))
    contents.keep(text("req_3", subject="ps_2"))
    assert contents.read("req_1", "prompt") == contents.read("req_2", "prompt")
    keys.remove(EARLIER)
    with pytest.raises(ContentUnknown):
        contents.read("req_1", "prompt")
    with pytest.raises(ContentUnknown, match="Shred the subject"):
        contents.keep(text("req_4"))
    assert contents.read("req_3", "prompt")


def test_what_is_kept_is_listed_prompt_first(contents):
    for kind in ("answer", "prompt"):
        contents.keep(text("req_1", kind=kind))
    contents.keep(text("req_2", subject="ps_2"))
    assert contents.listed(subject="ps_1") == [("req_1", "prompt"), ("req_1", "answer")]
    assert contents.listed(request_id="req_2") == [("req_2", "prompt")]
    assert json.dumps(contents.listed())
