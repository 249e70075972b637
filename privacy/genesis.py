"""What a keyring is born with: a master for each purpose, and its signing keys."""

import secrets
from typing import TypeVar

from msgspec.structs import replace

from privacy import signatures
from privacy.derivation import KEY_BYTES
from privacy.records import ACTIVE, FORMAT, Content, Master, SigningKey, WrappedDataKey
from privacy.wrapping import wrap

PURPOSES = ("audit-hmac", "cache-salt", "credential", "watermark")
SIGNING_KEYS = (
    ("checkpoint", signatures.ED25519),
    ("receipt", signatures.ED25519),
    ("report", signatures.ED25519),
    ("report", signatures.P256),
    ("seal", signatures.ED25519),
    ("seal", signatures.MLDSA65),
    ("seal", signatures.P256),
)

_Wrapped = TypeVar("_Wrapped", Master, SigningKey, WrappedDataKey)


def first_content(
    custodian: dict[str, str | int], *, wrapping_key: bytes, created_s: int
) -> Content:
    """Return a new keyring's content, every key fresh. custodian: the record that keeps the KEK."""
    return Content(
        format=FORMAT,
        revision=1,
        created_s=created_s,
        custodian=custodian,
        masters=[
            fresh_master(purpose, 1, wrapping_key=wrapping_key, created_s=created_s)
            for purpose in PURPOSES
        ],
        signing_keys=[
            fresh_signing_key(
                name, algorithm, epoch=1, wrapping_key=wrapping_key, created_s=created_s
            )
            for name, algorithm in SIGNING_KEYS
        ],
        data_keys=[],
        floors={},
    )


def fresh_master(purpose: str, epoch: int, *, wrapping_key: bytes, created_s: int) -> Master:
    """Return a random master, wrapped."""
    record = Master(purpose, epoch, ACTIVE, created_s, b"")
    return wrapped_record(record, secrets.token_bytes(KEY_BYTES), wrapping_key=wrapping_key)


def wrapped_record(record: _Wrapped, key: bytes, *, wrapping_key: bytes) -> _Wrapped:
    """Return the record with `key` wrapped in it, bound to the record's identity."""
    return replace(record, wrapped=wrap(key, under=wrapping_key, identity=record.identity()))


def fresh_signing_key(
    name: str, algorithm: str, *, epoch: int, wrapping_key: bytes, created_s: int
) -> SigningKey:
    """Return a random signing key, wrapped."""
    seed = secrets.token_bytes(KEY_BYTES)
    public = signatures.public_key(seed, algorithm=algorithm)
    record = SigningKey(name, algorithm, ACTIVE, created_s, public, b"", epoch)
    return wrapped_record(record, seed, wrapping_key=wrapping_key)
