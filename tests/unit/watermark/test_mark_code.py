import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watermark import code

FIELD = st.integers(0, 255)


@given(FIELD, FIELD, FIELD)
def test_multiplication_is_a_fields(a, b, c):
    assert code.multiply(a, b) == code.multiply(b, a)
    assert code.multiply(a, code.multiply(b, c)) == code.multiply(code.multiply(a, b), c)
    assert code.multiply(a, b ^ c) == code.multiply(a, b) ^ code.multiply(a, c)
    assert code.multiply(a, 1) == a


def test_multiplication_reduces_by_the_stated_polynomial():
    assert code.multiply(0x80, 2) == 0x1D
    assert len({code.multiply(a, 0x53) for a in range(256)}) == 256


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20))
def test_every_id_comes_back_from_its_codeword(ids):
    given_ids = np.array(ids, np.uint32)
    assert code.trace_ids(code.encode(given_ids)).tolist() == ids


def test_different_ids_differ_in_at_least_five_symbols():
    rng = np.random.default_rng(0)
    one = code.symbols(code.encode(rng.integers(0, 2**32, 5000, dtype=np.uint32)))
    two = code.symbols(code.encode(rng.integers(0, 2**32, 5000, dtype=np.uint32)))
    assert ((one != two).sum(axis=1) >= 5).all()
    # Ids that differ in one byte alone are the closest there are.
    near = code.symbols(code.encode(np.arange(256, dtype=np.uint32)))
    assert ((near[0] != near[1:]).sum(axis=1) >= 5).all()


@pytest.mark.parametrize("rows", [(0, 1, 2, 3), (4, 5, 6, 7), (0, 3, 5, 6)])
def test_any_four_symbols_give_the_whole_codeword(rows):
    packed = code.encode(np.array([0xC0FFEE42], np.uint32))
    symbols = code.symbols(packed)[0]
    parts = code.spanning(rows)
    spanned = np.bitwise_xor.reduce([parts[j, symbols[row]] for j, row in enumerate(rows)])
    assert spanned == packed[0]
