import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privacy.training.errors import ConfigInvalid
from privacy.training.fingerprints import canonical, fingerprint, membership

KEY = b"k" * 32
TEXTS = ["Chest pain, no fever.", "Fracture of the left radius.", "Follow-up in six weeks."]


def test_shuffled_records_are_the_same_dataset():
    assert membership(TEXTS, key=KEY).root == membership(TEXTS[::-1], key=KEY).root


def test_one_record_more_is_another_dataset():
    assert membership(TEXTS, key=KEY).root != membership(TEXTS[:2], key=KEY).root


def test_repeated_records_count_but_have_one_fingerprint():
    found = membership(TEXTS + TEXTS[:1], key=KEY)
    assert (found.records, len(found.fingerprints)) == (4, 3)
    assert found.root != membership(TEXTS, key=KEY).root


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Chest  pain,\nno fever. ", "chest pain, no fever."),
        ("caf\u00e9", "cafe\u0301"),
        ({"age": 40, "sex": "f"}, {"sex": "F", "age": 40.0}),
        ((1, 2.5), [np.float32(1), np.float64(2.5)]),
        (torch.tensor([1.0, -0.0]), np.array([1, 0])),
    ],
)
def test_layout_does_not_make_a_new_record(one, other):
    assert fingerprint(one, key=KEY) == fingerprint(other, key=KEY)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", 1),
        (["ab", "c"], ["a", "bc"]),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        ([1, 2], [2, 1]),
        (None, ""),
        (b"x", "x"),
    ],
)
def test_content_makes_a_new_record(one, other):
    assert fingerprint(one, key=KEY) != fingerprint(other, key=KEY)


def test_without_the_key_membership_cannot_be_tested():
    assert fingerprint("x", key=KEY) != fingerprint("x", key=b"l" * 32)


def test_a_record_without_canonical_form_is_refused_by_its_type():
    with pytest.raises(ConfigInvalid, match="object"):
        canonical(object())


def test_an_array_of_strings_is_refused():
    with pytest.raises(ConfigInvalid, match="array of type"):
        canonical(np.array(["a"]))


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=5))
def test_column_order_never_matters(record):
    assert canonical(record) == canonical(dict(reversed(record.items())))


@pytest.mark.parametrize("kind", [np.int64, np.uint64])
def test_whole_numbers_beyond_what_floats_tell_apart_are_told_apart(kind):
    prints = {fingerprint(np.array([2**53 + n], kind), key=KEY) for n in range(8)}
    assert len(prints) == 8
    assert fingerprint(np.array([2**60], kind), key=KEY) == fingerprint(
        np.array([2**60], np.int64), key=KEY
    )
