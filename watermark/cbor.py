"""As much of CBOR (RFC 8949) as a C2PA manifest needs: encoding, definite lengths."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG = range(7)
_SHORT = 24
_WIDTHS = ((1 << 8, 24, ">B"), (1 << 16, 25, ">H"), (1 << 32, 26, ">I"), (1 << 64, 27, ">Q"))


@runtime_checkable
class SupportsCbor(Protocol):
    """A value that knows its own form."""

    def to_cbor(self) -> bytes:
        """Return the encoded value."""
        ...


@dataclass(frozen=True, slots=True)
class Tagged:
    """A value under a tag."""

    tag: int
    value: Any


def encode(value: Any) -> bytes:
    """Encode a value. Members of a map keep their order.

    Raises:
        TypeError: There is no form for it here.
    """
    match value:
        case SupportsCbor():
            encoded = value.to_cbor()
        case None:
            encoded = b"\xf6"
        case int():
            encoded = _head(_UNSIGNED, value) if value >= 0 else _head(_NEGATIVE, -1 - value)
        case bytes():
            encoded = _head(_BYTES, len(value)) + value
        case str():
            encoded = _head(_TEXT, len(value.encode())) + value.encode()
        case list():
            encoded = _head(_ARRAY, len(value)) + b"".join(encode(each) for each in value)
        case Tagged():
            encoded = _head(_TAG, value.tag) + encode(value.value)
        case Mapping():
            members = b"".join(encode(name) + encode(each) for name, each in value.items())
            encoded = _head(_MAP, len(value)) + members
        case _:
            raise TypeError(f"No CBOR for a {type(value).__name__}.")
    return encoded


def _head(major: int, number: int) -> bytes:
    if number < _SHORT:
        return bytes([major << 5 | number])
    for limit, code, form in _WIDTHS:
        if number < limit:
            return bytes([major << 5 | code]) + struct.pack(form, number)
    raise TypeError("No CBOR for a number of more than 64 bits.")
