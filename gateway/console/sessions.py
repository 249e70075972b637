"""Who is signed in at the console: kept here, named by a random id of which only the hash is kept.

A session ends after a time without requests, after its longest time, with its credential, or when
its holder signs out. Whoever reads the table learns no id.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import sqlalchemy as sa

from audit import store
from gateway import instants
from gateway.identity import Principal, Role

# The id's own words: a hash of it is of no use anywhere else.
_ID_LABEL = b"sealgate/console-v1/session"
_FORM_LABEL = b"sealgate/console-v1/form"
# How stale the note of the last request may be: not every request writes.
TOUCH_S = 15.0

metadata = sa.MetaData()
sessions = sa.Table(
    "console_session",
    metadata,
    sa.Column("id_hash", sa.LargeBinary(32), primary_key=True),
    sa.Column("credential_id", sa.Text, nullable=False),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("method", sa.String(16), nullable=False),
    sa.Column("began_ms", sa.BigInteger, nullable=False),
    sa.Column("seen_ms", sa.BigInteger, nullable=False),
    sa.Column("ends_ms", sa.BigInteger, nullable=False),
)


class Holders(Protocol):
    """Knows which credentials work."""

    def active(self, credential_id: str, *, method: str, now: datetime) -> Principal | None:
        """Return who holds a credential, or None if it works no more."""
        ...


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody signed in. ends: at the latest."""

    principal: Principal
    began: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a session lasts: without a request, and at the longest."""

    idle: timedelta
    longest: timedelta


@dataclass(frozen=True, slots=True)
class Sessions:
    """The table of sessions. Safe to use from several threads and processes."""

    engine: sa.Engine = field(repr=False)
    holders: Holders
    limits: Limits

    @staticmethod
    def over(engine: sa.Engine, *, holders: Holders, limits: Limits) -> "Sessions":
        """Return the sessions of a database; the table is made if it is not there."""
        store.create_tables(engine, metadata)
        return Sessions(engine, holders, limits)

    def begin(self, principal: Principal, *, now: datetime, until: datetime | None = None) -> str:
        """Begin a session and return its id, which is told to nobody but its holder.

        until: when what the holder showed ends by itself.
        """
        token = secrets.token_urlsafe(32)
        ends = min(now + self.limits.longest, until or datetime.max.replace(tzinfo=UTC))
        with store.changing(self.engine).begin() as connection:
            connection.execute(sessions.delete().where(self._over(now)))
            connection.execute(
                sessions.insert().values(
                    id_hash=_hash(token),
                    credential_id=principal.credential_id,
                    tenant=principal.tenant,
                    name=principal.name,
                    role=principal.role.value,
                    method=principal.method,
                    began_ms=instants.milliseconds(now),
                    seen_ms=instants.milliseconds(now),
                    ends_ms=instants.milliseconds(ends),
                )
            )
        return token

    def find(self, token: str, *, now: datetime) -> Session | None:
        """Return the session of that id, and note that it was used; None if there is none now."""
        query = sessions.select().where(sessions.c.id_hash == _hash(token), ~self._over(now))
        with self.engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        principal = self._holder(row, now)
        if principal is None:
            self.end(token)
            return None
        if instants.milliseconds(now) - row.seen_ms >= TOUCH_S * 1000:
            touched = sessions.update().where(sessions.c.id_hash == row.id_hash)
            with store.changing(self.engine).begin() as connection:
                connection.execute(touched.values(seen_ms=instants.milliseconds(now)))
        return Session(principal, instants.moment(row.began_ms), instants.moment(row.ends_ms))

    def end(self, token: str) -> None:
        """End a session; one that is over already stays so."""
        with store.changing(self.engine).begin() as connection:
            connection.execute(sessions.delete().where(sessions.c.id_hash == _hash(token)))

    def _over(self, now: datetime) -> "sa.ColumnElement[bool]":
        idle_since = instants.milliseconds(now - self.limits.idle)
        return (sessions.c.ends_ms <= instants.milliseconds(now)) | (
            sessions.c.seen_ms <= idle_since
        )

    def _holder(self, row: Any, now: datetime) -> Principal | None:
        """Return who holds the session; a credential that was revoked holds none."""
        if row.method != "oidc":
            return self.holders.active(row.credential_id, method=row.method, now=now)
        return Principal(row.credential_id, row.tenant, row.name, Role(row.role), row.method)


def form_token(secret: str) -> str:
    """Return what a form of this browser must carry: only its own pages can know it."""
    digest = hmac.digest(secret.encode(), _FORM_LABEL, hashlib.sha256)
    return urlsafe_b64encode(digest).decode().rstrip("=")


def _hash(token: str) -> bytes:
    return hashlib.sha256(_ID_LABEL + b"\0" + token.encode()).digest()
