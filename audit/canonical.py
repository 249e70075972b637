"""One byte string for one value: RFC 8785 over the part of JSON that events use.

No floats, whole numbers within ±(2^53 - 1), ASCII member names. Within these bounds msgspec's
sorted encoding *is* RFC 8785 (a property test holds it against another implementation).
"""

import re
from typing import Any, NoReturn, TypeVar

import msgspec

INTEGER_LIMIT = 2**53 - 1
T = TypeVar("T")


class NotCanonical(ValueError):
    """A value has no canonical form here, or bytes are not in it."""


def encode(value: Any) -> bytes:
    """Encode plain JSON values canonically (RFC 8785 section 3.2).

    Raises:
        NotCanonical: A float, a number out of range, a name that is not ASCII, a lone surrogate,
            or a type that is not JSON.
    """
    try:
        data = _written(value)
        # What reads back as it was is plain JSON without floats: all else that the encoder takes
        # becomes something that is not equal to it. The other rules need a closer look only where
        # `decode` takes one; that look takes most of the time of a whole entry.
        if data is None or _needs_check(data):
            _check(value)
            return _encoder.encode(value)
    except UnicodeEncodeError:
        raise NotCanonical("text is not valid Unicode") from None
    except RecursionError:
        raise NotCanonical("nesting is too deep") from None
    return data


def _written(value: Any) -> bytes | None:
    """Return a value's encoding, or None where it does not read back as the same value."""
    try:
        data = _encoder.encode(value)
        return data if _decoder.decode(data) == value else None
    except (msgspec.MsgspecError, TypeError, OverflowError):
        return None


def decode(data: bytes) -> Any:
    """Decode canonical bytes, and only those.

    Encoding again and comparing refuses what a lenient parser would read in its own way:
    duplicate names, another order, white space, needless escapes.

    Raises:
        NotCanonical: `data` is not what `encode` makes.
    """
    try:
        value = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise NotCanonical(f"not canonical JSON: {error}") from None
    # What came out of the decoder is plain JSON without floats.
    if _needs_check(data):
        _check(value)
    if _encoder.encode(value) != data:
        raise NotCanonical("JSON in another form than the canonical one")
    return value


def decoder(kind: type[T]) -> "msgspec.json.Decoder[T]":
    """Return what `decode_as` reads a structure with, which may hold members of any JSON."""
    return msgspec.json.Decoder(kind, float_hook=_refuse_float)


def decode_as(data: bytes, reader: "msgspec.json.Decoder[T]") -> T | None:
    """Decode canonical bytes into a structure, or return None where only `decode` can tell.

    What the structure's own canonical encoding equals is canonical, and it holds all that is
    there: members that it lacks would be missing from it. This takes two thirds of the time.
    """
    if _needs_check(data):
        return None
    try:
        value = reader.decode(data)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    return value if _encoder.encode(value) == data else None


def _needs_check(data: bytes) -> bool:
    """Return whether plain JSON may still break a rule.

    A number out of range has at least 16 digits and a name that is not ASCII has such a byte: else
    there is nothing to find.
    """
    return not data.isascii() or not data.startswith(b"{") or _may_hold_long_number(data)


def _check(value: Any) -> None:
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return
    if kind is int:
        if not -INTEGER_LIMIT <= value <= INTEGER_LIMIT:
            raise NotCanonical("a whole number is beyond 2^53 - 1")
    elif kind is dict:
        for name, member in value.items():
            # ASCII names sort alike by code point and by UTF-16 unit (RFC 8785 section 3.2.3).
            if type(name) is not str or not name.isascii():
                raise NotCanonical("a member name is not ASCII text")
            _check(member)
    elif kind is list:
        for item in value:
            _check(item)
    else:
        raise NotCanonical(f"a {kind.__name__} has no canonical form")


def _may_hold_long_number(data: bytes) -> bool:
    # Sixteen digits in a row are rare, and finding none takes a fifth of the pattern's time.
    return _DIGITS in data.translate(_DIGITS_ALIKE) and bool(_LONG_NUMBER.search(data))


def _refuse_float(_: str) -> NoReturn:
    raise NotCanonical("a fraction or exponent")


# Inside JSON, these are the bytes that a number can follow, and those that can follow a number.
_LONG_NUMBER = re.compile(rb"[:,\[-][0-9]{16,}+(?:[,\]}]|$)")
_DIGITS = b"0" * 16
_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"000000000")
_decoder = msgspec.json.Decoder(float_hook=_refuse_float)
_encoder = msgspec.json.Encoder(order="sorted")
