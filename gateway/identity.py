"""Who is asking: API credentials and the principal behind one.

A key is `sg-` and 256 random bits. The database holds only an HMAC of it under a pepper from
the keyring, so neither a stolen database nor a timing difference yields a usable key.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from audit import store
from gateway.credential_tables import confinements, credentials, metadata
from gateway.errors import CredentialInvalid, CredentialUnknown
from gateway.holders import Holders, Row
from gateway.peppers import Peppers
from gateway.scopes import Scopes, require_scopes

KEY_PATTERN = re.compile(r"sg-[A-Za-z0-9_-]{43}")
TENANT_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")
NAME_LIMIT = 128


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

    peppers: the peppers now, the active one first. A key that was issued under an earlier one
    keeps working while the keyring still has that one.
    """

    def __init__(self, engine: sa.Engine, *, peppers: Callable[[], Sequence[bytes]]) -> None:
        self._engine = engine
        self._peppers = peppers
        self._holders = Holders(engine)
        store.create_tables(engine, metadata)

    def add(
        self,
        *,
        tenant: str,
        name: str,
        role: Role,
        now: datetime,
        expires: datetime | None,
        scopes: Scopes = None,
        certificate: bytes | None = None,
    ) -> tuple[Credential, str]:
        """Store a new credential and return it with its key, which is shown only once.

        certificate: DER of the client certificate that is to stand for a key; the key is then
        the name of its fingerprint, and opens nothing.

        Raises:
            CredentialInvalid: A name or a scope cannot be stored.
        """
        _require_names(tenant, name)
        require_scopes(scopes)
        key = (
            f"sg-{secrets.token_urlsafe(32)}" if certificate is None else _fingerprint(certificate)
        )
        credential = Credential(
            credential_id=f"cred_{secrets.token_hex(8)}",
            tenant=tenant,
            name=name,
            role=role,
            created_ms=_ms(now),
            expires_ms=_ms(expires) if expires else None,
            revoked_ms=None,
            scopes=scopes,
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
            rows = [{"credential_id": credential.credential_id, "scope": s} for s in scopes or ()]
            if rows:
                connection.execute(confinements.insert(), rows)
        return credential, key

    def rotate(
        self, credential_id: str, *, now: datetime, overlap: timedelta
    ) -> tuple[Credential, str]:
        """Issue a successor of the same name, tenant, role and scopes; the old key works on.

        overlap: how long both work.

        Raises:
            CredentialUnknown: No such credential, or one that no longer works.
        """
        old = next((c for c in self.list() if c.credential_id == credential_id), None)
        if old is None or old.revoked_ms is not None or _expired(old.expires_ms, now):
            raise _unknown(credential_id)
        expires = _moment(old.expires_ms) if old.expires_ms else None
        made = self.add(
            tenant=old.tenant,
            name=old.name,
            role=old.role,
            now=now,
            expires=expires,
            scopes=old.scopes,
        )
        end_ms = _ms(now + overlap)
        statement = (
            credentials.update()
            .where(credentials.c.id == credential_id)
            .values(expires_ms=min(end_ms, old.expires_ms or end_ms))
        )
        with self._engine.begin() as connection:
            connection.execute(statement)
        return made

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
            .values(revoked_ms=_ms(now))
        )
        with self._engine.begin() as connection:
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
        return self._holder(_fingerprint(certificate), "certificate", now)

    def active(self, credential_id: str, *, method: str, now: datetime) -> Principal | None:
        """Return who holds a credential that was shown before, or None if it works no more."""
        return self._found(self._holders.by_id(credential_id), method, now)

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


def _require_names(tenant: str, name: str) -> None:
    if not TENANT_PATTERN.fullmatch(tenant):
        raise CredentialInvalid(
            "A tenant's name is 1 to 64 letters, digits, dots, dashes or underscores."
        )
    if not name.isprintable() or not 1 <= len(name) <= NAME_LIMIT:
        raise CredentialInvalid(f"A credential's name is 1 to {NAME_LIMIT} printable characters.")


def _fingerprint(certificate: bytes) -> str:
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
    return expires_ms is not None and expires_ms <= _ms(now)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
