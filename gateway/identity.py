"""Who is asking: API credentials and the principal behind one.

A key is `sg-` and 256 random bits. The database holds only an HMAC of it under a pepper from
the keyring, so neither a stolen database nor a timing difference yields a usable key.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import sqlalchemy as sa

from gateway.errors import CredentialInvalid, CredentialUnknown

# What the keyring derives the pepper from.
PEPPER = ("credential", b"api-key")
KEY_PATTERN = re.compile(r"sg-[A-Za-z0-9_-]{43}")
TENANT_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")
NAME_LIMIT = 128

metadata = sa.MetaData()
credentials = sa.Table(
    "credential",
    metadata,
    sa.Column("id", sa.String(24), primary_key=True),
    sa.Column("key_hmac", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger),
    sa.Column("revoked_ms", sa.BigInteger),
)


class Role(StrEnum):
    """What a principal may do; each has its own routes."""

    CLIENT = "client"
    OFFICER = "officer"
    AUDITOR = "auditor"
    SECURITY = "security"


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller."""

    credential_id: str
    tenant: str
    name: str
    role: Role
    method: str = "api_key"


@dataclass(frozen=True, slots=True)
class Credential:
    """A stored credential, without its key."""

    credential_id: str
    tenant: str
    name: str
    role: Role
    created_ms: int
    expires_ms: int | None
    revoked_ms: int | None


class Peppered(Protocol):
    """What peppers come from: an unlocked keyring, or a client of the key broker."""

    def epochs(self, purpose: str) -> list[int]:
        """Return the epochs that can be derived from, the active one first."""
        ...

    def derive(self, purpose: str, *context: bytes, epoch: int | None = None) -> bytes:
        """Derive a 32-byte key."""
        ...


class Credentials:
    """The credential table. Safe to use from several threads and processes.

    peppers: the peppers now, the active one first. A key that was issued under an earlier one
    keeps working while the keyring still has that one.
    """

    def __init__(self, engine: sa.Engine, *, peppers: Callable[[], Sequence[bytes]]) -> None:
        self._engine = engine
        self._peppers = peppers
        metadata.create_all(engine)

    def add(
        self, *, tenant: str, name: str, role: Role, now: datetime, expires: datetime | None
    ) -> tuple[Credential, str]:
        """Store a new credential and return it with its key, which is shown only once.

        Raises:
            CredentialInvalid: The tenant's or the credential's name cannot be stored.
        """
        _require_names(tenant, name)
        key = f"sg-{secrets.token_urlsafe(32)}"
        credential = Credential(
            credential_id=f"cred_{secrets.token_hex(8)}",
            tenant=tenant,
            name=name,
            role=role,
            created_ms=_ms(now),
            expires_ms=_ms(expires) if expires else None,
            revoked_ms=None,
        )
        with self._engine.begin() as connection:
            connection.execute(
                credentials.insert().values(
                    id=credential.credential_id,
                    key_hmac=_hmac(key, self._peppers()[0]),
                    tenant=tenant,
                    name=name,
                    role=role.value,
                    created_ms=credential.created_ms,
                    expires_ms=credential.expires_ms,
                )
            )
        return credential, key

    def list(self) -> list[Credential]:
        """Return every credential, oldest first."""
        query = credentials.select().order_by(credentials.c.created_ms, credentials.c.id)
        with self._engine.connect() as connection:
            return [_credential(row) for row in connection.execute(query)]

    def revoke(self, credential_id: str, *, now: datetime) -> None:
        """Refuse the credential from now on.

        Raises:
            CredentialUnknown: No such credential, or it was revoked before.
        """
        statement = (
            credentials.update()
            .where(credentials.c.id == credential_id, credentials.c.revoked_ms.is_(None))
            .values(revoked_ms=_ms(now))
        )
        with self._engine.begin() as connection:
            if connection.execute(statement).rowcount == 0:
                raise CredentialUnknown(
                    f"No active credential {credential_id!r}. `sealgate clients list` shows them."
                )

    def principal(self, key: str, *, now: datetime) -> Principal | None:
        """Return who holds `key`, or None if nobody who may use it now does.

        The look-up is by HMAC: its time depends on the pepper, not on how much of a key is right.
        """
        if not KEY_PATTERN.fullmatch(key):
            return None
        hmacs = [_hmac(key, pepper) for pepper in self._peppers()]
        query = credentials.select().where(credentials.c.key_hmac.in_(hmacs))
        with self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None or row.revoked_ms is not None:
            return None
        if row.expires_ms is not None and row.expires_ms <= _ms(now):
            return None
        return Principal(
            credential_id=row.id, tenant=row.tenant, name=row.name, role=Role(row.role)
        )


def peppers(keys: Peppered) -> Callable[[], Sequence[bytes]]:
    """Return what gives the peppers of a keyring or key broker, each derived once."""
    known: dict[int, bytes] = {}

    def current() -> Sequence[bytes]:
        purpose, context = PEPPER
        epochs = keys.epochs(purpose)
        for epoch in epochs:
            if epoch not in known:
                known[epoch] = keys.derive(purpose, context, epoch=epoch)
        return [known[epoch] for epoch in epochs]

    return current


def _hmac(key: str, pepper: bytes) -> bytes:
    return hmac.digest(pepper, key.encode(), hashlib.sha256)


def _require_names(tenant: str, name: str) -> None:
    if not TENANT_PATTERN.fullmatch(tenant):
        raise CredentialInvalid(
            "A tenant's name is 1 to 64 letters, digits, dots, dashes or underscores."
        )
    if not name.isprintable() or not 1 <= len(name) <= NAME_LIMIT:
        raise CredentialInvalid(f"A credential's name is 1 to {NAME_LIMIT} printable characters.")


def _credential(row: Any) -> Credential:
    return Credential(
        credential_id=row.id,
        tenant=row.tenant,
        name=row.name,
        role=Role(row.role),
        created_ms=row.created_ms,
        expires_ms=row.expires_ms,
        revoked_ms=row.revoked_ms,
    )


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
