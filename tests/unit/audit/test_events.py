"""What the log takes as an event, and what it refuses."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit import canonical
from audit.activity import Event
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


FIELDS = canonical.decoder(Event)


def reread(body):
    """Return what the short way and the plain way make of bytes; None for what they refuse."""
    short = canonical.decode_as(body, FIELDS)
    try:
        return short, msgspec.convert(canonical.decode(body), Event)
    except (canonical.NotCanonical, msgspec.ValidationError):
        return short, None


@pytest.mark.parametrize("phase", ["intent", "outcome", "access", "system", "denied"])
def test_event_of_known_members_is_read_the_short_way(make, phase):
    built = {
        "intent": lambda: make.intent("req_1"),
        "outcome": lambda: make.outcome("req_1"),
        "system": lambda: make.system("sys_1"),
    }
    event = built.get(phase, built["system"])()
    if phase in ("access", "denied"):
        own = {
            "access": {"detail": {}, "pseudonym": None},
            "denied": {"reason": "no", "policy": {}},
        }
        event = changed(event, ["sealgate"], {"phase": phase} | own[phase])
    short, plain = reread(encode(event).body)
    assert short == plain
    assert short is not None


@pytest.mark.parametrize(
    "path",
    [["further"], ["sealgate", "further"], ["actor", "user", "further"]],
    ids=str,
)
@pytest.mark.parametrize("value", [None, 1, {"b": [1, {"a": "c"}]}], ids=str)
def test_members_of_ones_own_are_read_the_plain_way(make, path, value):
    entry = encode(changed(make.intent("req_1"), path, value))
    assert reread(entry.body)[0] is None
    assert decode(entry.body) == entry


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=400)
@given(data=st.data())
def test_short_way_takes_nothing_that_the_plain_way_refuses(make, data):
    phase = data.draw(st.sampled_from([make.intent, make.outcome]))
    body = bytearray(encode(phase("req_1")).body)
    at = data.draw(st.integers(0, len(body) - 1))
    end = data.draw(st.integers(at, min(len(body), at + 12)))
    piece = st.sampled_from(
        [b"", b" ", b"0", b"1.0", b"1e2", b"-0", b"null", b'"', b"\\u0041", b"9" * 16, b',"a":1']
    )
    body[at:end] = data.draw(piece | st.binary(max_size=3))
    short, plain = reread(bytes(body))
    assert short is None or short == plain


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"seeded":false', b'"seeded":false,"seeded":false'),
        (b'"tier":"local"', b'"tier":"loc\\u0061l"'),
        (b'"top_k":100', b'"top_k":100.0'),
        (b'"top_k":100', b'"top_k":1e2'),
        (b'"top_k":100', b'"top_k": 100'),
        (b'"top_k":100,"top_p_milli":1000', b'"top_p_milli":1000,"top_k":100'),
        (b'"phase":"intent",', b""),
    ],
    ids=str,
)
def test_known_members_in_another_form_are_no_entry(make, old, new):
    body = encode(make.intent("req_1")).body
    assert old in body
    with pytest.raises(EventInvalid):
        decode(body.replace(old, new, 1))


def test_order_within_a_free_member_counts(make):
    event = changed(make.system("sys_1"), ["sealgate", "detail"], {"a": 1, "b": {"c": 2, "d": 3}})
    body = encode(event).body
    for old, new in [
        (b'"c":2,"d":3', b'"d":3,"c":2'),
        (b'"c":2', b'"c":2.5'),
        (b'"c":2', b'"c":2,"c":2'),
        (b'"c":2', b'"c":12345678901234567890'),
    ]:
        assert decode(body) == encode(event)
        with pytest.raises(EventInvalid):
            decode(body.replace(old, new))
