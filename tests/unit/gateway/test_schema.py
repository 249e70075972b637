import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.sampling import MAX_STOP_LENGTH
from gateway.api.schema import decode
from gateway.errors import RequestRefused
from sandbox.wire import Shaping

MESSAGE = {"role": "user", "content": "Hello."}


def body(**fields):
    return json.dumps({"model": "m", "messages": [MESSAGE]} | fields).encode()


def refused(raw):
    with pytest.raises(RequestRefused) as error:
        decode(raw)
    assert error.value.status == 400
    return error.value


def test_smallest_request_is_read():
    request = decode(body())
    assert request.put().turns == [{"role": "user", "content": "Hello."}]
    assert (request.stops, request.token_limit, request.stream) == ((), None, False)


@pytest.mark.parametrize("raw", [b"[]", b"3", b"null", b'"text"'])
def test_body_that_is_no_object_blames_no_field(raw):
    error = refused(raw)
    assert error.param is None
    assert "Expected `object`" in str(error)


def test_newer_token_limit_wins():
    assert decode(body(max_tokens=5, max_completion_tokens=7)).token_limit == 7
    assert decode(body(max_tokens=5)).token_limit == 5


def test_unknown_fields_are_tolerated():
    assert decode(body(store=True, metadata={"a": "b"}, user="u"))


@pytest.mark.parametrize(
    ("stop", "stops"),
    [("a", ("a",)), (["a", "b"], ("a", "b")), ("", ()), (["", "b"], ("b",)), (None, ())],
)
def test_stop_is_a_string_or_up_to_four(stop, stops):
    assert decode(body(stop=stop)).stops == stops


def test_developer_speaks_as_system_and_parts_are_joined():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    request = decode(body(messages=[{"role": "developer", "content": parts}]))
    assert request.put().turns == [{"role": "system", "content": "ab"}]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": ""}]}, "messages"),
        ({"messages": [{"content": ""}]}, "messages"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": "x" * (MAX_STOP_LENGTH + 1)}, "stop"),
        ({"seed": 2**63}, "seed"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": 1}}, "stream_options"),
        ({"model": 5}, "model"),
    ],
)
def test_wrong_value_names_its_field(fields, param):
    assert refused(body(**fields)).param == param


def test_missing_field_is_named():
    assert refused(b'{"messages": []}').param in {"messages", "model"}
    assert refused(b'{"model": "m"}').param == "messages"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"functions": [{}]}, "functions"),
    ],
)
def test_field_that_would_change_the_answer_is_refused_by_name(fields, param):
    error = refused(body(**fields))
    assert (error.param, error.code) == (param, "unsupported_parameter")


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": []},
        {"logprobs": False},
        {"response_format": {"type": "text"}},
    ],
)
def test_field_that_asks_for_nothing_is_not_refused(fields):
    assert decode(body(**fields))


def test_every_sampling_option_shapes_the_answer():
    options = {
        "min_p": 0.1,
        "repetition_penalty": 1.2,
        "frequency_penalty": -0.5,
        "presence_penalty": 2,
        "logit_bias": {"50": -100, "7": 1.5},
    }
    shaping = decode(body(**options)).shaping()
    assert shaping == Shaping(0.1, 1.2, -0.5, 2, {50: -100, 7: 1.5})
    assert decode(body(**dict.fromkeys(options))).shaping() == Shaping()


@pytest.mark.parametrize(
    "fields",
    [
        {"min_p": 1.5},
        {"repetition_penalty": 0},
        {"frequency_penalty": 2.1},
        {"presence_penalty": -3},
        {"logit_bias": {"1": 101}},
        {"logit_bias": {"word": 1}},
        {"logit_bias": {"-1": 1}},
        {"logit_bias": {str(token): 1 for token in range(1025)}},
    ],
)
def test_sampling_option_out_of_its_range_is_named(fields):
    (name,) = fields
    assert refused(body(**fields)).param == name


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"\xff", b'{"model": "\\ud800"}', b'{"model":"m","store":' + b"[" * 200_000],
)
def test_what_is_not_json_is_told_so(raw):
    assert refused(raw).code == "invalid_json"


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(raw):
    # Any other error fails the test.
    with suppress(RequestRefused):
        decode(raw)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_any_value_of_a_field_is_read_or_refused(value):
    for name in ("model", "messages", "stop", "n", "temperature", "response_format", "tools"):
        with suppress(RequestRefused):
            decode(body(**{name: value}))
