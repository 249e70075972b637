"""Who is asking: API credentials and the principal behind one.

A key is `sg-` and 256 random bits. The database holds only an HMAC of it under a pepper from
the keyring, so neither a stolen database nor a timing difference yields a usable key.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from audit import store
from gateway import instants
from gateway.credential_tables import confinements, credentials, metadata
from gateway.errors import CredentialInvalid, CredentialUnknown
from gateway.holders import Holders, Row
from gateway.peppers import Peppers
from gateway.scopes import Scopes

KEY_PATTERN = re.compile(r"sg-[A-Za-z0-9_-]{43}")
TENANT_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Role(StrEnum):
    """What a principal may do; each has its own routes."""

    CLIENT = "client"
    OFFICER = "officer"
    AUDITOR = "auditor"
    SECURITY = "security"


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. scopes: what it is confined to; None for nothing but its role.

    method: `api_key`, `oidc` or `certificate`.
    """

    credential_id: str
    tenant: str
    name: str
    role: Role
    method: str = "api_key"
    scopes: Scopes = None


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
    scopes: Scopes = None


class Credentials:
    """The credential table. Safe to use from several threads and processes.

    Who changes it has recorded the change before: an entry too many does no harm, and one too
    few would be a change that nobody can find.

    peppers: the peppers now, the active one first. A key that was issued under an earlier one
    keeps working while the keyring still has that one.
    """

    def __init__(self, engine: sa.Engine, *, peppers: Callable[[], Sequence[bytes]]) -> None:
        self._engine = engine
        self._peppers = peppers
        self._holders = Holders(engine)
        store.create_tables(engine, metadata)

    def require_new(self, key: str) -> None:
        """Require that a key is no credential's: a certificate can be given twice.

        Raises:
            CredentialInvalid: It is one's.
        """
        if self._holders.by_hmac([_hmac(key, pepper) for pepper in self._peppers()]):
            raise CredentialInvalid("This certificate is a credential already.")

    def store(self, credential: Credential, key: str) -> None:
        """Store a credential that was drawn and recorded.

        Raises:
            LogUnavailable: It cannot be stored.
        """
        with store.told(), store.changing(self._engine).begin() as connection:
            self._insert(connection, credential, key)

    def succeed(
        self,
        credential_id: str,
        successor: Credential,
        key: str,
        *,
        now: datetime,
        overlap: timedelta,
    ) -> None:
        """Store the successor that was drawn of a credential; the old key works on for a while.

        overlap: how long both work.

        Raises:
            CredentialUnknown: The old one was revoked meanwhile; it has no successor.
            LogUnavailable: Neither is changed.
        """
        end_ms = instants.milliseconds(now + overlap)
        statement = (
            credentials.update()
            .where(credentials.c.id == credential_id, credentials.c.revoked_ms.is_(None))
            .values(expires_ms=min(end_ms, successor.expires_ms or end_ms))
        )
        with store.told(), store.changing(self._engine).begin() as connection:
            if connection.execute(statement).rowcount == 0:
                raise _unknown(credential_id)
            self._insert(connection, successor, key)

    def working(self, credential_id: str, *, now: datetime) -> Credential:
        """Return a credential that works.

        Raises:
            CredentialUnknown: No such credential, or one that works no more.
        """
        found = self.unrevoked(credential_id)
        if _expired(found.expires_ms, now):
            raise _unknown(credential_id)
        return found

    def unrevoked(self, credential_id: str) -> Credential:
        """Return a credential that was not revoked.

        Raises:
            CredentialUnknown: No such credential, or it was.
        """
        for found in self.list():
            if found.credential_id == credential_id and found.revoked_ms is None:
                return found
        raise _unknown(credential_id)

    def list(self) -> list[Credential]:
        """Return every credential, oldest first."""
        query = credentials.select().order_by(credentials.c.created_ms, credentials.c.id)
        with self._engine.connect() as connection:
            confined = _grouped(connection.execute(confinements.select()))
            return [_credential(row, confined.get(row.id)) for row in connection.execute(query)]

    def revoke(self, credential_id: str, *, now: datetime) -> None:
        """Refuse the credential from now on.

        Raises:
            CredentialUnknown: No such credential, or it was revoked before.
        """
        statement = (
            credentials.update()
            .where(credentials.c.id == credential_id, credentials.c.revoked_ms.is_(None))
            .values(revoked_ms=instants.milliseconds(now))
        )
        with store.changing(self._engine).begin() as connection:
            if connection.execute(statement).rowcount == 0:
                raise _unknown(credential_id)

    @property
    def quick(self) -> bool:
        """Whether a look-up is without waiting, so that an event loop may ask."""
        return (
            self._holders.quick and isinstance(self._peppers, Peppers) and self._peppers.at_hand()
        )

    def principal(self, key: str, *, now: datetime) -> Principal | None:
        """Return who holds `key`, or None if nobody who may use it now does.

        The look-up is by HMAC: its time depends on the pepper, not on how much of a key is right.
        """
        return self._holder(key, "api_key", now) if KEY_PATTERN.fullmatch(key) else None

    def certified(self, certificate: bytes, *, now: datetime) -> Principal | None:
        """Return who holds a client certificate (DER) that the TLS handshake verified."""
        return self._holder(fingerprint(certificate), "certificate", now)

    def active(self, credential_id: str, *, method: str, now: datetime) -> Principal | None:
        """Return who holds a credential that was shown before, or None if it works no more."""
        return self._found(self._holders.by_id(credential_id), method, now)

    def _insert(self, connection: sa.Connection, credential: Credential, key: str) -> None:
        connection.execute(
            credentials.insert().values(
                id=credential.credential_id,
                key_hmac=_hmac(key, self._peppers()[0]),
                tenant=credential.tenant,
                name=credential.name,
                role=credential.role.value,
                created_ms=credential.created_ms,
                expires_ms=credential.expires_ms,
            )
        )
        rows = [
            {"credential_id": credential.credential_id, "scope": each}
            for each in credential.scopes or ()
        ]
        if rows:
            connection.execute(confinements.insert(), rows)

    def _holder(self, key: str, method: str, now: datetime) -> Principal | None:
        hmacs = [_hmac(key, pepper) for pepper in self._peppers()]
        return self._found(self._holders.by_hmac(hmacs), method, now)

    @staticmethod
    def _found(rows: Sequence[Row], method: str, now: datetime) -> Principal | None:
        """Return the principal of a credential's rows, if it may be used now."""
        if not rows or rows[0].revoked_ms is not None or _expired(rows[0].expires_ms, now):
            return None
        found = rows[0]
        return Principal(
            credential_id=found.id,
            tenant=found.tenant,
            name=found.name,
            role=Role(found.role),
            method=method,
            scopes=frozenset(row.scope for row in rows if row.scope is not None) or None,
        )


def _hmac(key: str, pepper: bytes) -> bytes:
    # `hmac.digest` would let go of the interpreter's lock for a microsecond's work.
    return hmac.new(pepper, key.encode(), hashlib.sha256).digest()


def fingerprint(certificate: bytes) -> str:
    """Return what stands for a client certificate (DER) where a credential has a key."""
    return f"x509:{hashlib.sha256(certificate).hexdigest()}"


def _grouped(rows: Iterable[Any]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row.credential_id, set()).add(row.scope)
    return {name: frozenset(members) for name, members in found.items()}


def _unknown(credential_id: str) -> CredentialUnknown:
    return CredentialUnknown(
        f"No active credential {credential_id!r}. `sealgate clients list` shows them."
    )


def _credential(row: Any, confined: Scopes) -> Credential:
    return Credential(
        credential_id=row.id,
        tenant=row.tenant,
        name=row.name,
        role=Role(row.role),
        created_ms=row.created_ms,
        expires_ms=row.expires_ms,
        revoked_ms=row.revoked_ms,
        scopes=confined,
    )


def _expired(expires_ms: int | None, now: datetime) -> bool:
    return expires_ms is not None and expires_ms <= instants.milliseconds(now)
