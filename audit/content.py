"""Kept content, each person's under a key of its own: deleting that key is forgetting them.

The log holds digests alone, so it verifies before and after. Layout: docs/formats/log-v1.md. How
it goes again, by term or by request, is in `audit.forgetting`.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from audit import schema, store
from audit.errors import ContentUnknown

NONCE_BYTES = 12
KEY_BYTES = 32
_CONTENT_LABEL = b"sealgate-content-v1"
_SUBJECT_LABEL = b"sealgate-subject-v1"
_keys, _kept, _terms = schema.subject_key, schema.content, schema.content_term


@dataclass(frozen=True, slots=True)
class Text:
    """What somebody asked or was answered. kind: `prompt` or `answer`.

    subject: a pseudonym, or `tenant/` and the tenant where nobody is named. until_ms: how long it
    is kept.
    """

    request_id: str
    kind: str
    subject: str
    tenant: str
    until_ms: int
    plaintext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Contents:
    """The side table of a log.

    keys: what wraps the subjects' keys, from the keyring, 32 bytes each; the active one first.
    """

    engine: sa.Engine
    keys: Callable[[], Sequence[bytes]] = field(repr=False)
    random: Callable[[int], bytes] = os.urandom

    def keep(self, text: Text) -> bytes:
        """Store a text under its subject's key and return the ciphertext's SHA-256.

        A text of that request and kind that is kept already stays as it is.

        Raises:
            LogUnavailable: It is not stored.
        """
        keys = self.keys()
        with store.told(), store.writing(self.engine).begin() as connection:
            # Who was cut off while it was written may ask for the same again.
            if (digest := _digest(connection, text)) is not None:
                return digest
            key = self._subject_key(connection, text.subject, keys)
            nonce = self.random(NONCE_BYTES)
            sealed = AESGCMSIV(key).encrypt(nonce, text.plaintext, _bound(text))
            ciphertext = nonce + sealed
            digest = hashlib.sha256(ciphertext).digest()
            named = {"request_id": text.request_id, "kind": text.kind}
            connection.execute(
                _kept.insert().values(
                    subject=text.subject, digest=digest, ciphertext=ciphertext, **named
                )
            )
            connection.execute(
                _terms.insert().values(tenant=text.tenant, until_ms=text.until_ms, **named)
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
            key = _unwrapped(row.subject, row.wrapped, self.keys())
            return _open(key, row.ciphertext, bound)
        except InvalidTag:
            raise ContentUnknown(f"The kept {kind} of {request_id!r} was changed.") from None

    def listed(
        self, *, subject: str | None = None, request_id: str | None = None
    ) -> list[tuple[str, str]]:
        """Return request and kind of what is kept of a subject or a request, in this order.

        Raises:
            LogUnavailable: The log cannot be read.
        """
        query = sa.select(_kept.c.request_id, _kept.c.kind)
        if subject is not None:
            query = query.where(_kept.c.subject == subject)
        if request_id is not None:
            query = query.where(_kept.c.request_id == request_id)
        # A prompt comes before its answer.
        query = query.order_by(_kept.c.request_id, _kept.c.kind.desc())
        with store.reading(self.engine) as connection:
            return [(row.request_id, row.kind) for row in connection.execute(query)]

    def _subject_key(self, connection: sa.Connection, subject: str, keys: Sequence[bytes]) -> bytes:
        query = sa.select(_keys.c.wrapped).where(_keys.c.subject == subject)
        wrapped = connection.execute(query).scalar_one_or_none()
        if wrapped is not None:
            try:
                return _unwrapped(subject, wrapped, keys)
            except InvalidTag:
                raise ContentUnknown(
                    f"The key of {subject!r} was changed, or what wrapped it was destroyed. Shred "
                    "the subject before more of it is kept."
                ) from None
        key, nonce = self.random(KEY_BYTES), self.random(NONCE_BYTES)
        bound = _SUBJECT_LABEL + b"\x00" + subject.encode()
        wrapped = nonce + AESGCMSIV(keys[0]).encrypt(nonce, key, bound)
        connection.execute(_keys.insert().values(subject=subject, wrapped=wrapped))
        return key


def _digest(connection: sa.Connection, text: Text) -> bytes | None:
    query = sa.select(_kept.c.digest).where(
        _kept.c.request_id == text.request_id, _kept.c.kind == text.kind
    )
    digest: bytes | None = connection.execute(query).scalar_one_or_none()
    return digest


def _bound(text: Text) -> bytes:
    return b"\x00".join((_CONTENT_LABEL, text.request_id.encode(), text.kind.encode()))


def _unwrapped(subject: str, wrapped: bytes, keys: Sequence[bytes]) -> bytes:
    """Open a subject's key under whichever epoch wrapped it."""
    bound = _SUBJECT_LABEL + b"\x00" + subject.encode()
    for key in keys:
        try:
            return _open(key, wrapped, bound)
        except InvalidTag:
            continue
    raise InvalidTag


def _open(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    return AESGCMSIV(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
