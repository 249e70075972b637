"""RFC 8785 bytes: equal to an independent implementation, one reading, no floats."""

import enum
import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import INTEGER_LIMIT, NotCanonical, decode, encode

text = st.text(st.characters(exclude_categories=["Cs"]))
names = st.text(st.characters(max_codepoint=127))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-INTEGER_LIMIT, INTEGER_LIMIT) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_bytes_equal_another_implementations(value):
    assert encode(value) == rfc8785.dumps(value)


@given(values)
def test_decoding_gives_the_value_back(value):
    assert decode(encode(value)) == value


def test_rfc_8785_example_without_its_fractions():
    # RFC 8785 section 3.2.2, the string of its sample.
    value = {"string": '\u20ac$\u000f\nA\'B"\\\\"/', "literals": [None, True, False]}
    assert encode(value) == (
        b'{"literals":[null,true,false],"string":"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        {"a": [0.5]},
        float("nan"),
        2**53,
        -(2**53),
        {1: "a"},
        {"ä": 1},
        b"bytes",
        {"a": {1, 2}},
        (1, 2),
        "\ud800",
        object(),
    ],
    ids=repr,
)
def test_value_without_one_reading_is_refused(value):
    with pytest.raises(NotCanonical):
        encode(value)


class Kind(enum.StrEnum):
    A = "a"


strange = st.recursive(
    values
    | st.floats()
    | st.binary(max_size=3)
    | st.decimals()
    | st.datetimes()
    | st.uuids()
    | st.integers()
    | st.just(Kind.A),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.frozensets(st.integers(), max_size=2)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(strange)
def test_whatever_is_encoded_at_all_is_canonical_and_the_same(value):
    """The quick way takes nothing that the rules refuse."""
    try:
        data = encode(value)
    except NotCanonical:
        return
    assert decode(data) == value
    assert data == rfc8785.dumps(json.loads(data))


def test_nesting_without_end_is_refused():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(NotCanonical):
        encode(value)
    with pytest.raises(NotCanonical):
        decode(b"[" * 60_000)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b'{"a":1}\n',
        b'{"a":"\\u0041"}',
        b'{"a":"\\/"}',
        b'{"a":1.0}',
        b'{"a":1e2}',
        b'{"a":-0}',
        b'{"a":9007199254740992}',
        b'{"a":-9007199254740992}',
        b"9007199254740992",
        b"-9007199254740992",
        b"[9007199254740992]",
        b"[1,9007199254740992]",
        b'{"a":NaN}',
        b'{"a":1',
        b'{"a":"\xff"}',
        b'"\xed\xa0\x80"',
        b"",
    ],
)
def test_other_bytes_for_the_same_value_are_refused(data):
    with pytest.raises(NotCanonical):
        decode(data)


@given(values)
def test_spaced_out_json_is_refused(value):
    spaced = json.dumps(value, indent=1).encode()
    if spaced != encode(value):
        with pytest.raises(NotCanonical):
            decode(spaced)
