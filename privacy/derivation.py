"""Labelled joining and derivation, docs/formats/keyring-v1.md. Two contexts never join alike."""

from collections.abc import Sequence

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32

Contexts = Sequence[Sequence[bytes]]


def bind(label: bytes, *parts: bytes) -> bytes:
    """Join a domain label and its parts, each preceded by its length as 8 bytes, big-endian."""
    return b"".join(number(len(part)) + part for part in (label, *parts))


def number(value: int) -> bytes:
    """Encode a number from 0 to 2**64 - 1 as a part of a context."""
    return value.to_bytes(8, "big")


def derive_key(key: bytes, label: bytes, *parts: bytes) -> bytes:
    """Derive 32 bytes from a uniform key with HKDF-SHA256 (RFC 5869)."""
    # No salt is safe here: every key that comes in is 32 uniform bytes (RFC 5869, section 3.1).
    hkdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=bind(label, *parts))
    return hkdf.derive(key)
