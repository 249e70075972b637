import hmac
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from privacy.derivation import bind, derive_key, number

PARTS = st.lists(st.binary(max_size=20), min_size=1, max_size=5)


def hkdf_sha256(key, info, salt=b"", length=32):
    """RFC 5869, sections 2.2 and 2.3, by hand."""
    pseudorandom = hmac.digest(salt or bytes(32), key, "sha256")
    block, output = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.digest(pseudorandom, block + info + bytes([counter]), "sha256")
        output += block
    return output[:length]


def split(joined):
    parts = []
    while joined:
        length = int.from_bytes(joined[:8], "big")
        assert len(joined) >= 8 + length
        parts.append(joined[8 : 8 + length])
        joined = joined[8 + length :]
    return parts


def test_the_hand_written_hkdf_meets_rfc_5869_test_cases_1_and_3():
    key = b"\x0b" * 22
    info, salt = bytes(range(0xF0, 0xFA)), bytes(range(13))
    assert hkdf_sha256(key, info, salt, 42).hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
    assert hkdf_sha256(key, b"", length=42).hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


@given(key=st.binary(min_size=32, max_size=32), parts=PARTS)
def test_a_derived_key_is_the_hkdf_of_the_rfc(key, parts):
    assert derive_key(key, *parts) == hkdf_sha256(key, bind(*parts))


@given(parts=PARTS)
def test_joined_parts_can_be_split_again(parts):
    assert split(bind(*parts)) == parts


@given(first=PARTS, second=PARTS)
def test_two_lists_never_join_alike(first, second):
    assert (bind(*first) == bind(*second)) == (first == second)


@given(data=st.binary(max_size=12), cut=st.integers(0, 12), other=st.integers(0, 12))
def test_where_a_string_is_cut_matters(data, cut, other):
    one = bind(b"label", data[:cut], data[cut:])
    two = bind(b"label", data[:other], data[other:])
    assert (one == two) == (min(cut, len(data)) == min(other, len(data)))


def test_the_documented_vector_holds():
    page = Path(__file__).parents[3] / "docs" / "formats" / "keyring-v1.md"
    (documented,) = re.findall(r"^    ([0-9a-f]{64})$", page.read_text(), re.MULTILINE)
    parts = (b"watermark", number(1), b"clinic", bytes([0, 0, 0, 1]))
    derived = derive_key(bytes(range(32)), b"sealgate/keyring-v1/derive", *parts)
    assert derived.hex() == documented
