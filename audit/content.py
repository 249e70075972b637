"""Kept content, each person's under a key of its own: deleting that key is forgetting them.

The log holds digests alone, so it verifies before and after. Layout: docs/formats/log-v1.md.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from audit import holds, schema, store
from audit.errors import ContentUnknown, LogUnavailable

NONCE_BYTES = 12
KEY_BYTES = 32
_CONTENT_LABEL = b"sealgate-content-v1"
_SUBJECT_LABEL = b"sealgate-subject-v1"
_keys, _kept = schema.subject_key, schema.content


@dataclass(frozen=True, slots=True)
class Shredded:
    """What a shredding did. contents: how many are gone.

    lingers: the deleted bytes are still in the write-ahead log, since somebody reads it now; the
    next writes overwrite them.
    """

    contents: int
    lingers: bool


@dataclass(frozen=True, slots=True)
class Contents:
    """The side table of a log. key: 32 bytes, from the keyring, that wraps the subjects' keys."""

    engine: sa.Engine
    key: bytes = field(repr=False)
    random: Callable[[int], bytes] = os.urandom

    def keep(self, subject: str, request_id: str, kind: str, plaintext: bytes) -> bytes:
        """Store content under its subject's key and return the ciphertext's SHA-256.

        subject: a pseudonym, or the tenant where nobody is concerned.

        Raises:
            LogUnavailable: It is not stored.
        """
        with store.told(), store.writing(self.engine).begin() as connection:
            key = self._subject_key(connection, subject)
            nonce = self.random(NONCE_BYTES)
            bound = b"\x00".join((_CONTENT_LABEL, request_id.encode(), kind.encode()))
            ciphertext = nonce + AESGCMSIV(key).encrypt(nonce, plaintext, bound)
            digest = hashlib.sha256(ciphertext).digest()
            connection.execute(
                _kept.insert().values(
                    request_id=request_id,
                    kind=kind,
                    subject=subject,
                    digest=digest,
                    ciphertext=ciphertext,
                )
            )
        return digest

    def read(self, request_id: str, kind: str) -> bytes:
        """Return kept content.

        Raises:
            ContentUnknown: None is kept, its subject was shredded, or it was changed.
            LogUnavailable: The log cannot be read.
        """
        query = (
            sa.select(_kept.c.subject, _kept.c.ciphertext, _keys.c.wrapped)
            .join(_keys, _keys.c.subject == _kept.c.subject)
            .where(_kept.c.request_id == request_id, _kept.c.kind == kind)
        )
        with store.reading(self.engine) as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise ContentUnknown(f"No {kind} of {request_id!r} is kept, or it was shredded.")
        bound = b"\x00".join((_CONTENT_LABEL, request_id.encode(), kind.encode()))
        try:
            key = self._unwrap(row.subject, row.wrapped)
            return _open(key, row.ciphertext, bound)
        except InvalidTag:
            raise ContentUnknown(f"The kept {kind} of {request_id!r} was changed.") from None

    def _subject_key(self, connection: sa.Connection, subject: str) -> bytes:
        query = sa.select(_keys.c.wrapped).where(_keys.c.subject == subject)
        wrapped = connection.execute(query).scalar_one_or_none()
        if wrapped is not None:
            return self._unwrap(subject, wrapped)
        key, nonce = self.random(KEY_BYTES), self.random(NONCE_BYTES)
        bound = _SUBJECT_LABEL + b"\x00" + subject.encode()
        wrapped = nonce + AESGCMSIV(self.key).encrypt(nonce, key, bound)
        connection.execute(_keys.insert().values(subject=subject, wrapped=wrapped))
        return key

    def _unwrap(self, subject: str, wrapped: bytes) -> bytes:
        return _open(self.key, wrapped, _SUBJECT_LABEL + b"\x00" + subject.encode())


def shred(engine: sa.Engine, subject: str, *, record: Callable[[], None]) -> Shredded:
    """Delete a subject's key and ciphertexts.

    record: writes the entry that says so, before anything is deleted. Copies of the database keep
    what they had: shred them too, or let them expire.

    Raises:
        ContentUnknown: Nothing is kept of the subject.
        HoldInForce: A legal hold covers it.
        LogUnavailable: It is not deleted.
    """
    with store.reading(engine) as connection:
        _require_shreddable(connection, subject)
    record()
    with store.told(), store.writing(engine).begin() as connection:
        _require_shreddable(connection, subject)
        connection.execute(_keys.delete().where(_keys.c.subject == subject))
        gone = connection.execute(_kept.delete().where(_kept.c.subject == subject))
    try:
        store.forget_deleted(engine)
    except LogUnavailable:
        return Shredded(gone.rowcount, lingers=True)
    return Shredded(gone.rowcount, lingers=False)


def _require_shreddable(connection: sa.Connection, subject: str) -> None:
    holds.require_none(connection, subject=subject)
    if connection.execute(sa.select(_keys).where(_keys.c.subject == subject)).first() is None:
        raise ContentUnknown(f"Nothing is kept of {subject!r}.")


def _open(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    return AESGCMSIV(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
