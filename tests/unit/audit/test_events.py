"""What the log takes as an event, and what it refuses."""

import pytest

from audit.errors import EventInvalid
from audit.events import BODY_LIMIT_BYTES, decode, encode, recovered


def changed(event, path, value):
    """Return the event with one field replaced, or removed where `value` is `...`."""
    first, *rest = path
    result = dict(event)
    if rest:
        result[first] = changed(result[first], rest, value)
    elif value is ...:
        del result[first]
    else:
        result[first] = value
    return result


def test_entry_indexes_what_the_event_says(make):
    entry = encode(make.intent("req_1", trace_ids=(9, 4, 9), epoch=3, tenant="ward-b"))
    assert (entry.uid, entry.phase, entry.tenant) == ("req_1/intent", "intent", "ward-b")
    assert (entry.request_id, entry.operation) == ("req_1", "chat.completions.create")
    assert entry.time_ms == make.TIME_MS
    assert (entry.mark.epoch, entry.mark.trace_ids) == (3, (4, 9))
    assert decode(entry.body) == entry


def test_only_an_intent_issues_marks(make):
    assert encode(make.outcome("req_1")).mark is None
    assert encode(make.system("sys_1")).mark is None


def test_further_members_are_kept(make):
    event = {**make.intent("req_1"), "unmapped": {"ward": "7b"}}
    assert b'"unmapped":{"ward":"7b"}' in encode(event).body


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["class_uid"], 6004),
        (["time"], -1),
        (["time"], "now"),
        (["time"], ...),
        (["status_id"], 7),
        (["metadata", "uid"], ...),
        (["metadata", "uid"], ""),
        (["metadata", "uid"], "u" * 257),
        (["metadata", "version"], "1.5.0"),
        (["metadata", "tenant_uid"], ...),
        (["metadata", "extensions"], []),
        (["actor"], ...),
        (["actor", "user", "uid"], 7),
        (["api", "operation"], ...),
        (["sealgate"], ...),
        (["sealgate", "phase"], "rumour"),
        (["sealgate", "phase"], ...),
        (["sealgate", "model", "generation"], -1),
        (["sealgate", "prompt_hmac"], "secret"),
        (["sealgate", "watermark"], ...),
        (["sealgate", "watermark", "trace_ids"], [2**32]),
        (["sealgate", "watermark", "trace_ids"], [-1]),
    ],
    ids=str,
)
def test_event_that_breaks_the_format_is_refused(make, path, value):
    with pytest.raises(EventInvalid):
        encode(changed(make.intent("req_1"), path, value))


@pytest.mark.parametrize("phase", ["intent", "outcome"])
def test_uid_must_follow_from_the_request(make, phase):
    event = getattr(make, phase)("req_1")
    with pytest.raises(EventInvalid, match="uid"):
        encode(changed(event, ["metadata", "uid"], f"req_2/{phase}"))
    with pytest.raises(EventInvalid, match="uid"):
        encode(changed(event, ["api", "request"], ...))


def test_float_anywhere_is_refused(make):
    with pytest.raises(EventInvalid, match="float"):
        encode(make.system("sys_1", detail={"a": [{"b": 0.5}]}))


def test_event_over_the_limit_is_refused_and_at_it_taken(make):
    empty = len(encode(make.system("sys_1", detail={"text": ""})).body)
    fits = make.system("sys_1", detail={"text": "x" * (BODY_LIMIT_BYTES - empty)})
    assert len(encode(fits).body) == BODY_LIMIT_BYTES
    with pytest.raises(EventInvalid, match="65535"):
        encode(make.system("sys_1", detail={"text": "x" * (BODY_LIMIT_BYTES - empty + 1)}))


def test_refusal_does_not_quote_what_was_in_the_event(make):
    secret = "the patient's name"
    for event in (
        changed(make.intent("req_1"), ["sealgate", "prompt_hmac"], secret),
        changed(make.intent("req_1"), ["sealgate", "tier"], {secret: 0.5}),
        changed(make.intent("req_1"), ["sealgate", "tier"], secret * 100),
    ):
        with pytest.raises(EventInvalid) as refusal:
            encode(event)
        assert secret not in str(refusal.value)


def test_bytes_in_another_form_are_no_entry(make):
    body = encode(make.system("sys_1")).body
    with pytest.raises(EventInvalid):
        decode(body.replace(b'"class_uid":6003', b'"class_uid": 6003'))
    with pytest.raises(EventInvalid):
        decode(b'{"a":1}')


def test_recovered_event_keeps_who_asked_for_what_and_is_valid(make):
    intent = make.intent("req_1", trace_ids=(5,), epoch=2)
    event = recovered(intent, time_ms=make.TIME_MS + 5)
    entry = encode(event)
    assert (entry.uid, entry.phase, entry.request_id) == ("req_1/outcome", "recovered", "req_1")
    assert entry.time_ms == make.TIME_MS + 5
    assert event["actor"] == intent["actor"]
    assert event["sealgate"]["ending"] == "unknown"
    assert event["sealgate"]["watermark"] == {"scheme": "pcg-v1", "epoch": 2}
    assert "response" not in event["api"]
    assert intent["sealgate"]["phase"] == "intent"
