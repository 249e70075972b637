"""The ledger's entries: canonical JSON, each naming the hash of the one before, each signed.

docs/formats/ledger-v1.md. Knows nothing of what an entry means.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import rfc8785
import sqlalchemy as sa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from privacy.derivation import bind, number
from privacy.training import tables
from privacy.training.errors import LedgerTampered

FORMAT = "sealgate/ledger-v1"


class Signer(Protocol):
    """What signs entries: a keyring."""

    def sign(self, name: str, message: bytes) -> bytes:
        """Return the Ed25519 signature of the key of that name."""
        ...

    def public_key(self, name: str) -> bytes:
        """Return the raw public key of that name."""
        ...


SIGNING_KEY = "seal"


@dataclass(frozen=True, slots=True)
class Head:
    """How far a ledger goes. size: entries. hash: of the last entry, 32 bytes."""

    size: int
    hash: bytes

    def plain(self) -> dict[str, Any]:
        """Return it as JSON carries it."""
        return {"size": self.size, "hash": self.hash.hex()}


def append(connection: sa.Connection, content: Mapping[str, Any], *, signer: Signer) -> Head:
    """Append an entry inside a writing transaction and return the new head."""
    before = head(connection)
    body = rfc8785.dumps(
        {"format": FORMAT, "index": before.size, "previous": before.hash.hex(), **content}
    )
    after = Head(before.size + 1, entry_hash(body))
    signature = signer.sign(SIGNING_KEY, _signed(before.size, after.hash))
    connection.execute(
        tables.entry.insert().values(idx=before.size, body=body, signature=signature)
    )
    connection.execute(tables.head.update().values(size=after.size, hash=after.hash))
    return after


def head(connection: sa.Connection) -> Head:
    """Return the head as the database has it."""
    row = connection.execute(sa.select(tables.head)).one()
    return Head(row.size, bytes(row.hash))


def chain(connection: sa.Connection, *, signer: Signer) -> Iterator[tuple[Head, dict[str, Any]]]:
    """Yield each entry with the head after it, having checked hash, place and signature.

    Raises:
        LedgerTampered: One is not what was written, or the last is missing.
    """
    verify = _verifier(signer)
    at = Head(0, tables.GENESIS)
    rows = connection.execute(sa.select(tables.entry).order_by(tables.entry.c.idx))
    for row in rows:
        body = bytes(row.body)
        content = _decoded(body, at, row.idx)
        at = Head(at.size + 1, entry_hash(body))
        verify(row.idx, at.hash, bytes(row.signature))
        yield at, content
    if at != head(connection):
        raise LedgerTampered(f"The ledger ends at entry {at.size}, not where its head says.")


def hash_at(connection: sa.Connection, size: int) -> bytes | None:
    """Return the hash of the ledger's first `size` entries, None if it has fewer."""
    if size == 0:
        return tables.GENESIS
    row = connection.execute(
        sa.select(tables.entry.c.body).where(tables.entry.c.idx == size - 1)
    ).first()
    return None if row is None else entry_hash(bytes(row.body))


def entry_hash(body: bytes) -> bytes:
    """Return the hash that the next entry names."""
    return hashlib.sha256(bind(b"sealgate/ledger-v1/entry", body)).digest()


def _decoded(body: bytes, at: Head, index: int) -> dict[str, Any]:
    try:
        content: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise LedgerTampered(f"Entry {index} of the ledger is damaged.") from None
    expected = (FORMAT, at.size, at.hash.hex())
    if (content.get("format"), content.get("index"), content.get("previous")) != expected:
        raise LedgerTampered(f"Entry {index} of the ledger does not follow the one before.")
    return content


def _verifier(signer: Signer) -> Callable[[int, bytes, bytes], None]:
    key = Ed25519PublicKey.from_public_bytes(signer.public_key(SIGNING_KEY))

    def verify(index: int, digest: bytes, signature: bytes) -> None:
        try:
            key.verify(signature, _signed(index, digest))
        except InvalidSignature:
            raise LedgerTampered(
                f"The signature of entry {index} of the ledger does not verify."
            ) from None

    return verify


def _signed(index: int, digest: bytes) -> bytes:
    return bind(b"sealgate/ledger-v1/signature", number(index), digest)
